"""What becomes of everything in a folder, and what a command says that is cut off."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.commands import bulk
from serving.commands.folder_import import MAX_PICTURE_BYTES
from serving.commands.service_client import PATIENCE
from serving.commands.service_options import PARTLY
from serving.errors import CommandError
from tests.unit.commands.fake_service import (
    JOB,
    FakeService,
    good_only,
    import_folder,
    notes,
    problem,
    run,
)


def test_a_rate_limit_rejects_no_picture(service: FakeService, folder: Path) -> None:
    """It is waited out; and where that is not enough, the command ends and may be repeated."""
    assert PATIENCE.choose_pause_s(1, 60.0) is not None
    good_only(folder)
    service.trouble = [problem(429, "rate_limited", **{"Retry-After": "3600"}) for _ in range(50)]
    result = import_folder(folder)
    assert isinstance(result.exception, CommandError)
    assert "rate_limited" in result.exception.detail


def test_nothing_in_a_folder_is_left_out_unsaid(
    service: FakeService, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good_only(folder)
    (tmp_path / "elsewhere").mkdir()
    (folder / "cy").symlink_to(tmp_path / "elsewhere")
    (folder / "dan.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (folder / "locked").mkdir()
    os.mkfifo(folder / "eve.jpg")
    (folder / os.fsdecode(b"fay\xff.jpg")).write_bytes(b"")
    with (folder / "gus.jpg").open("wb") as huge:
        huge.truncate(MAX_PICTURE_BYTES + 1)
    scan = os.scandir

    def scan_unless_locked(path: str) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_unless_locked)
    out = tmp_path / "out.ndjson"
    result = import_folder(folder, "--json", "--rejections", out)
    assert result.exit_code == PARTLY, result.output
    assert len(service.pictures) == 3
    rejected = json.loads(result.stdout)["rejected"]
    assert {each["name"]: each["code"] for each in rejected} == {
        "cy": "unreadable",
        "dan.jpg": "unreadable",
        "eve.jpg": "unreadable",
        os.fsdecode(b"fay\xff.jpg"): "invalid_request",
        "gus.jpg": "picture_too_large",
        "locked": "unreadable",
    }
    assert [json.loads(line) for line in out.read_text().splitlines()] == rejected


def test_files_that_cannot_be_written_are_told_before_the_work(
    service: FakeService, folder: Path, tmp_path: Path
) -> None:
    for result in (
        import_folder(folder, "--rejections", tmp_path / "none" / "out"),
        run("export", "--event", "gala", "-o", tmp_path / "none" / "out"),
        run("export", "--event", "gala", "-o", tmp_path),
    ):
        assert isinstance(result.exception, CommandError)
        assert "cannot be written" in result.exception.detail
    assert service.requests == 0


def test_who_does_not_wait_for_a_job_is_told_that_it_goes_on(
    service: FakeService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "people.zip").write_bytes(b"PK")
    monkeypatch.setattr(bulk, "POLL_S", 600.0)
    service.jobs = [{**JOB, "state": "running"}]

    async def import_and_give_up() -> None:
        path = tmp_path / "people.zip"
        work = asyncio.create_task(bulk._import_file(path, "gala", "http://rollcall", "secret", {}))
        service.on_job = lambda: asyncio.get_running_loop().call_later(0.01, work.cancel)
        await work

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(import_and_give_up())
    assert "its job j1" in capsys.readouterr().err


def test_ctrl_c_has_an_exit_code_of_its_own(service: FakeService, folder: Path) -> None:
    def interrupt(_: dict[str, str]) -> httpx.Response | None:
        raise KeyboardInterrupt

    service.on_picture = interrupt
    assert import_folder(folder, "--parallel", 1).exit_code == 130
    assert len(notes(folder)) == 1


def test_who_may_only_enrol_need_not_look_at_the_event(service: FakeService, folder: Path) -> None:
    good_only(folder)
    service.event = problem(403, "forbidden")
    assert import_folder(folder).exit_code == 0
    assert len(service.pictures) == 3
