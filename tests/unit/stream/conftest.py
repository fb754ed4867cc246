"""The application on a real HTTP server, for real WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_asyncio
import uvicorn
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.unit.api.api_fakes import picture
from tests.unit.api.conftest import Api, empty_registry, make_api, ring, shared_app  # noqa: F401
from tests.unit.vision.conftest import pack_store, pipeline, pipelines  # noqa: F401

WAIT_S = 20
ADA = picture("ada")


class StreamApi:
    """An `Api` with one event, `gala`, where Ada is enrolled, and the port at which it is served."""

    def __init__(self, api: Api, server: uvicorn.Server, port: int) -> None:
        self.api = api
        self.server = server
        self.port = port

    def connect(self, event: str = "gala", **options: Any) -> connect:
        """A WebSocket to the event's stream."""
        return connect(f"ws://127.0.0.1:{self.port}/v1/events/{event}/stream", proxy=None, **options)

    @contextlib.asynccontextmanager
    async def stream(
        self, token: str | None = None, *, event: str = "gala", **options: Any
    ) -> AsyncIterator[ClientConnection]:
        """A stream that is ready."""
        async with self.connect(event) as socket:
            await say(socket, type="start", token=token or self.api.token_for(), **options)
            assert (await hear(socket))["type"] == "ready"
            yield socket


async def say(socket: ClientConnection, **message: Any) -> None:
    """Send a text message."""
    await socket.send(json.dumps(message))


async def hear(socket: ClientConnection) -> dict[str, Any]:
    """The next message."""
    message: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), WAIT_S))
    return message


async def show(socket: ClientConnection, frame: bytes) -> dict[str, Any]:
    """The answer to a frame."""
    await socket.send(frame)
    return await hear(socket)


async def hear_end(socket: ClientConnection) -> tuple[int, str, dict[str, Any]]:
    """The close code, the reason and the problem with which a stream ends."""
    last: dict[str, Any] = {}
    while True:
        try:
            last = await hear(socket)
        except websockets.ConnectionClosed as closed:
            frame = closed.rcvd
            break
    assert frame is not None
    return frame.code, frame.reason, last.get("problem", {})


@pytest_asyncio.fixture
async def make_stream(make_api: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:  # noqa: F811
    """Serves an application; keyword arguments are those of the section `stream`, `others` other sections."""
    served: list[tuple[uvicorn.Server, asyncio.Task[None]]] = []

    async def make(others: dict[str, Any] | None = None, **settings: Any) -> StreamApi:
        api = await make_api(stream=settings, **(others or {}))
        await api.create_event(request_policy="any")
        await api.enrol("ada", ADA, name="Ada")
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(api.app, lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        served.append((server, task))
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event to wait for
            await asyncio.sleep(0.01)
        return StreamApi(api, server, listener.getsockname()[1])

    yield make
    for server, task in served:
        server.should_exit = True
        await asyncio.wait_for(task, WAIT_S)
