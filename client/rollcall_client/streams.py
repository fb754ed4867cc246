"""Live streams: frames of a camera in, faces out, over one WebSocket that is opened anew when it is cut."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Protocol, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from rollcall_client.conversation import Conversation
from rollcall_client.stream_conversation import Connect, Hear, StreamConversation, Tell
from rollcall_client.stream_messages import FrameRefused, StreamFaces, StreamReady
from rollcall_client.websocket import SocketClosed, WebSocket, open_socket

ANSWER_TIMEOUT_S = 30.0
"""After which a stream without an answer is taken for dead."""

T = TypeVar("T")


class Holder(Protocol):
    """A client that carries out conversations."""

    def _hold(self, conversation: Conversation[T], more: Callable[[Any], Any]) -> T: ...


class AsyncHolder(Protocol):
    """The same, awaiting."""

    async def _hold(self, conversation: Conversation[T], more: Callable[[Any], Awaitable[Any]]) -> T: ...


class _Line:
    """The connection that there is, if any."""

    def __init__(self, trust: Any) -> None:
        self._trust = trust
        self._socket: WebSocket | None = None

    async def carry_out(self, step: Any) -> Any:
        """Do one step of a `StreamConversation`."""
        if isinstance(step, Connect):
            await self.hang_up()
            self._socket = await open_socket(step.url, step.headers, self._trust, step.timeout_s)
            return None
        if isinstance(step, (Tell, Hear)):
            if self._socket is None:
                raise SocketClosed(1006, "")
            with anyio.fail_after(step.timeout_s):
                if isinstance(step, Hear):
                    return await self._socket.receive()
                return await self._socket.send(step.message)
        return await self.hang_up()

    async def hang_up(self) -> None:
        """Close what is open."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()


class AsyncStream:
    """An open live stream, for one task at a time; made by `AsyncClient.open_stream`."""

    def __init__(self, holder: AsyncHolder, conversation: StreamConversation, trust: Any) -> None:
        self._holder, self._conversation, self._line = holder, conversation, _Line(trust)

    async def __aenter__(self) -> AsyncStream:
        try:
            await self._hold(self._conversation.open())
        except BaseException:
            await self._line.hang_up()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._hold(self._conversation.close())

    @property
    def ready(self) -> StreamReady:
        """What the service said when the stream was opened last; `stream_id` tells whether that was anew."""
        assert self._conversation.ready is not None
        return self._conversation.ready

    async def show(
        self, frame: bytes | Callable[[], bytes], *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> StreamFaces | FrameRefused:
        """Send a frame and await its answer, as `Stream.show` does."""
        return await self._hold(self._conversation.show(frame, timeout_s))

    async def renew(self, token: str) -> None:
        """Go on with a newer token of the same caller; a session of the client is renewed by itself."""
        await self._hold(self._conversation.renew(token))

    async def _hold(self, conversation: Conversation[T]) -> T:
        return await self._holder._hold(conversation, self._line.carry_out)


class Stream:
    """An open live stream, for one thread at a time; made by `Client.open_stream`.

    Its WebSocket lives on an event loop of its own, in a thread that ends with it.
    """

    def __init__(self, holder: Holder, conversation: StreamConversation, trust: Any) -> None:
        self._holder, self._conversation, self._line = holder, conversation, _Line(trust)
        self._ending = contextlib.ExitStack()
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Stream:
        self._portal = self._ending.enter_context(start_blocking_portal())
        try:
            self._hold(self._conversation.open())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def ready(self) -> StreamReady:
        """What the service said when the stream was opened last; `stream_id` tells whether that was anew."""
        assert self._conversation.ready is not None
        return self._conversation.ready

    def show(
        self, frame: bytes | Callable[[], bytes], *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> StreamFaces | FrameRefused:
        """Send a frame and wait for its answer: the faces, or why it was not looked at.

        Where the connection is lost it is opened anew, as the client's `Retries` say, and the frame is sent
        again; tracks then begin anew too.

        Args:
            frame: a JPEG, PNG or WebP file; a function is asked for one each time that one is sent, so that a
                camera's is never an old one.
            timeout_s: after which the connection is taken for dead, and opened anew.

        Raises:
            ServiceError: the service ends the stream, for good or for longer than the client has patience.
            ConnectionFailed, DeadlinePassed: likewise, it stays away.
        """
        return self._hold(self._conversation.show(frame, timeout_s))

    def renew(self, token: str) -> None:
        """Go on with a newer token of the same caller; a session of the client is renewed by itself."""
        self._hold(self._conversation.renew(token))

    def _end(self) -> None:
        with self._ending:
            self._hold(self._conversation.close())

    def _hold(self, conversation: Conversation[T]) -> T:
        return self._holder._hold(conversation, self._carry_out)

    def _carry_out(self, step: Any) -> Any:
        assert self._portal is not None, "a stream is opened by `with`"
        return self._portal.call(self._line.carry_out, step)
