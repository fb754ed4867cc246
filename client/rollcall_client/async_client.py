"""The client that awaits; for asyncio."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

import anyio
import httpx

from rollcall_client.async_routes import AllAsyncRoutes
from rollcall_client.bodies import Picture
from rollcall_client.connection import make_identity
from rollcall_client.conversation import Conversation, Exclusively, Load, Pause, Send
from rollcall_client.downloads import AsyncDownload, OpenAsyncDownload
from rollcall_client.errors import DeadlinePassed, RollcallError
from rollcall_client.models import FaceChoice, JobView, LivenessMode, QualityLevel, Strictness
from rollcall_client.request import Request
from rollcall_client.requests import authentication
from rollcall_client.retry import Retries
from rollcall_client.session import Session
from rollcall_client.stream_conversation import StreamConversation
from rollcall_client.streams import AsyncStream

T = TypeVar("T")


class AsyncClient(AllAsyncRoutes):
    """Rollcall, as whoever asks sees it. An async context manager, for one event loop.

    Everything is as in `Client`, and awaited.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        api_key: str | None = None,
        session: Session | None = None,
        on_session: Callable[[Session], None] | None = None,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        verify: Any = True,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._identity = make_identity(
            url, token, api_key, session, on_session, timeout_s, retries or Retries(), clock, os.environ
        )
        self._http = httpx.AsyncClient(transport=transport, verify=verify)
        self._clock, self._sleep, self._verify = clock, sleep, verify
        self._renewal = asyncio.Lock()
        self._renewals: set[asyncio.Task[Any]] = set()
        super().__init__(self)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await asyncio.gather(*self._renewals, return_exceptions=True)
        await self._http.aclose()

    @property
    def session(self) -> Session | None:
        """The present one, where somebody has signed in."""
        return self._identity.session

    async def sign_in(self, name: str, password: str, *, timeout_s: float | None = None) -> Session:
        """Sign in; from now on the client asks in this name, and renews its tokens by itself."""
        return await self._hold(
            self._identity.sign_in(authentication.sign_in(name=name, password=password), timeout_s)
        )

    async def sign_in_by_face(
        self, name: str, picture: Picture, *, timeout_s: float | None = None
    ) -> Session:
        """Sign in with a picture of one's own face; such a session cannot be renewed."""
        return await self._hold(
            self._identity.sign_in(authentication.sign_in_by_face(picture, name=name), timeout_s)
        )

    async def sign_out(self, *, everywhere: bool = False, timeout_s: float | None = None) -> None:
        """End the session; all of the account's sessions and tokens if `everywhere`."""
        await self._hold(self._identity.sign_out(everywhere, timeout_s))

    async def wait_for_job(
        self,
        event: str,
        job: str,
        *,
        on_progress: Callable[[JobView], None] | None = None,
        poll_s: float = 1.0,
        timeout_s: float | None = None,
    ) -> JobView:
        """Wait until a job is done, as `Client.wait_for_job` does."""
        return await self._hold(self._identity.wait_for_job(event, job, on_progress, poll_s, timeout_s))

    def open_stream(
        self,
        event: str,
        *,
        check_in: bool | None = None,
        place: str | None = None,
        landmarks: bool | None = None,
        threshold: float | None = None,
        false_match_rate: float | None = None,
        strictness: Strictness | None = None,
        faces: FaceChoice | None = None,
        top_k: int | None = None,
        quality: QualityLevel | None = None,
        liveness: LivenessMode | None = None,
        retries: Retries | None = None,
        on_trouble: Callable[[RollcallError, float], None] | None = None,
    ) -> AsyncStream:
        """A live stream of frames, as `Client.open_stream`; `async with`."""
        start = {
            "check_in": check_in,
            "place": place,
            "landmarks": landmarks,
            "threshold": threshold,
            "false_match_rate": false_match_rate,
            "strictness": strictness,
            "faces": faces,
            "top_k": top_k,
            "quality": quality,
            "liveness": liveness,
        }
        patience = retries or self._identity.retries
        conversation = StreamConversation(self._identity, event, start, patience, on_trouble)
        return AsyncStream(self, conversation, self._verify)

    async def perform(self, request: Request[T], timeout_s: float | None = None) -> T:
        """Send any request of `rollcall_client.requests`."""
        return await self._hold(self._identity.converse(request, timeout_s))

    def open_download(self, request: Request[bytes], timeout_s: float | None = None) -> OpenAsyncDownload:
        """Send a request whose answer is streamed."""
        return self._open(request, timeout_s)

    @asynccontextmanager
    async def _open(self, request: Request[bytes], timeout_s: float | None) -> AsyncIterator[AsyncDownload]:
        ends_at = None if timeout_s is None else self._clock() + timeout_s
        response: Any = await self.perform(request, timeout_s)
        try:
            yield AsyncDownload(response, ends_at, self._clock)
        finally:
            await response.aclose()

    async def _hold(
        self,
        conversation: Conversation[T],
        more: Callable[[Any], Awaitable[Any]] | None = None,
    ) -> T:
        came: Any = None
        error: Exception | None = None
        while True:
            try:
                effect = conversation.send(came) if error is None else conversation.throw(error)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            came, error = None, None
            try:
                if isinstance(effect, Send):
                    came = await self._send(effect)
                elif isinstance(effect, Pause):
                    await self._sleep(effect.seconds)
                elif isinstance(effect, Load):
                    came = await asyncio.to_thread(effect.work)
                elif isinstance(effect, Exclusively):
                    await self._wait_for_renewal(effect)
                elif more is not None:
                    came = await more(effect)
            except Exception as raised:
                error = raised

    async def _wait_for_renewal(self, effect: Exclusively) -> None:
        # A task of its own: whoever stops waiting would else lose a refresh token that is good once.
        renewal = asyncio.create_task(self._renew(effect))
        self._renewals.add(renewal)
        renewal.add_done_callback(self._forget_renewal)
        try:
            with anyio.fail_after(effect.left_s):
                await asyncio.shield(renewal)
        except TimeoutError:
            if renewal.done():
                raise
            raise DeadlinePassed("the session was not renewed in time") from None

    def _forget_renewal(self, renewal: asyncio.Task[Any]) -> None:
        self._renewals.discard(renewal)
        if not renewal.cancelled():
            renewal.exception()  # seen, though nobody may be waiting for it any more

    async def _renew(self, effect: Exclusively) -> None:
        async with self._renewal:
            await self._hold(effect.conversation)

    async def _send(self, effect: Send) -> httpx.Response:
        try:
            # asyncio.wait_for of Python 3.11 and older may swallow a cancellation.
            with anyio.fail_after(effect.left_s):
                return await self._exchange(effect)
        except TimeoutError:
            raise httpx.ReadTimeout("the answer came too slowly", request=effect.request) from None

    async def _exchange(self, effect: Send) -> httpx.Response:
        response = await self._http.send(effect.request, stream=True)
        if not (effect.is_stream and response.is_success):
            await response.aread()
        return response
