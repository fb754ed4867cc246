"""Beneath a stream: frames too small and too many end the connection soon; honest ones never do."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import uvicorn
from uvicorn.protocols.websockets import auto
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from serving.api.stream import wire

TEXT, CONTINUED, BINARY, PING, PONG = 1, 0, 2, 9, 10
FRAMES = 200_000
"""A megabyte of them; uvicorn by itself takes seconds for it."""


class Served:
    """An echo of lengths, and how many frames were taken apart for it."""

    def __init__(self) -> None:
        self.port = 0
        self.seen = 0
        self.messages: list[int] = []
        self.ended = asyncio.Event()

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while (message := await receive())["type"] == "websocket.receive":
                size = len(message.get("bytes") or message["text"])
                self.messages.append(size)
                await send({"type": "websocket.send", "text": str(size)})
        finally:
            self.ended.set()


@pytest_asyncio.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(auto, "AutoWebSocketsProtocol", wire.WebSocketsSansIOProtocol)
    wire.install()
    served = Served()
    tolerates = wire.FrugalWebSocket._tolerates

    def count(self: wire.FrugalWebSocket, data: bytes) -> bool:
        served.seen += 1
        return tolerates(self, data)

    monkeypatch.setattr(wire.FrugalWebSocket, "_tolerates", count)
    quiet = {"lifespan": "off", "log_config": None, "log_level": "critical"}
    config = uvicorn.Config(served.application, interface="asgi3", port=0, **quiet)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    served.port = server.servers[0].sockets[0].getsockname()[1]
    yield served
    server.should_exit = True
    await running


def make_frame(kind: int, data: bytes = b"", *, last: bool = True) -> bytes:
    size = struct.pack(">B", 0x80 | len(data)) if len(data) < 126 else struct.pack(">BH", 0xFE, len(data))
    return bytes([kind | (0x80 if last else 0)]) + size + bytes(4) + data


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", make_frame(PING)),
        (b"", make_frame(PONG)),
        (make_frame(TEXT, last=False), make_frame(CONTINUED, last=False)),
        (make_frame(BINARY, bytes(2000), last=False), make_frame(CONTINUED, b"x", last=False)),
        (b"", make_frame(TEXT, b"x")),
    ],
    ids=["pings", "pongs", "empty fragments", "fragments of a byte", "messages"],
)
async def test_a_flood_of_small_frames_ends_the_connection(served: Served, first: bytes, then: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(first + then * FRAMES)
    received = bytearray()
    try:
        while data := await asyncio.wait_for(reader.read(65536), 60):
            received += data
    except ConnectionError:
        pass  # it was closed while we were sending
    writer.close()
    most = wire.SMALL_FRAMES_BURST + wire.SLICE_BYTES / len(then)
    assert wire.SMALL_FRAMES_BURST < served.seen < 2 * most < FRAMES
    await asyncio.wait_for(served.ended.wait(), 60)
    assert len(served.messages) <= wire.SMALL_FRAMES_BURST


async def test_who_is_let_go_is_told_why(served: Served) -> None:
    async with connect(f"ws://127.0.0.1:{served.port}", proxy=None) as socket:

        async def flood() -> None:
            for _ in range(FRAMES):
                await socket.pong()
                await asyncio.sleep(0)  # the server is of this loop too

        with pytest.raises(ConnectionClosed):
            await flood()
    assert socket.close_code == wire.POLICY_VIOLATION
    assert "small frames" in (socket.close_reason or "")


async def test_pictures_in_fragments_and_some_pings_pass(served: Served) -> None:
    """More of them than there may be small frames."""
    async with connect(f"ws://127.0.0.1:{served.port}", proxy=None) as socket:
        await socket.send("x")
        assert await socket.recv() == "1"
        for _ in range(12):
            await socket.send([bytes(4096)] * 100 + [b"end"])
            assert await socket.recv() == str(100 * 4096 + 3)
            await (await socket.ping())
    assert served.seen > wire.SMALL_FRAMES_BURST
    assert served.messages == [1] + [409_603] * 12


LONG = wire.FIRST_MESSAGE_BYTES + 2 * wire.SLICE_BYTES


@pytest.mark.parametrize("parts", [[bytes(LONG)], [bytes(4096)] * 24], ids=["one frame", "fragments"])
async def test_a_first_message_is_short(served: Served, parts: list[bytes]) -> None:
    address = f"ws://127.0.0.1:{served.port}"
    async with connect(address, proxy=None, compression=None) as socket:
        with contextlib.suppress(ConnectionClosed):
            await socket.send(parts)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    assert socket.close_code == wire.TOO_BIG
    await asyncio.wait_for(served.ended.wait(), 60)
    assert served.messages == []


async def test_pictures_may_come_with_the_first_message_before_any_answer(served: Served) -> None:
    async with connect(f"ws://127.0.0.1:{served.port}", proxy=None) as socket:
        first = "x" * (wire.FIRST_MESSAGE_BYTES // 2)
        await socket.send(first)
        await socket.send(bytes(10 * LONG))
        assert [await socket.recv(), await socket.recv()] == [str(len(first)), str(10 * LONG)]


def test_another_protocol_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = type("Other", (), {})
    monkeypatch.setattr(auto, "AutoWebSocketsProtocol", other)
    wire.install()
    assert auto.AutoWebSocketsProtocol is other
    assert "not bounded" in caplog.text
