"""Settings under `args` that decide where data lies, and that no command sees."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from serving.app import build
from serving.errors import ConfigurationError
from serving.operations.doctor.checks import Subject
from serving.operations.doctor.stores import look_at_config
from serving.settings import find_hidden, load_settings, refuse_hidden_stores

URL = "postgresql://rollcall:s3cret@127.0.0.1/rollcall"
SERVER = {"gallery": {"engine": "server", "url": "http://127.0.0.1:6333"}}
CASES: list[tuple[Mapping[str, Any], Mapping[str, str], list[str]]] = [
    ({}, {}, []),
    ({"picture": {"max_faces": 7}, "load": {"max_pending_requests": 9}}, {}, []),
    ({"database_url": URL}, {}, ["database_url"]),
    ({"database_url": URL}, {"DATABASE_URL": "sqlite:////srv/faces.sqlite3"}, ["database_url"]),
    ({"database_url": URL}, {"DATABASE_URL": URL}, []),
    (SERVER, {}, ["gallery.engine", "gallery.url"]),
    (SERVER, {"GALLERY__ENGINE": "server", "GALLERY__URL": "http://127.0.0.1:1"}, ["gallery.url"]),
    (SERVER, {"GALLERY__ENGINE": "server", "GALLERY__URL": "http://127.0.0.1:6333"}, []),
    (
        {"data_dir": "/srv/rollcall", "backup": {"keep_erasures_days": 9}},
        {"DATA_DIR": "/srv/rollcall"},
        ["backup.keep_erasures_days"],
    ),
    ({"data_dir": "/srv/rollcall"}, {}, ["data_dir"]),
]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.upper().startswith("ROLLCALL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("args", "environment", "hidden"), CASES)
def test_what_commands_would_see_otherwise_is_named(
    args: Mapping[str, Any],
    environment: Mapping[str, str],
    hidden: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"ROLLCALL_{name}", value)
    settings = load_settings(args)
    assert find_hidden(args, settings) == hidden
    rows = list(look_at_config(Subject(settings, config={"applications": [{"args": args}]})))[1:]
    assert [row.seen.split()[0] for row in rows] == hidden
    stores = [key for key in hidden if key.startswith(("database", "gallery"))]
    assert [row.seen.split()[0] for row in rows if row.status == "fail"] == stores
    if not stores:
        refuse_hidden_stores(args, settings)
        return
    with pytest.raises(ConfigurationError) as caught:
        build(args)
    assert caught.value.detail.startswith(", ".join(stores))
    assert "ROLLCALL_" + stores[0].upper().replace(".", "__") in caught.value.detail
    assert "s3cret" not in caught.value.detail


def test_where_commands_refuse_the_environment_nothing_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where args hold the key of a server that the environment names: each command says so itself."""
    monkeypatch.setenv("ROLLCALL_GALLERY__ENGINE", "server")
    monkeypatch.setenv("ROLLCALL_GALLERY__URL", "https://qdrant.internal:6333")
    args = {"gallery": {"api_key": "x" * 20}}
    assert find_hidden(args, load_settings(args)) == []
    with pytest.raises(ConfigurationError):
        load_settings()
