"""Tries, pauses, the deadline, sessions: both clients through one script, on a clock that stands still."""

from __future__ import annotations

import asyncio
import io
import pickle
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollcall_client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    DeadlinePassed,
    JobFailed,
    Retries,
    Session,
    UnexpectedAnswer,
    problems,
)
from rollcall_client.errors import RequestRefused, ServiceTrouble
from rollcall_client.retry import read_retry_after_s
from tests.unit.client.client_script import HEALTH, JOB, TOKENS, Script, health, problem


def enrol(client: Any) -> Any:
    return client.people.enrol("gala", b"\xff\xd8", person_id="ada")


def check_in(client: Any) -> Any:
    return client.check_ins.check_in("gala", b"\xff\xd8")


PASSING = {
    "rate limited": problem(429, "rate_limited", **{"Retry-After": "2"}),
    "overloaded": problem(503, "overloaded", **{"Retry-After": "2"}),
    "stage": problem(503, "stage_unavailable", **{"Retry-After": "2"}),
    "proxy": httpx.Response(502, text="<html>"),
    "cut off": httpx.RemoteProtocolError("gone"),
    "not there": httpx.ConnectError("refused"),
}


@pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING)
def test_what_passes_is_tried_again(play: Any, trouble: Any) -> None:
    script = Script([trouble, trouble, HEALTH])
    assert play(script, health).status == "ok"
    assert len(script.requests) == 3
    told_s = 2.0 if isinstance(trouble, httpx.Response) and "Retry-After" in trouble.headers else 0.0
    first, second = script.pauses
    assert told_s + 0.125 <= first <= told_s + 0.25
    assert told_s + 0.25 <= second <= told_s + 0.5


@pytest.mark.parametrize(
    ("trouble", "tries"),
    [
        (problem(429, "rate_limited", **{"Retry-After": "0"}), 2),
        (problem(503, "overloaded"), 2),
        (httpx.ConnectError("refused"), 2),
        (problem(503, "stage_unavailable", **{"Retry-After": "0"}), 1),
        (httpx.ReadError("gone"), 1),
        (problem(504, "deadline_exceeded"), 1),
    ],
)
def test_what_counts_is_sent_again_only_when_nothing_was_done(play: Any, trouble: Any, tries: int) -> None:
    """A check-in counts, and has no key."""
    script = Script([trouble, problem(404, "unknown_event")])
    with pytest.raises(Exception) as raised:  # noqa: PT011
        play(script, check_in)
    assert len(script.requests) == tries
    assert isinstance(raised.value, problems.UnknownEvent) == (tries == 2)


def test_with_a_key_everything_may_be_sent_again_with_the_same_key_and_body(play: Any) -> None:
    script = Script([
        httpx.ReadError("gone"),
        problem(409, "request_in_progress", **{"Retry-After": "1"}),
        problem(503, "stage_unavailable"),
        problem(409, "duplicate_person"),
    ])  # fmt: skip
    with pytest.raises(problems.DuplicatePerson):
        play(script, enrol)
    assert len(script.requests) == 4
    assert len({each.headers["Idempotency-Key"] for each in script.requests}) == 1
    parts = {
        body.replace(request.headers["content-type"].partition("boundary=")[2].encode(), b"")
        for body, request in zip(script.bodies, script.requests, strict=True)
    }
    assert len(parts) == 1


def test_tries_end(play: Any) -> None:
    script = Script([problem(503, "overloaded")])
    with pytest.raises(problems.Overloaded):
        play(script, health, retries=Retries(max_tries=3))
    assert len(script.requests) == 3


def test_the_deadline_holds_for_all_tries_and_is_told(play: Any) -> None:
    script = Script([problem(503, "overloaded", **{"Retry-After": "1"})], takes_s=1.0)
    with pytest.raises(problems.Overloaded):
        play(script, lambda client: client.people.enrol("gala", b"\xff\xd8", timeout_s=5.0))
    assert script.now_s - script.takes_s <= 105.0, "the last try began after the deadline"
    left = [float(each.headers["X-Timeout-S"]) for each in script.requests]
    assert left[0] == 5.0
    assert len(left) > 1
    assert sorted(left, reverse=True) == left
    assert left[-1] < 3.0


def test_an_answer_that_does_not_come(play: Any) -> None:
    script = Script([httpx.ReadTimeout("late")], takes_s=5.0)
    with pytest.raises(DeadlinePassed) as raised:
        play(script, lambda client: client.operations.health(timeout_s=5.0))
    assert isinstance(raised.value, TimeoutError)
    assert len(script.requests) == 1


def test_a_long_retry_after_is_the_callers_to_wait_for(play: Any) -> None:
    script = Script([problem(429, "sign_in_failed", **{"Retry-After": "900"})])
    with pytest.raises(problems.SignInFailed) as raised:
        play(script, health, timeout_s=3600)
    assert raised.value.retry_after_s == 900
    assert script.pauses == []


def test_what_was_deleted_by_a_try_whose_answer_was_lost_is_deleted(play: Any) -> None:
    script = Script([httpx.ReadError("gone"), problem(404, "unknown_person")])
    assert play(script, lambda client: client.people.delete("gala", "ada")) is None
    with pytest.raises(problems.UnknownPerson):
        play(Script([problem(404, "unknown_person")]), lambda client: client.people.delete("gala", "ada"))


def test_errors_say_what_they_know(play: Any) -> None:
    with pytest.raises(problems.NoFace) as raised:
        play(Script([problem(422, "no_face")]), enrol)
    error = raised.value
    assert (error.code, error.status, error.cure, error.request_id, error.context) == (
        "no_face", 422, "cure no_face", "r-1", {"n": 1},
    )  # fmt: skip
    assert str(error) == "no_face: it is no_face"
    assert pickle.loads(pickle.dumps(error)).request_id == "r-1"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(418, "of_a_newer_service"), RequestRefused),
        (problem(507, "storage_full"), ServiceTrouble),
        (httpx.Response(404, text="<html>"), UnexpectedAnswer),
        (httpx.Response(200, text="<html>"), UnexpectedAnswer),
        (httpx.Response(200, json={"state": "ok"}), UnexpectedAnswer),
        (httpx.ConnectError("refused"), ConnectionFailed),
    ],
)
def test_what_nobody_foresaw(play: Any, answer: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        play(Script([answer]), health, retries=Retries(max_tries=1))


def end_in(seconds: float) -> Session:
    return Session("old", datetime.now(timezone.utc) + timedelta(seconds=seconds), "r1")


def test_a_session_is_renewed_before_it_ends(play: Any) -> None:
    told: list[Session] = []
    script = Script([httpx.Response(200, json=TOKENS), HEALTH])
    assert play(script, health, session=end_in(5), on_session=told.append).status == "ok"
    assert [each.url.path for each in script.requests] == ["/v1/auth/refresh", "/healthz"]
    assert "Authorization" not in script.requests[0].headers
    assert script.requests[1].headers["Authorization"] == "Bearer new"
    assert [each.refresh_token for each in told] == ["r2"]
    assert "r2" not in repr(told[0])


def test_a_session_that_ended_early_is_renewed_once(play: Any) -> None:
    expired = problem(401, "token_expired")
    script = Script([expired, httpx.Response(200, json=TOKENS), expired])
    with pytest.raises(problems.TokenExpired):
        play(script, health, session=end_in(500))
    assert len(script.requests) == 3


def test_a_refresh_token_is_never_sent_twice(play: Any) -> None:
    """Its second use would end the session."""
    script = Script([httpx.ReadError("gone"), HEALTH])
    with pytest.raises(ConnectionFailed):
        play(script, health, session=end_in(5))
    assert len(script.requests) == 1


def test_those_who_ask_together_renew_together() -> None:
    script = Script([httpx.Response(200, json=TOKENS), HEALTH])

    async def ask() -> None:
        transport = httpx.MockTransport(script.handle)
        async with AsyncClient("http://rollcall", session=end_in(5), transport=transport) as client:
            await asyncio.gather(*(client.operations.health() for _ in range(5)))

    asyncio.run(ask())
    assert [each.url.path for each in script.requests].count("/v1/auth/refresh") == 1
    assert len(script.requests) == 6


def test_a_job_is_asked_for_until_it_is_done(play: Any) -> None:
    states = [{**JOB, "state": "queued"}, {**JOB, "state": "running", "done": 1}, JOB]
    script = Script([httpx.Response(200, json=each) for each in states])
    seen: list[int] = []
    done = play(
        script,
        lambda c: c.wait_for_job("gala", "j1", on_progress=lambda job: seen.append(job.done), poll_s=2),
    )
    assert done.state == "done"
    assert (seen, script.pauses) == ([3, 1, 3], [2, 2])


def test_a_job_that_ends_otherwise_or_not_in_time(play: Any) -> None:
    failed = {**JOB, "state": "failed", "error": {"code": "bad_archive", "detail": "cut off"}}
    with pytest.raises(JobFailed) as raised:
        play(Script([httpx.Response(200, json=failed)]), lambda c: c.wait_for_job("gala", "j1"))
    assert raised.value.code == "bad_archive"
    running = Script([httpx.Response(200, json={**JOB, "state": "running"})])
    with pytest.raises(DeadlinePassed):
        play(running, lambda c: c.wait_for_job("gala", "j1", timeout_s=10))
    assert running.now_s <= 110


def read_pieces(pieces: list[bytes]) -> Iterator[bytes]:
    yield from pieces


def test_uploads_are_read_anew_for_each_try_where_they_can_be(play: Any, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    path = tmp_path / "people.tar.gz"
    path.write_bytes(content)
    busy = problem(503, "overloaded")
    accepted = httpx.Response(202, json=JOB)
    for upload, tries in ((path, 2), (io.BytesIO(content), 2), ([content], 2), (read_pieces([content]), 1)):
        script = Script([busy, accepted])

        def work(client: Any, upload: Any = upload) -> Any:
            return client.jobs.import_people("gala", upload, content_type="application/gzip")

        if tries == 2:
            assert play(script, work).id == "j1"
        else:
            with pytest.raises(problems.Overloaded):
                play(script, work)
        assert script.bodies == [content] * tries
        sent = script.requests[0]
        assert sent.headers["content-type"] == "application/gzip"
        assert sent.headers["host"] == "rollcall"
        assert ("content-length" in sent.headers) == isinstance(upload, (Path, io.BytesIO))


def test_a_path_says_itself_what_it_is(play: Any, tmp_path: Path) -> None:
    (tmp_path / "people.zip").write_bytes(b"PK")
    script = Script([httpx.Response(202, json=JOB)])
    play(script, lambda client: client.jobs.import_people("gala", tmp_path / "people.zip"))
    assert script.requests[0].headers["content-type"] == "application/zip"
    with pytest.raises(ValueError, match="content_type"):
        play(script, lambda client: client.jobs.import_people("gala", tmp_path / "people.rar"))


@pytest.mark.parametrize("event", ["", ".", ".."])
def test_no_id_leads_to_another_route(play: Any, event: str) -> None:
    with pytest.raises(ValueError, match="event"):
        play(Script([HEALTH]), lambda client: client.events.delete(event))


def test_what_a_client_must_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROLLCALL_URL", "ROLLCALL_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for options in ({}, {"url": "rollcall:8000"}, {"url": "http://r", "token": "a", "api_key": "b"}):
        with pytest.raises(ValueError, match=r"URL|one of"):
            Client(**options)
    monkeypatch.setenv("ROLLCALL_URL", "http://rollcall/below/")
    monkeypatch.setenv("ROLLCALL_TOKEN", "from-there")
    script = Script([HEALTH])
    with Client(transport=httpx.MockTransport(script)) as client:
        client.operations.health()
    with Client(api_key="rck_1", transport=httpx.MockTransport(script)) as client:
        client.operations.health()
    first, second = script.requests
    assert str(first.url) == "http://rollcall/below/healthz"
    assert first.headers["Authorization"] == "Bearer from-there"
    assert (second.headers["X-API-Key"], "Authorization" in second.headers) == ("rck_1", False)


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2026, 5, 1, 18, 0, tzinfo=timezone.utc)
    for text, seconds in (
        (None, None), ("", None), ("3", 3.0), ("1.5", 1.5), ("-1", 0.0), ("soon", None),
        ("Fri, 01 May 2026 18:00:30 GMT", 30.0), ("Fri, 01 May 2026 17:00:00 GMT", 0.0),
    ):  # fmt: skip
        assert read_retry_after_s(text, now) == seconds, text
