"""`rollcall packs migrate` against the real routes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from serving import cli
from serving.commands import pack_migration
from serving.commands.service_client import connect
from serving.errors import CommandError
from tests.unit.api.api_fakes import picture
from tests.unit.api.conftest import (  # noqa: F401  # fixtures
    Api,
    api,
    empty_registry,
    gala,
    make_api,
    ring,
    shared_app,
)
from tests.unit.api.test_api_migration import NEW, Move


@pytest.fixture
def move(gala: Api, monkeypatch: pytest.MonkeyPatch) -> Move:  # noqa: F811
    made = Move(gala)
    transport = httpx.ASGITransport(app=gala.app)
    monkeypatch.setattr(pack_migration, "connect", lambda url, token: connect(url, token, transport))
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    for name, data in (
        ("ada/1.png", picture("ada")),
        ("bob.png", picture("bob", salt="newer")),
        ("stranger/1.png", picture("eve")),
        ("ada/empty.png", picture()),
    ):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(data)
    return made


def ask(move: Move, to: str | None = NEW, folder: Path | None = None, **switch: Any) -> Any:
    token = move.api.token_for()
    wanted = switch or None
    return pack_migration._migrate("gala", "http://rollcall", token, to, folder, {}, 2, wanted)


async def test_a_folder_moves_the_people_who_are_enrolled(move: Move, folder: Path) -> None:
    for name in ("ada", "bob", "cem"):
        await move.api.enrol(name, picture(name))
    outcome = await ask(move, folder=folder, allow_missing=False)
    rejected = {each.name: each.code for each in outcome.rejections}
    assert rejected == {"stranger/1.png": "unknown_person", "ada/empty.png": "no_face"}
    assert (outcome.state, outcome.finished) == ("moving", None)
    assert [each["person_id"] for each in outcome.progress["missing"]] == ["cem"]
    assert move.stored() == ({"ada", "bob", "cem"}, {"ada", "bob"})
    again = await ask(move, folder=folder, allow_missing=True)
    assert (again.state, again.finished["without_face"]) == ("finished", ["cem"])
    assert json.loads(again.to_json())["finished"]["event"]["pack_id"] == NEW
    assert await move.api.outcomes(picture("bob")) == [("match", "bob")]


async def test_repeated_after_a_switch_whose_answer_was_lost(
    move: Move, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await move.api.enrol("ada", picture("ada"))
    assert (await ask(move, folder=folder, allow_missing=False)).state == "finished"
    again = await ask(move, folder=folder, allow_missing=False)
    assert (again.state, again.finished, again.rejections) == ("finished", None, [])
    pack_migration._show("gala", again)
    assert "gala has moved already" in capsys.readouterr().out
    with pytest.raises(CommandError, match="pack_mismatch"):
        await ask(move, to="nowhere")


async def test_what_was_sent_to_a_move_that_was_given_up_is_sent_again(move: Move, folder: Path) -> None:
    await move.api.enrol("ada", picture("ada"))
    await ask(move, folder=folder)
    assert move.stored()[1] == {"ada"}
    assert (await ask(move, to=None)).state == "aborted"
    assert move.stored()[1] == set()
    await ask(move, folder=folder)
    assert move.stored()[1] == {"ada"}, "neither the note nor an Idempotency-Key is good for another move"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--to"),
        (["--abort", "--finish"], "--abort"),
        (["--to", NEW, "--allow-missing"], "--finish"),
    ],
)
def test_options_that_do_not_fit(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLCALL_TOKEN", "secret")
    result = CliRunner().invoke(cli.app, ["packs", "migrate", "gala", *words])
    assert result.exit_code == 1
    assert said in str(result.exception)
