"""What a client must never do: send half a body, tell a secret, wait for ever, or believe a proxy."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from collections.abc import Iterator
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
    models,
    problems,
)
from rollcall_client.deadlines import CONNECT_TIMEOUT_S, PIECE_BYTES
from rollcall_client.requests import authentication, jobs
from rollcall_client.retry import read_retry_after_s
from tests.unit.client.client_script import HEALTH, JOB, TOKENS, Script, health, problem
from tests.unit.client.test_client_retries import end_in

LOST = httpx.ReadError("gone")
PROXYS_OWN = httpx.Response(404, text="default backend - 404")


def test_half_an_upload_is_never_sent_though_the_session_could_be_renewed(play: Any) -> None:
    """What was read for the first try is gone: the second would import the rest as if it were all."""
    script = Script([problem(401, "token_expired"), httpx.Response(200, json=TOKENS)])
    lines = iter([b'{"person_id": "ada"}\n'])
    with pytest.raises(problems.TokenExpired):
        play(
            script,
            lambda c: c.jobs.import_people("gala", lines, content_type="application/x-ndjson"),
            session=end_in(500),
        )
    assert len(script.requests) == 1


def test_a_proxys_404_does_not_say_that_something_is_erased(play: Any) -> None:
    script = Script([LOST, PROXYS_OWN])
    with pytest.raises(UnexpectedAnswer):
        play(script, lambda client: client.people.delete("gala", "ada"))


@pytest.mark.parametrize("who", [{"api_key": "rck_1"}, {"token": "stale"}])
def test_a_session_takes_the_place_of_what_was_there_before(who: dict[str, str]) -> None:
    script = Script([httpx.Response(200, json=TOKENS), HEALTH])
    with Client("http://rollcall", transport=httpx.MockTransport(script), **who) as client:  # type: ignore[arg-type]
        client.sign_in("ada", "correct horse battery staple")
        client.operations.health()
    first, second = ({name: each.headers.get(name) for name in ("Authorization", "X-API-Key")}
                     for each in script.requests)  # fmt: skip
    assert first == {"Authorization": None, "X-API-Key": None}
    assert second == {"Authorization": "Bearer new", "X-API-Key": None}


@pytest.mark.parametrize("secret", ["s3cret\n", "s3 cret", "s3crét"])
def test_a_token_that_no_header_can_hold_is_refused_unquoted(secret: str) -> None:
    ended = Session(secret, end_in(500).expires_at, None)
    for who in ({"token": secret}, {"api_key": secret}, {"session": ended}):
        with pytest.raises(ValueError, match="token or API key") as raised:
            Client("http://rollcall", **who)  # type: ignore[arg-type]
        assert "s3" not in str(raised.value)


def test_what_cannot_be_sent_as_it_is_is_neither_sent_again_nor_quoted(play: Any) -> None:
    script = Script([httpx.LocalProtocolError("Illegal header value b'Bearer s3cret'")])
    with pytest.raises(ConnectionFailed) as raised:
        play(script, health)
    assert "s3cret" not in f"{raised.value} {raised.value.__cause__} {raised.value.__context__}"
    assert len(script.requests) == 1


@pytest.mark.parametrize("url", ["http://ada:s3cret@rollcall", "http://rollcall/?a=s3cret", "http://a\nb"])
def test_a_url_is_where_the_service_is_and_nothing_else(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as raised:
        Client(url)
    assert "s3cret" not in str(raised.value)


def test_no_representation_tells_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Client("http://rollcall", token="s3cret", transport=httpx.MockTransport(Script([HEALTH]))) as client:
        health(client)
        shown = [repr(client), repr(client._identity)]
    tokens = {"access_token": "s3cret", "refresh_token": "s3cret", "expires_in_s": 1}
    shown += [
        repr(models.Tokens.model_validate(tokens)),
        repr(authentication.sign_in(name="ada", password="s3cret")),
        repr(jobs.import_job("gala", b"s3cret", content_type="application/zip").body),
        caplog.text,
    ]
    assert "s3cret" not in "".join(shown)


def test_a_redirection_is_told_and_not_followed(play: Any) -> None:
    moved = httpx.Response(301, headers={"Location": "https://elsewhere:444/login?next=/healthz"})
    script = Script([moved])
    with pytest.raises(UnexpectedAnswer, match=r"points to https://elsewhere:444$"):
        play(script, health)
    assert len(script.requests) == 1


def test_an_answer_that_cannot_be_unpacked(play: Any) -> None:
    script = Script([HEALTH])
    script.answer_by = lambda _: httpx.Response(
        200, headers={"Content-Encoding": "gzip"}, stream=Pieces([b"no gzip"])
    )
    with pytest.raises(ConnectionFailed):
        play(script, health, retries=Retries(max_tries=1))


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, pieces: list[bytes], between: Any = lambda: None) -> None:
        self._pieces, self._between = pieces, between

    def __iter__(self) -> Iterator[bytes]:
        for each in self._pieces:
            yield each
            self._between()

    async def __aiter__(self) -> Any:
        for each in self:
            yield each


def test_a_download_holds_to_the_deadline_that_it_was_given(play: Any) -> None:
    script = Script([HEALTH])

    def pass_time() -> None:
        script.now_s += 3.0

    script.answer_by = lambda _: httpx.Response(200, stream=Pieces([b"a"] * 9, pass_time))
    seen: list[bytes] = []

    def read(client: Any, timeout_s: float | None = 10.0) -> Any:
        opened = client.jobs.result("gala", "j1", timeout_s=timeout_s)
        if isinstance(client, Client):
            with opened as pieces:
                seen.extend(pieces)
            return None

        async def read_async() -> None:
            async with opened as pieces:
                async for piece in pieces:
                    seen.append(piece)

        return read_async()

    with pytest.raises(DeadlinePassed):
        play(script, read)
    assert 0 < len(seen) < 9
    seen.clear()
    play(script, lambda client: read(client, None))
    assert len(seen) == 9


def test_a_download_replaces_no_device_and_no_link(play: Any, tmp_path: Path) -> None:
    device, link, target = (tmp_path / name for name in ("device", "link", "target"))
    device.symlink_to("/dev/null")
    link.symlink_to(target)
    target.write_bytes(b"older")

    def save(client: Any, path: Path) -> Any:
        opened = client.jobs.result("gala", "j1")
        if isinstance(client, Client):
            with opened as download:
                return download.save(path)

        async def save_async() -> int:
            async with opened as download:
                return await download.save(path)

        return save_async()

    for path in (device, link):
        script = Script([httpx.Response(200, content=b"whole")])
        assert play(script, lambda client, path=path: save(client, path)) == 5
    assert device.is_char_device()
    assert link.is_symlink()
    assert target.read_bytes() == b"whole"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["device", "link", "target"]


def test_each_phase_of_a_request_has_what_the_ones_before_left() -> None:
    script = Script([HEALTH])
    left: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        for phase in ("pool", "connect", "write", "read"):
            left.append(request.extensions["timeout"].get(phase))
            script.now_s += 7.0
        return httpx.Response(200, json={"status": "ok"})

    with Client(
        "http://rollcall", transport=httpx.MockTransport(answer), clock=lambda: script.now_s
    ) as client:
        client.operations.health(timeout_s=20.0)
    assert left[:3] == [20.0, CONNECT_TIMEOUT_S, 6.0]
    assert 0 < left[3] < 0.01


def test_a_body_is_not_sent_beyond_the_deadline() -> None:
    """A slow line takes each piece in time, and all of them for ever."""
    script = Script([HEALTH])
    taken: list[int] = []

    class SlowLine(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            assert isinstance(request.stream, httpx.SyncByteStream)
            for piece in request.stream:
                taken.append(len(piece))
                script.now_s += 3.0
            return httpx.Response(500)

    with (
        Client("http://rollcall", token="t", transport=SlowLine(), clock=lambda: script.now_s) as client,
        pytest.raises(DeadlinePassed),
    ):
        client.people.enrol("gala", bytes(1_000_000), person_id="ada", timeout_s=10.0)
    assert 0 < len(taken) < 8
    assert max(taken) <= PIECE_BYTES


def test_nobody_waits_longer_for_a_renewal_than_for_the_answer(play: Any) -> None:
    def work(client: Any) -> Any:
        if isinstance(client, Client):
            with client._renewal:
                return client.operations.health(timeout_s=0.05)

        async def hold() -> None:
            async with client._renewal:
                await client.operations.health(timeout_s=0.05)

        return hold()

    with pytest.raises(DeadlinePassed):
        play(Script([problem(500, "internal_error")]), work, session=end_in(5))


def test_who_stops_waiting_loses_no_session() -> None:
    """The refresh token is good once: the answer that brings the next must not be lost with the call."""

    async def go() -> tuple[Session | None, list[str]]:
        asked, go_on = asyncio.Event(), asyncio.Event()
        paths: list[str] = []

        async def answer(request: httpx.Request) -> httpx.Response:
            paths.append(request.url.path)
            if request.url.path != "/v1/auth/refresh":
                return httpx.Response(200, json={"status": "ok"})
            asked.set()
            await go_on.wait()
            return httpx.Response(200, json=TOKENS)

        transport = httpx.MockTransport(answer)
        async with AsyncClient("http://rollcall", session=end_in(5), transport=transport) as client:
            call = asyncio.create_task(client.operations.health())
            await asked.wait()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert call.cancelled()
            go_on.set()
            await client.operations.health()
            return client.session, paths

    session, paths = asyncio.run(go())
    assert session is not None
    assert session.refresh_token == "r2"
    assert paths == ["/v1/auth/refresh", "/healthz"]


def test_threads_renew_once() -> None:
    script = Script([httpx.Response(200, json=TOKENS), HEALTH])
    with Client("http://rollcall", session=end_in(5), transport=httpx.MockTransport(script)) as client:
        threads = [threading.Thread(target=health, args=(client,)) for _ in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(30)
    assert [each.url.path for each in script.requests].count("/v1/auth/refresh") == 1


def test_pages_that_lead_to_themselves_end(play: Any) -> None:
    page = httpx.Response(200, json={"rejections": [], "next_cursor": "again"})
    script = Script([page])

    def work(client: Any) -> Any:
        found = client.jobs.iterate_rejections("gala", "j1")
        if isinstance(client, Client):
            return list(found)

        async def read() -> list[Any]:
            return [each async for each in found]

        return read()

    with pytest.raises(UnexpectedAnswer, match="followed by itself"):
        play(script, work)
    assert len(script.requests) == 2


def test_a_job_is_waited_for_until_the_end_of_the_time(play: Any) -> None:
    script = Script([httpx.Response(200, json={**JOB, "state": "running"})])
    with pytest.raises(DeadlinePassed, match="it goes on"):
        play(script, lambda client: client.wait_for_job("gala", "j1", poll_s=60, timeout_s=30))
    assert 129.9 < script.now_s <= 130


def test_words_of_a_newer_service_are_taken_as_they_are(play: Any) -> None:
    states = [{**JOB, "state": "being_thought_over", "kind": "of_a_newer_service"}, JOB]
    script = Script([httpx.Response(200, json=each) for each in states])
    seen: list[str] = []
    done = play(
        script,
        lambda c: c.wait_for_job("gala", "j1", on_progress=lambda job: seen.append(job.state)),
    )
    assert (seen, done.kind) == (["being_thought_over", "done"], "export")


def test_strange_times_to_wait() -> None:
    for text in ("nan", "inf", "-inf", "1e999"):
        assert read_retry_after_s(text) is None
    assert Retries(max_tries=10_000).choose_pause_s(5_000, None) is not None


@pytest.mark.parametrize(
    "error",
    [UnexpectedAnswer("no", 418), JobFailed("no", "j1", "failed", "bad_archive"), DeadlinePassed("no")],
)
def test_errors_pass_between_processes(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_a_cancellation_is_never_swallowed() -> None:
    """Neither where the answer comes in the same moment."""

    async def go() -> int:
        requests = 0
        calls: list[asyncio.Task[Any]] = []

        async def answer(request: httpx.Request) -> httpx.Response:
            nonlocal requests
            requests += 1
            asyncio.get_running_loop().call_soon(calls[0].cancel)
            return httpx.Response(200, json={**JOB, "state": "running" if requests < 5 else "done"})

        transport = httpx.MockTransport(answer)
        async with AsyncClient("http://rollcall", token="t", transport=transport) as client:
            calls.append(asyncio.create_task(client.wait_for_job("gala", "j1", poll_s=0.001)))
            await asyncio.gather(*calls, return_exceptions=True)
            assert calls[0].cancelled()
        return requests

    assert asyncio.run(go()) == 1
