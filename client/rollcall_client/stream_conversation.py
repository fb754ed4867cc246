"""A live stream from frame to frame, without doing any of it: what is said when, and when it opens anew.

As in `rollcall_client.conversation`, generators yield what is to be done next; `Stream` and `AsyncStream`
do it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
from pydantic import BaseModel, ValidationError

from rollcall_client.conversation import Conversation, Exclusively, Identity, Pause, read_problem
from rollcall_client.errors import (
    ConnectionFailed,
    DeadlinePassed,
    RollcallError,
    ServiceError,
    UnexpectedAnswer,
    find_family,
)
from rollcall_client.problems import PROBLEMS
from rollcall_client.request import drop_none, fill_path
from rollcall_client.retry import Retries
from rollcall_client.stream_messages import FrameRefused, StreamFaces, StreamReady
from rollcall_client.websocket import REPLACED, HandshakeRefused, SocketClosed

OPEN_TIMEOUT_S = 20.0
"""For the WebSocket, and again for the service to be ready."""
RENEWAL_TIMEOUT_S = 20.0
CLOSE_BASE = 4000
"""A stream that ends with an error closes with this and the error's HTTP status."""
STALE = frozenset({"token_expired", "token_revoked", "token_invalid"})
BEGIN_ANEW = frozenset({"stream_idle", "stream_over"})
"""Nothing is wrong: a new stream may be opened at once."""
PASSING = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a WebSocket in place of the one there was."""

    url: httpx.URL
    headers: dict[str, str] = field(repr=False)
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Send text or a frame."""

    message: str | bytes = field(repr=False)
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Hear:
    """Wait for the next message; TimeoutError when none comes."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the WebSocket if there is one; raises nothing."""


StreamStep = (Connect, Tell, Hear, HangUp)


class StreamConversation:
    """One camera's stream, however often its connection has to be opened.

    Args:
        start: the options of the first message; those that are None are left out.
        on_trouble: told why a connection was lost, and after how many seconds it is tried again.

    Attributes:
        ready: what the service said when it was opened last; None before.
    """

    def __init__(
        self,
        identity: Identity,
        event: str,
        start: Mapping[str, Any],
        retries: Retries,
        on_trouble: Callable[[RollcallError, float], None] | None,
    ) -> None:
        self._identity, self._retries, self._on_trouble = identity, retries, on_trouble
        self._path = fill_path("/v1/events/{event}/stream", event=event)
        self._start = json.dumps({"type": "start", **drop_none(start)})
        self._sent = 0
        self._is_open = False
        self._token: str | None = None
        self.ready: StreamReady | None = None

    def open(self) -> Conversation[StreamReady]:
        """Open it; tried again as `retries` say."""
        return self._persist(self._open)

    def show(
        self, frame: bytes | Callable[[], bytes], timeout_s: float
    ) -> Conversation[StreamFaces | FrameRefused]:
        """Send a frame and wait for its answer; opened anew and sent again where the connection is lost."""
        return self._persist(lambda: self._show(frame, timeout_s))

    def renew(self, token: str) -> Conversation[None]:
        """Go on with a newer token of the same caller, which also opens the stream from now on."""
        self._token = token
        if self._is_open:
            yield from self._tell(json.dumps({"type": "token", "token": token}), OPEN_TIMEOUT_S)

    def close(self) -> Conversation[None]:
        """Close the connection."""
        self._is_open = False
        yield HangUp()

    def _persist(self, attempt: Callable[[], Conversation[Any]]) -> Conversation[Any]:
        tries, has_renewed = 0, False
        while True:
            tries += 1
            try:
                return (yield from attempt())
            except (ServiceError, ConnectionFailed, DeadlinePassed) as error:
                trouble: RollcallError = error
            yield from self.close()
            session = self._identity.session
            code = getattr(trouble, "code", None)
            if (
                code in STALE
                and not has_renewed
                and session is not None
                and session.refresh_token is not None
            ):
                has_renewed = True
                yield Exclusively(self._identity.renew(session, self._renewal_ends_at()), RENEWAL_TIMEOUT_S)
                continue
            pause_s = self._choose_pause_s(trouble, tries)
            if pause_s is None:
                raise trouble
            if self._on_trouble is not None:
                self._on_trouble(trouble, pause_s)
            yield Pause(pause_s)

    def _choose_pause_s(self, trouble: RollcallError, tries: int) -> float | None:
        if isinstance(trouble, ServiceError):
            if trouble.code in BEGIN_ANEW and tries == 1:
                return 0.0
            if trouble.status not in PASSING and trouble.code not in BEGIN_ANEW:
                return None
            return self._retries.choose_pause_s(tries, trouble.retry_after_s)
        if isinstance(trouble, SocketClosed) and trouble.code == REPLACED and tries == 1:
            return 0.0
        return self._retries.choose_pause_s(tries, None)

    def _open(self) -> Conversation[StreamReady]:
        identity = self._identity
        yield from self._keep_session()
        headers = dict(identity.headers)
        if identity.session is not None:
            headers = {"Authorization": f"Bearer {identity.session.access_token}"}
        elif self._token is not None:
            headers = {"Authorization": f"Bearer {self._token}"}
        url = identity.url.copy_with(raw_path=identity.url.raw_path.rstrip(b"/") + self._path.encode())
        try:
            yield Connect(url, headers, OPEN_TIMEOUT_S)
        except HandshakeRefused as refused:
            raise read_problem(refused.answer) from None
        self._sent, self._is_open = 0, True
        self._token = None if identity.session is None else identity.session.access_token
        yield from self._tell(self._start, OPEN_TIMEOUT_S)
        said = yield from self._hear(OPEN_TIMEOUT_S)
        if said.get("type") != "ready":
            raise UnexpectedAnswer(f"the stream begins with {said.get('type')!r}", 101)
        self.ready = _read(StreamReady, said)
        return self.ready

    def _show(
        self, frame: bytes | Callable[[], bytes], timeout_s: float
    ) -> Conversation[StreamFaces | FrameRefused]:
        if not self._is_open:
            yield from self._open()
        yield from self._keep_session()
        yield from self._tell(frame() if callable(frame) else frame, timeout_s)
        self._sent += 1
        while True:
            said = yield from self._hear(timeout_s)
            if said.get("frame") == self._sent:
                break  # what came before was for a frame that nobody waited for
        if said["type"] == "faces":
            return cast(StreamFaces, _read(StreamFaces, said))
        return FrameRefused(
            self._sent,
            _read_problem(said.get("problem")),
            said["type"] == "busy",
            said.get("dropped", 0),
            said.get("refused", 0),
        )

    def _tell(self, message: str | bytes, timeout_s: float) -> Conversation[None]:
        try:
            yield Tell(message, timeout_s)
        except TimeoutError:
            raise DeadlinePassed(f"the stream took nothing for {timeout_s:g} s") from None
        except SocketClosed:
            while True:  # why, is among what has come already
                yield from self._hear(timeout_s)

    def _hear(self, timeout_s: float) -> Conversation[dict[str, Any]]:
        try:
            text = yield Hear(timeout_s)
        except TimeoutError:
            raise DeadlinePassed(f"the stream said nothing for {timeout_s:g} s") from None
        except SocketClosed as closed:
            if closed.code >= CLOSE_BASE and closed.reason:
                raise _read_problem({"code": closed.reason, "status": closed.code - CLOSE_BASE}) from None
            raise
        try:
            said = json.loads(text)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise UnexpectedAnswer("the stream says what is no message", 101)
        if said.get("type") == "end":
            raise _read_problem(said.get("problem"))
        return said

    def _keep_session(self) -> Conversation[None]:
        """Renew a session that is about to end, and tell an open stream."""
        identity = self._identity
        if identity.session is not None and identity.session.is_ending(identity.now()):
            yield Exclusively(identity.renew(identity.session, self._renewal_ends_at()), RENEWAL_TIMEOUT_S)
        session = identity.session
        if self._is_open and session is not None and session.access_token != self._token:
            yield from self.renew(session.access_token)

    def _renewal_ends_at(self) -> float:
        return self._identity.clock() + RENEWAL_TIMEOUT_S


def _read(kind: Any, said: Mapping[str, Any]) -> Any:
    assert issubclass(kind, BaseModel)
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnexpectedAnswer(f"a message is no {kind.__name__}: {place} {first['msg']}", 101) from None


def _read_problem(problem: Any) -> ServiceError:
    if not isinstance(problem, dict):
        problem = {}
    status = int(problem.get("status") or 500)
    retry_after_s = cast("float | None", problem.get("retry_after_s"))
    return PROBLEMS.get(str(problem.get("code")), find_family(status))(problem, status, retry_after_s)
