"""What changes while a stream lasts: people, policies, callers, and a database that does not answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import websockets
from sqlalchemy import update
from starlette.websockets import WebSocketDisconnect

from serving.accounts.tables import account
from serving.api.stream import session as session_module
from serving.api.stream.caller import StreamCaller
from serving.api.stream.mailbox import Frame, Mailbox
from serving.api.stream.session import StreamSession
from serving.errors import StageUnavailable, StreamOver
from serving.settings import Settings
from tests.unit.api.api_fakes import picture
from tests.unit.stream.conftest import ADA, WAIT_S, StreamApi, hear_end, say, show

STRANGER = picture("eve")
SPOOF = picture("ada:1::0.2")
Make = Callable[..., Any]


async def erase(served: StreamApi) -> None:
    assert (await served.api.client.delete("/v1/events/gala/people/ada")).status_code == 204


async def rename(served: StreamApi) -> None:
    answer = await served.api.client.patch("/v1/events/gala/people/ada", json={"name": "Countess"})
    assert answer.status_code == 200, answer.text


async def demote(served: StreamApi) -> None:
    demotion = update(account).values(role="member")
    await served.api.registry._database.write(lambda c: c.execute(demotion))


async def enforce_liveness(served: StreamApi) -> None:
    answer = await served.api.client.patch("/v1/events/gala", json={"liveness": "enforce"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("change", "frame", "field", "before", "after"),
    [
        (erase, STRANGER, "candidates", ["Ada"], []),  # who only resembles somebody is named too
        (rename, ADA, "candidates", ["Ada"], ["Countess"]),
        (demote, STRANGER, "candidates", ["Ada"], []),
        (enforce_liveness, SPOOF, "outcome", "match", "refused"),
    ],
)
async def test_what_changes_is_taken_over(
    make_stream: Make, change: Any, frame: bytes, field: str, before: Any, after: Any
) -> None:
    served = await make_stream({"liveness": {"model": "minifasnet"}}, recheck_s=0.1, retry_s=60)

    def read(answer: dict[str, Any]) -> Any:
        [face] = answer["faces"]
        return [each["name"] for each in face[field]] if field == "candidates" else face[field]

    async with served.stream(top_k=2) as socket:
        assert read(await show(socket, frame)) == before
        await change(served)

        async def wait() -> None:
            while (seen := read(await show(socket, frame))) != after:
                assert seen == before
                await asyncio.sleep(0.02)

        await asyncio.wait_for(wait(), WAIT_S)


async def test_who_is_recognised_during_a_look_stays_so(
    make_stream: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that was begun before knows nothing of them."""
    served = await make_stream(recheck_s=0.1, retry_s=60)
    await served.api.enrol("eve", STRANGER)
    registry = type(served.api.registry)
    names_of = registry.names_of
    is_asked, may_go_on, looks = asyncio.Event(), asyncio.Event(), 0

    async def wait(self: Any, key: str, ids: Any) -> Any:
        nonlocal looks
        known = await names_of(self, key, ids)
        if set(ids) == {"ada"}:  # a look
            is_asked.set()
            await may_go_on.wait()
        looks += len(ids) == 2
        return known

    async with served.stream() as socket:
        await show(socket, ADA)
        monkeypatch.setattr(registry, "names_of", wait)
        await asyncio.wait_for(is_asked.wait(), WAIT_S)
        both = picture("ada", "eve")
        assert len((await show(socket, both))["faces"]) == 2
        may_go_on.set()
        while looks < 2:
            faces = (await show(socket, both))["faces"]
            assert [face["outcome"] for face in faces] == ["match", "match"]
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("patience_s", "ends"), [(0.0, True), (60.0, False)], ids=["for long", "for a moment"]
)
async def test_a_database_that_does_not_answer(
    make_stream: Make, monkeypatch: pytest.MonkeyPatch, patience_s: float, ends: bool
) -> None:
    monkeypatch.setattr(session_module, "UNCONFIRMED_S", patience_s)
    served = await make_stream(recheck_s=0.1)
    looks = 0

    async def fail(*_: Any) -> None:
        nonlocal looks
        looks += 1
        raise StageUnavailable("10.1.2.3 said no")

    async with served.stream() as socket:
        await show(socket, ADA)
        monkeypatch.setattr(type(served.api.services.accounts.access), "identify_bearer", fail)
        if ends:
            code, reason, problem = await hear_end(socket)
            assert (code, reason, problem["code"]) == (4503, "stage_unavailable", "stage_unavailable")
            assert "10.1.2.3" not in json.dumps(problem)
        else:
            while looks < 3:
                assert (await show(socket, ADA))["faces"][0]["outcome"] == "match"
                await asyncio.sleep(0.02)
    if ends:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with served.connect(
                additional_headers={"Authorization": f"Bearer {served.api.token_for()}"}
            ):
                pass
        assert refused.value.response.status_code == 503
        assert b"10.1.2.3" not in refused.value.response.body


async def test_frames_go_on_while_a_newer_token_is_looked_up(
    make_stream: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await make_stream(frames_per_s=120)
    asked, gate = asyncio.Event(), asyncio.Event()
    renew = StreamCaller.renew

    async def wait(self: StreamCaller, credential: str) -> None:
        asked.set()
        await gate.wait()
        await renew(self, credential)

    monkeypatch.setattr(StreamCaller, "renew", wait)
    async with served.stream() as socket:
        await say(socket, type="token", token=served.api.token_for())
        await asked.wait()
        assert (await show(socket, ADA))["type"] == "faces"
        await served.api.client.delete("/v1/events/gala")
        await served.api.create_event()  # another one of this name
        gate.set()
        assert (await hear_end(socket))[1] == "unknown_event"


async def test_of_a_frame_that_is_too_large_nothing_is_kept(
    make_stream: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await make_stream(max_frame_bytes=1024)
    kept: list[Frame] = []
    put = Mailbox.put

    def note(self: Mailbox, frame: Frame) -> Any:
        kept.append(frame)
        return put(self, frame)

    monkeypatch.setattr(Mailbox, "put", note)
    async with served.stream() as socket:
        problem = (await show(socket, b"\0" * 100_000))["problem"]
    assert problem["context"] == {"bytes": 100_000, "max_bytes": 1024}
    assert [len(frame.data) for frame in kept] == [0]


class DeafSocket:
    """A client that takes an answer only when three of its own messages have been taken."""

    def __init__(self) -> None:
        self.received = 0
        self.is_heard = asyncio.Event()
        self.closed_with: int | None = None

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.received += 1
        if self.received == 3:
            self.is_heard.set()
        return {"type": "websocket.receive", "bytes": b"\0" * 1000}

    async def send_json(self, _: Any) -> None:
        await self.is_heard.wait()

    async def send_text(self, _: str) -> None:
        raise RuntimeError('Cannot call "send" once a close message has been sent.')

    async def close(self, code: int, _: str) -> None:
        self.closed_with = code


def make_session(socket: DeafSocket) -> StreamSession:
    services = SimpleNamespace(settings=Settings())
    report = SimpleNamespace(stream_id="1", error=None)
    return StreamSession(socket, services, None, report)  # type: ignore[arg-type]


async def test_what_is_sent_while_a_stream_ends_is_dropped() -> None:
    socket = DeafSocket()
    await make_session(socket).end(StreamOver())
    assert (socket.closed_with, socket.received >= 3) == (4408, True)


async def test_an_answer_to_a_connection_that_the_server_gave_up_is_no_fault() -> None:
    with pytest.raises(WebSocketDisconnect):
        await make_session(DeafSocket())._send(session_module.Renewal(type="token", token="1"))
