"""A WebSocket to the service, for asyncio; needs the extra `stream` of this package, `websockets`."""

from __future__ import annotations

import ssl
from typing import Any

import anyio
import httpx

from rollcall_client import __version__
from rollcall_client.errors import ConnectionFailed

CLOSE_TIMEOUT_S = 2.0
"""The other side has nothing left to say that matters."""
MAX_MESSAGE_BYTES = 2**24
"""Of an answer: some thousands of faces."""
REPLACED = 1012
"""Close code of a replica that is being replaced."""
NO_LIBRARY = "live streams need the library websockets: pip install 'rollcall-client[stream]'"


class SocketClosed(ConnectionFailed):
    """The WebSocket is closed, or was cut.

    Attributes:
        code: of the close (RFC 6455, 7.4); 1006: there was none.
        reason: that came with it.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the stream was cut: {code} {reason}".strip())
        self.code, self.reason = code, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.reason)


class HandshakeRefused(Exception):
    """The service answered without opening a WebSocket.

    Attributes:
        answer: what it said.
    """

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(str(answer.status_code))
        self.answer = answer


class WebSocket:
    """One connection. Every method raises `SocketClosed` once it is closed."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def send(self, message: str | bytes) -> None:
        """Send text or a frame."""
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(message)
        except ConnectionClosed as closed:
            raise _explain(closed) from None

    async def receive(self) -> str | bytes:
        """The next message."""
        from websockets.exceptions import ConnectionClosed

        try:
            message: str | bytes = await self._connection.recv()
        except ConnectionClosed as closed:
            raise _explain(closed) from None
        return message

    async def close(self) -> None:
        """Say farewell, for `CLOSE_TIMEOUT_S` at most."""
        with anyio.move_on_after(2 * CLOSE_TIMEOUT_S, shield=True):
            await self._connection.close()


def choose_trust(verify: Any) -> ssl.SSLContext:
    """What `verify` of a client means for a WebSocket."""
    return verify if isinstance(verify, ssl.SSLContext) else httpx.create_ssl_context(verify=verify)


async def open_socket(url: httpx.URL, headers: dict[str, str], trust: Any, timeout_s: float) -> WebSocket:
    """Open a WebSocket; redirections are not followed, since another site would get the token.

    Args:
        url: with the scheme http or https.
        trust: the client's `verify`.

    Raises:
        HandshakeRefused: the service says no.
        ConnectionFailed: it is not reached within timeout_s, or does not speak WebSocket.
        ImportError: the library is not installed.
    """
    try:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
    except ImportError:
        raise ImportError(NO_LIBRARY) from None

    class Connect(connect):
        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc

    is_secure = url.scheme == "https"
    address = str(url.copy_with(scheme="wss" if is_secure else "ws"))
    try:
        connection = await Connect(
            address,
            additional_headers=headers,
            user_agent_header=f"rollcall-client/{__version__}",
            ssl=choose_trust(trust) if is_secure else None,
            compression=None,  # frames are compressed already
            open_timeout=timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_MESSAGE_BYTES,
        )
    except InvalidStatus as refused:
        answer = refused.response
        raise HandshakeRefused(
            httpx.Response(
                answer.status_code,
                headers=list(answer.headers.raw_items()),
                content=bytes(answer.body or b""),
                request=httpx.Request("GET", url),
            )
        ) from None
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI, EOFError) as error:
        said = f"{type(error).__name__} {error}".strip()
        raise ConnectionFailed(f"no stream at {url}: {said}") from error
    return WebSocket(connection)


def _explain(closed: Any) -> SocketClosed:
    received = closed.rcvd
    return SocketClosed(1006, "") if received is None else SocketClosed(received.code, received.reason)
