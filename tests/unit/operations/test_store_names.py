"""A command says on which stores it worked, and no password of theirs."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serving.cli import app
from serving.operations.store_names import name_gallery, name_registry
from tests.unit.operations.conftest import Data

MakeData = Callable[..., Data]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (
            "postgresql://rollcall:s3cret@db.internal:5433/faces?sslmode=verify-full",
            "PostgreSQL faces at db.internal",
        ),
        ("postgresql://rollcall:s3cret@/faces?host=a:1&host=b:2", "PostgreSQL faces at a:1, b:2"),
        ("postgresql://rollcall:s3cret@/faces?host=/run/postgresql", "PostgreSQL faces at /run/postgresql"),
        ("postgresql:///faces", "PostgreSQL faces at this machine"),
        ("sqlite:////srv/rollcall/faces.sqlite3", "/srv/rollcall/faces.sqlite3"),
        (None, "DATA/registry.sqlite3"),
    ],
)
def test_the_registry(make_data: MakeData, url: str | None, name: str) -> None:
    settings = make_data(database_url=url).settings
    assert name_registry(settings) == name.replace("DATA", str(settings.data_dir))


@pytest.mark.parametrize(
    ("gallery", "name"),
    [
        ({}, "DATA/gallery"),
        ({"engine": "server", "url": "https://qdrant.internal:6333/"}, "Qdrant at qdrant.internal:6333"),
    ],
)
def test_the_gallery(make_data: MakeData, gallery: dict[str, Any], name: str) -> None:
    settings = make_data(gallery=gallery).settings
    assert name_gallery(settings) == name.replace("DATA", str(settings.data_dir))


def test_the_commands_say_so_and_that_nobody_is_there(
    make_data: MakeData, safe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in [each for each in os.environ if each.startswith("ROLLCALL_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    full, empty = make_data("full"), make_data("empty")
    asyncio.run(full.fill(people=1))
    asyncio.run(
        empty.with_registry(lambda registry, _: registry.check())
    )  # as the wrong place is, after a start

    def run(data: Data, *words: str) -> tuple[str, str]:
        monkeypatch.setenv("ROLLCALL_DATA_DIR", str(data.settings.data_dir))
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, done.output
        return done.stdout, done.stderr

    said, warned = run(full, "backup", str(safe / "full"))
    assert f"of {full.settings.data_dir}/registry.sqlite3 and {full.settings.data_dir}/gallery" in said
    assert "nobody" not in warned
    assert "there is nobody in it" in run(empty, "backup", str(safe / "empty"))[1]
    told = json.loads(run(empty, "backup", str(safe / "again"), "--json")[0])
    assert told["stores"].startswith(str(empty.settings.data_dir))
    said, _ = run(empty, "restore", str(safe / "full"), "--without-list")
    assert f"into {empty.settings.data_dir}/registry.sqlite3" in said
    assert "1 signing key is back" in said
