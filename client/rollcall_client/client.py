"""The client that blocks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import httpx

from rollcall_client.bodies import Picture
from rollcall_client.connection import make_identity
from rollcall_client.conversation import Conversation, Exclusively, Load, Pause, Send
from rollcall_client.deadlines import TimedBody
from rollcall_client.downloads import Download, OpenDownload
from rollcall_client.errors import DeadlinePassed, RollcallError
from rollcall_client.models import FaceChoice, JobView, LivenessMode, QualityLevel, Strictness
from rollcall_client.request import Request
from rollcall_client.requests import authentication
from rollcall_client.retry import Retries
from rollcall_client.routes import AllRoutes
from rollcall_client.session import Session
from rollcall_client.stream_conversation import StreamConversation
from rollcall_client.streams import Stream

T = TypeVar("T")


class Client(AllRoutes):
    """Rollcall, as whoever asks sees it. A context manager; safe to use from several threads.

    Args:
        url: of the service; `ROLLCALL_URL` when it is left out.
        token: an access token or API key, sent as `Authorization: Bearer`; `ROLLCALL_TOKEN` when token,
            api_key and session are left out.
        api_key: an API key, sent as `X-API-Key`.
        session: of an earlier sign-in.
        on_session: called with each new session, for instance to keep it.
        timeout_s: the most that a call takes, all tries together; each call may say another.
        retries: how patient it is.
        verify: False, a file of certificates or an `ssl.SSLContext`: see httpx.
        transport: in place of the network.
        clock, sleep: in place of time.

    Raises:
        ValueError: there is no URL, or more than one of token, api_key and session.
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
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._identity = make_identity(
            url, token, api_key, session, on_session, timeout_s, retries or Retries(), clock, os.environ
        )
        self._http = httpx.Client(transport=transport, verify=verify)
        self._clock, self._sleep, self._verify = clock, sleep, verify
        self._renewal = threading.Lock()
        super().__init__(self)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    @property
    def session(self) -> Session | None:
        """The present one, where somebody has signed in."""
        return self._identity.session

    def sign_in(self, name: str, password: str, *, timeout_s: float | None = None) -> Session:
        """Sign in; from now on the client asks in this name, and renews its tokens by itself.

        Raises:
            SignInFailed: name and password do not belong together.
        """
        return self._hold(
            self._identity.sign_in(authentication.sign_in(name=name, password=password), timeout_s)
        )

    def sign_in_by_face(self, name: str, picture: Picture, *, timeout_s: float | None = None) -> Session:
        """Sign in with a picture of one's own face; such a session cannot be renewed."""
        return self._hold(
            self._identity.sign_in(authentication.sign_in_by_face(picture, name=name), timeout_s)
        )

    def sign_out(self, *, everywhere: bool = False, timeout_s: float | None = None) -> None:
        """End the session; all of the account's sessions and tokens if `everywhere`."""
        self._hold(self._identity.sign_out(everywhere, timeout_s))

    def wait_for_job(
        self,
        event: str,
        job: str,
        *,
        on_progress: Callable[[JobView], None] | None = None,
        poll_s: float = 1.0,
        timeout_s: float | None = None,
    ) -> JobView:
        """Wait until a job is done.

        Args:
            on_progress: called with the job each time it was asked for.
            timeout_s: None: however long it takes.

        Raises:
            JobFailed: it failed or was cancelled.
            DeadlinePassed: it goes on still.
        """
        return self._hold(self._identity.wait_for_job(event, job, on_progress, poll_s, timeout_s))

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
    ) -> Stream:
        """A live stream of frames, to be used by `with`; needs the extra `stream` of this package.

        The options are as in `recognition.recognise`, for all frames.

        Args:
            check_in: whoever is a match has arrived, at this `place` if one is said.
            landmarks: five points of each face in every answer.
            retries: how patient it is when it is opened and when it is cut; as the client else.
            on_trouble: told why the connection was lost, and after how many seconds it is opened anew.
        """
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
        return Stream(self, conversation, self._verify)

    def perform(self, request: Request[T], timeout_s: float | None = None) -> T:
        """Send any request of `rollcall_client.requests`."""
        return self._hold(self._identity.converse(request, timeout_s))

    def open_download(self, request: Request[bytes], timeout_s: float | None = None) -> OpenDownload:
        """Send a request whose answer is streamed."""
        return self._open(request, timeout_s)

    @contextmanager
    def _open(self, request: Request[bytes], timeout_s: float | None) -> Iterator[Download]:
        ends_at = None if timeout_s is None else self._clock() + timeout_s
        response: Any = self.perform(request, timeout_s)
        try:
            yield Download(response, ends_at, self._clock)
        finally:
            response.close()

    def _hold(
        self,
        conversation: Conversation[T],
        more: Callable[[Any], Any] | None = None,
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
                    came = self._send(effect)
                elif isinstance(effect, Pause):
                    self._sleep(effect.seconds)
                elif isinstance(effect, Load):
                    came = effect.work()
                elif isinstance(effect, Exclusively):
                    wait_s = -1 if effect.left_s is None else max(effect.left_s, 0)
                    if not self._renewal.acquire(timeout=wait_s):
                        raise DeadlinePassed("the session was not renewed in time")
                    try:
                        came = self._hold(effect.conversation)
                    finally:
                        self._renewal.release()
                elif more is not None:
                    came = more(effect)
            except Exception as raised:
                error = raised

    def _send(self, effect: Send) -> httpx.Response:
        ends_at = None
        if effect.left_s is not None:
            ends_at = self._clock() + effect.left_s
            effect.request.stream = TimedBody(effect.request, ends_at, self._clock)
        response = self._http.send(effect.request, stream=True)
        if response.is_stream_consumed or (effect.is_stream and response.is_success):
            return response  # the first: a transport that is none has read it already
        try:
            pieces = []
            for piece in response.iter_raw():
                pieces.append(piece)
                if ends_at is not None and self._clock() > ends_at:
                    raise httpx.ReadTimeout("the answer came too slowly", request=effect.request)
        finally:
            response.close()
        return _rebuild(response, b"".join(pieces))


def _rebuild(response: httpx.Response, content: bytes) -> httpx.Response:
    return httpx.Response(
        response.status_code, headers=response.headers, content=content, request=response.request
    )
