"""What becomes of a body that the application answered without reading to its end."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_DRAINED_BYTES = 64 * 2**20
"""Twice the largest body of the default settings: whoever overdoes it a little keeps the connection, and
whoever sends a film does not hold it open."""
MAX_DRAIN_S = 5.0
"""Long enough for such a body over 100 Mbit/s, short beside the time that a request may take."""


class BodyDrain:
    """ASGI middleware: an answer given early leaves only when the rest of the body has come in.

    A proxy that gets an answer to half a request closes the client's connection behind it, and what the
    client sends on it next is lost. So the rest is received and dropped first, within `max_bytes` and
    `max_wait_s`; beyond them the answer leaves at once, with `Connection: close`. The same holds for a client
    that still waits for `100 Continue`: it has been saved the sending.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int = MAX_DRAINED_BYTES, max_wait_s: float = MAX_DRAIN_S
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_wait_s = max_wait_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        body = scope.setdefault("state", {})["body"] = _Body(scope, receive)

        async def send_after_body(message: Message) -> None:
            starts = message["type"] == "http.response.start" and not body.complete
            if starts and not await body.drain(self._max_bytes, self._max_wait_s):
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app(scope, body.receive, send_after_body)


class _Body:
    """How much of a request's body has come in."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._headers = scope["headers"]
        self._receive = receive
        self.received_bytes = 0
        self.complete = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.received_bytes += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        else:
            self.complete = True  # the client has gone
        return message

    async def drain(self, max_bytes: int, max_wait_s: float) -> bool:
        """Receive the rest and drop it; whether that came to its end."""
        headers = dict(self._headers)
        if self.received_bytes == 0 and headers.get(b"expect", b"").lower() == b"100-continue":
            return False
        most = self.received_bytes + max_bytes
        announced = headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > most:
            return False
        try:
            await asyncio.wait_for(self._drop_up_to(most), max_wait_s)
        except asyncio.TimeoutError:
            return False
        return self.complete

    async def _drop_up_to(self, most: int) -> None:
        while not self.complete and self.received_bytes <= most:
            await self.receive()


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )
