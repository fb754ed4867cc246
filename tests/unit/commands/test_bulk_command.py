"""`rollcall people`: what it sends, how patient it is, what it says, and how it goes on after a cut."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.commands.service_options import PARTLY
from serving.errors import CommandError
from tests.unit.commands.fake_service import (
    EXPORTED,
    JOB,
    FakeService,
    good_only,
    import_folder,
    make_event,
    notes,
    problem,
    run,
)


def test_a_folder_is_sent_picture_by_picture(service: FakeService, folder: Path, tmp_path: Path) -> None:
    result = import_folder(folder, "--rejections", tmp_path / "out.ndjson", "--on-duplicate", "allow")
    assert result.exit_code == PARTLY, result.output
    sent = sorted(service.pictures, key=lambda each: each["picture"])
    assert [(each["person_id"], each["picture"]) for each in sent] == [
        ("ada", "ada/1.jpg"),
        ("ada", "ada/2.jpg"),
        ("bob", "bob.png"),
    ]
    assert (sent[0]["name"], json.loads(sent[0]["metadata"])) == ("Ada", {"table": 4})
    assert "name" not in sent[2]
    assert {each["on_duplicate"] for each in sent} == {"allow"}
    assert len(set(service.keys)) == 3
    lines = [json.loads(line) for line in (tmp_path / "out.ndjson").read_text().splitlines()]
    assert [(line["name"], line["code"]) for line in lines] == [
        ("not an id/1.jpg", "invalid_request"),
        ("people.ndjson: line 2", "invalid_request"),
    ]
    assert "2 rejected" in result.stderr
    assert "not an id/1.jpg" in result.stderr


def test_all_is_well(service: FakeService, folder: Path) -> None:
    good_only(folder)
    assert import_folder(folder).exit_code == 0
    assert notes(folder) == []


def test_after_a_cut_only_the_rest_is_sent(service: FakeService, folder: Path) -> None:
    good_only(folder)
    service.on_picture = lambda fields: (
        problem(401, "token_expired") if fields["person_id"] == "bob" else None
    )
    result = import_folder(folder, "--parallel", 1)
    assert isinstance(result.exception, CommandError)
    assert "rollcall token" in result.exception.detail
    assert len(service.pictures) == 2
    assert len(notes(folder)) == 1
    service.on_picture = lambda _: None
    (folder / "ada" / "1.jpg").write_text("another picture by now")
    assert import_folder(folder).exit_code == 0
    assert sorted(each["picture"] for each in service.pictures[2:]) == ["another picture by now", "bob.png"]
    assert notes(folder) == []


def test_what_was_sent_to_one_event_is_not_taken_as_sent_to_another(
    service: FakeService, folder: Path
) -> None:
    service.on_picture = lambda fields: problem(422, "no_face") if fields["person_id"] == "bob" else None
    assert import_folder(folder).exit_code == PARTLY
    count = len(service.pictures)
    assert import_folder(folder, "--url", "http://other").exit_code == PARTLY
    assert len(service.pictures) == 2 * count
    again = import_folder(folder)
    assert f"{count} of 4 were sent before" in again.stderr
    assert len(service.pictures) == 2 * count
    service.event = make_event("2026-06-01T18:00:00Z")  # deleted, and made anew
    assert import_folder(folder).exit_code == PARTLY
    assert len(service.pictures) == 3 * count


def test_a_rejected_picture_is_tried_again_next_time(service: FakeService, folder: Path) -> None:
    good_only(folder)
    service.on_picture = lambda fields: problem(422, "no_face") if fields["person_id"] == "bob" else None
    assert import_folder(folder).exit_code == PARTLY
    service.on_picture = lambda _: None
    assert import_folder(folder).exit_code == 0
    assert [each["picture"] for each in service.pictures].count("bob.png") == 1
    assert len(service.pictures) == 3


PASSING: dict[str, Callable[[], httpx.Response | Exception]] = {
    "overloaded": lambda: problem(503, "overloaded", **{"Retry-After": "0"}),
    "rate limited": lambda: problem(429, "rate_limited", **{"Retry-After": "0"}),
    "late": lambda: problem(504, "deadline_exceeded"),
    "a proxy's own page": lambda: httpx.Response(502, text="<html>"),
    "at work already": lambda: problem(409, "request_in_progress", **{"Retry-After": "0"}),
    "no connection": lambda: httpx.ConnectError("refused"),
    "cut off": lambda: httpx.RemoteProtocolError("gone"),
}


@pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_waited_out(service: FakeService, folder: Path, trouble: Callable[[], Any]) -> None:
    good_only(folder)
    service.trouble = [trouble() for _ in range(5)]
    assert import_folder(folder).exit_code == 0
    assert len(service.pictures) == 3


def test_a_service_that_is_not_there_is_given_up(service: FakeService, folder: Path) -> None:
    service.trouble = [httpx.ConnectError("refused") for _ in range(200)]
    result = import_folder(folder)
    assert isinstance(result.exception, CommandError)
    assert "ConnectError" in result.exception.detail
    assert "rollcall serve" in result.exception.detail


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "unknown_event"), (403, "forbidden"), (409, "event_closed"), (401, "token_missing")],
)
def test_what_no_picture_can_help_ends_the_command(
    service: FakeService, folder: Path, status: int, code: str
) -> None:
    service.trouble = [problem(status, code) for _ in range(50)]
    result = import_folder(folder)
    assert isinstance(result.exception, CommandError)
    assert code in result.exception.detail
    assert service.requests <= 9


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("people.zip", "application/zip"),
        ("people.tar", "application/x-tar"),
        ("people.tar.gz", "application/gzip"),
        ("people.tgz", "application/gzip"),
        ("people.ndjson", "application/x-ndjson"),
    ],
)
def test_a_file_becomes_a_job(service: FakeService, tmp_path: Path, name: str, kind: str) -> None:
    content = os.urandom(3 * 2**20)
    (tmp_path / name).write_bytes(content)
    service.jobs = [{**JOB, "state": "queued", "total": None, "done": 0}, {**JOB, "state": "running"}, JOB]
    service.trouble = [problem(503, "overloaded")]  # the file is read anew for the second try
    result = run("import", tmp_path / name, "--event", "gala", "--quality", "strict")
    assert result.exit_code == 0, result.output
    assert service.uploads == [(kind, content, {"quality": "strict"})]


def test_the_rejections_of_a_job_are_all_fetched(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "people.zip").write_bytes(b"PK")
    service.rejections = [
        {"item": place, "name": f"p{place}/[bold].jpg", "code": "no_face", "detail": "[red]x[/]"}
        for place in range(5)
    ]
    out = tmp_path / "out.ndjson"
    result = run("import", tmp_path / "people.zip", "--event", "gala", "--rejections", out)
    assert result.exit_code == PARTLY
    assert len(out.read_text().splitlines()) == 5
    assert "p0/[bold].jpg" in result.stderr


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_job_that_ends_otherwise(service: FakeService, tmp_path: Path, state: str) -> None:
    (tmp_path / "people.zip").write_bytes(b"PK")
    error = {"code": "bad_archive", "detail": "it is cut off"} if state == "failed" else None
    service.jobs = [{**JOB, "state": state, "error": error}]
    result = run("import", tmp_path / "people.zip", "--event", "gala")
    assert isinstance(result.exception, CommandError)
    assert state in result.exception.detail


def test_an_export_is_written_for_this_user_alone(service: FakeService, tmp_path: Path) -> None:
    result = run("export", "--event", "gala", "-o", tmp_path / "all.ndjson")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "all.ndjson").read_bytes() == EXPORTED
    assert stat.S_IMODE((tmp_path / "all.ndjson").stat().st_mode) == 0o600


@pytest.mark.parametrize(("options", "deleted"), [((), 1), (("--keep",), 0)])
def test_the_services_copy_of_an_export_is_deleted(
    service: FakeService, tmp_path: Path, options: tuple[str, ...], deleted: int
) -> None:
    assert run("export", "--event", "gala", "-o", tmp_path / "all.ndjson", *options).exit_code == 0
    assert service.deleted == deleted


def test_an_export_that_fails_leaves_no_file(service: FakeService, tmp_path: Path) -> None:
    service.jobs = [{**JOB, "state": "cancelled"}]
    assert run("export", "--event", "gala", "-o", tmp_path / "all.ndjson").exit_code == 1
    assert list(tmp_path.iterdir()) == []
    assert service.deleted == 0


@pytest.mark.parametrize("name", ["empty", "people.rar"])
def test_sources_that_cannot_be(service: FakeService, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.mkdir() if name == "empty" else path.write_text("x")
    assert isinstance(run("import", path, "--event", "gala").exception, CommandError)
    assert service.requests == 0


def test_what_must_be_given(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("import", tmp_path / "nothing", "--event", "gala").exit_code == 2
    assert run("import", tmp_path, "--event", "gala", "--quality", "good").exit_code == 2
    assert run("import", tmp_path).exit_code == 2
    monkeypatch.delenv("ROLLCALL_TOKEN")
    assert run("import", tmp_path, "--event", "gala").exit_code == 2
