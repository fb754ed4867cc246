"""A live stream as a page or a camera opens it, over a plain WebSocket."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from websockets.sync.client import ClientConnection, connect

from loadtest.service import Service

WAIT_S = 60


@contextlib.contextmanager
def open_stream(service: Service, event: str, token: str, **options: Any) -> Iterator[ClientConnection]:
    url = f"{service.url.replace('http', 'ws', 1)}{event}/stream"
    with connect(url, proxy=None, open_timeout=WAIT_S) as socket:
        socket.send(json.dumps({"type": "start", "token": token, **options}))
        assert (hear(socket))["type"] == "ready"
        yield socket


def hear(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(socket.recv(WAIT_S))
    return message


def show(socket: ClientConnection, frame: bytes) -> dict[str, Any]:
    socket.send(frame)
    return hear(socket)
