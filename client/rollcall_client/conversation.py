"""One call from its first try to its answer, without doing any of it.

A conversation is a generator. It yields what is to be done next (send this, wait so long), is sent what came
of it, and returns the answer. `Client` does these things one after the other, `AsyncClient` awaits them, and
everything that matters is here once: tries, pauses, the deadline, renewing a session, reading answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypeAlias, TypeVar, cast

import httpx
from pydantic import BaseModel, ValidationError

from rollcall_client import __version__
from rollcall_client.bodies import write_query
from rollcall_client.deadlines import TimeLeft
from rollcall_client.errors import (
    ConnectionFailed,
    DeadlinePassed,
    JobFailed,
    Missing,
    RollcallError,
    ServiceError,
    UnexpectedAnswer,
    find_family,
)
from rollcall_client.models import JobView, Tokens
from rollcall_client.problems import PROBLEMS
from rollcall_client.request import Request
from rollcall_client.requests import authentication, jobs
from rollcall_client.retry import Retries, read_retry_after_s
from rollcall_client.session import Session, make_session

PASSING = frozenset({409, 429, 502, 503, 504})
"""Status codes after which another try may do better; of 409 only with `Retry-After`."""
REFUSED_AT_THE_DOOR = frozenset({"rate_limited", "overloaded"})
"""Nothing was done, so that anything may be sent again."""
NOT_WORTH_WAITING = frozenset({"too_many_jobs", "job_not_finished", "sign_in_failed"})
"""May pass, but not within the pauses of tries; the caller knows better what to do."""
LAST_LOOK_S = 0.05
"""With less time left a job is not asked for again."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    """Send it; the answer, read to its end unless `is_stream` and it is a success."""

    request: httpx.Request
    left_s: float | None
    is_stream: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Load:
    """Call it where it may block."""

    work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Exclusively:
    """Hold this conversation while no other of its kind runs on the client; wait no longer than that."""

    conversation: Conversation[Any]
    left_s: float | None


Conversation: TypeAlias = Generator[Any, Any, T]
"""Yields `Send`, `Pause`, `Load`, `Exclusively`; that of a stream its own steps too."""


@dataclass(slots=True)
class Identity:
    """Who asks, and where; shared by all conversations of a client.

    Attributes:
        url: of the service.
        headers: that say who asks while there is no session.
        session: what a sign-in gave; stronger than a token or key.
        on_session: told of each new session.
        clock: monotonic, in seconds.
        now: the time in UTC.
    """

    url: httpx.URL
    headers: Mapping[str, str] = field(repr=False)
    retries: Retries
    timeout_s: float
    clock: Callable[[], float]
    now: Callable[[], datetime] = field(default=lambda: datetime.now(timezone.utc))
    session: Session | None = None
    on_session: Callable[[Session], None] | None = None

    def converse(
        self, request: Request[T], timeout_s: float | None = None, *, is_signed: bool = True
    ) -> Conversation[T]:
        """Send a request until it is answered.

        Args:
            timeout_s: for all tries together; None: the client's own, or none where the request is long.
            is_signed: whether it says who asks.

        Raises:
            ServiceError: the service refused.
            RollcallError: there was no answer in time, or none that makes sense.
        """
        if timeout_s is None and not request.is_long:
            timeout_s = self.timeout_s
        ends_at = None if timeout_s is None else self.clock() + timeout_s
        content: dict[str, Any] = {}
        if request.body is not None:
            content = yield Load(request.body.load)
        tries, has_renewed, may_be_done = 0, False, False
        while True:
            tries += 1
            if is_signed and self.session is not None and self.session.is_ending(self.now()):
                yield Exclusively(self.renew(self.session, ends_at), self._left_s(ends_at))
            used = self.session if is_signed else None
            left_s = self._left_s(ends_at)
            if left_s is not None and left_s <= 0:
                raise DeadlinePassed(
                    f"{request.method} {request.path} was not answered within {timeout_s:g} s"
                )
            may_repeat, trouble = request.is_repeatable, cast(RollcallError, None)
            retry_after_s: float | None = None
            try:
                is_stream = request.answers is bytes
                sent = self._write(request, content, used, ends_at, is_signed)
                answer = yield Send(sent, left_s, is_stream)
            except httpx.RequestError as error:
                late = isinstance(error, httpx.TimeoutException) and not isinstance(
                    error, httpx.ConnectTimeout
                )
                gone_s = self._left_s(ends_at)
                if late and gone_s is not None and gone_s <= 0.001:
                    raise DeadlinePassed(
                        f"{request.method} {request.path} was not answered within {timeout_s:g} s"
                    ) from error
                is_ours = isinstance(error, (httpx.LocalProtocolError, httpx.UnsupportedProtocol))
                # What cannot be sent as it is may be quoted in full, a token among it.
                said = type(error).__name__ if is_ours else f"{type(error).__name__} {error}".strip()
                trouble = ConnectionFailed(f"no answer of {self.url}: {said}")
                trouble.__cause__ = None if is_ours else error
                is_unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
                may_repeat = not is_ours and (may_repeat or (is_unsent and _can_send_twice(request)))
                may_be_done |= not is_unsent
            else:
                if answer.is_success:
                    return read_answer(request, answer)
                refusal = read_problem(answer)
                if isinstance(refusal, Missing) and request.method == "DELETE" and may_be_done:
                    return read_answer(request, answer)  # an earlier try has deleted it
                retry_after_s = getattr(refusal, "retry_after_s", None)
                trouble = refusal
                code = getattr(refusal, "code", None)
                is_stale = code in ("token_expired", "token_revoked", "token_invalid") and not has_renewed
                if is_stale and used and used.refresh_token is not None and _can_send_twice(request):
                    has_renewed = True
                    yield Exclusively(self.renew(used, ends_at), self._left_s(ends_at))
                    tries -= 1
                    continue
                passes = answer.status_code in PASSING and code not in NOT_WORTH_WAITING
                passes &= answer.status_code != 409 or retry_after_s is not None
                is_untouched = code in REFUSED_AT_THE_DOOR
                may_repeat = passes and (may_repeat or (is_untouched and _can_send_twice(request)))
                may_be_done |= not is_untouched
            pause_s = self.retries.choose_pause_s(tries, retry_after_s) if may_repeat else None
            left_s = self._left_s(ends_at)
            if pause_s is None or (left_s is not None and pause_s >= left_s):
                raise trouble
            yield Pause(pause_s)

    def sign_in(self, request: Request[Tokens], timeout_s: float | None) -> Conversation[Session]:
        """Begin a session, in whose name all further requests are sent."""
        tokens = yield from self.converse(request, timeout_s, is_signed=False)
        return self._begin(tokens)

    def sign_out(self, everywhere: bool, timeout_s: float | None) -> Conversation[None]:
        """End the session."""
        yield from self.converse(authentication.sign_out(everywhere=everywhere), timeout_s)
        self.session = None

    def wait_for_job(
        self,
        event: str,
        job: str,
        on_progress: Callable[[JobView], None] | None,
        poll_s: float,
        timeout_s: float | None,
    ) -> Conversation[JobView]:
        """Ask for a job until it has ended."""
        ends_at = None if timeout_s is None else self.clock() + timeout_s
        while True:
            view: JobView = yield from self.converse(jobs.get_job(event, job), self._left_s(ends_at))
            if on_progress is not None:
                on_progress(view)
            if view.state == "done":
                return view
            if view.state in ("failed", "cancelled"):
                code = None if view.error is None else view.error.code
                why = "somebody ended it" if view.error is None else f"{code}: {view.error.detail}"
                raise JobFailed(f"the job {job} {view.state}: {why}", job, view.state, code)
            left_s = self._left_s(ends_at)
            if left_s is not None and left_s <= LAST_LOOK_S:
                raise DeadlinePassed(f"the job {job} was not done within {timeout_s:g} s; it goes on")
            yield Pause(poll_s if left_s is None else min(poll_s, left_s / 2))

    def renew(self, old: Session, ends_at: float | None) -> Conversation[None]:
        """Renew a session, unless somebody has done so or nobody can; to be held exclusively."""
        if self.session is not old or old.refresh_token is None:
            return  # another conversation has done it meanwhile, or nobody can
        request = authentication.refresh(refresh_token=old.refresh_token)
        try:
            tokens = yield from self.converse(request, self._left_s(ends_at), is_signed=False)
        except ServiceError as error:
            if error.status == 401:
                self.session = Session(old.access_token, old.expires_at, None)  # it cannot be tried again
            raise
        self._begin(tokens)

    def _begin(self, tokens: Tokens) -> Session:
        self.session = make_session(tokens, self.now())
        if self.on_session is not None:
            self.on_session(self.session)
        return self.session

    def _left_s(self, ends_at: float | None) -> float | None:
        return None if ends_at is None else ends_at - self.clock()

    def _write(
        self,
        request: Request[Any],
        content: dict[str, Any],
        session: Session | None,
        ends_at: float | None,
        is_signed: bool,
    ) -> httpx.Request:
        left_s = self._left_s(ends_at)
        headers = {
            "Host": self.url.netloc.decode("ascii"),  # httpx sets none beside a stream
            "User-Agent": f"rollcall-client/{__version__}",
            "Accept": "application/json, application/problem+json, */*;q=0.5",
            **request.headers,
            **content.get("headers", {}),
        }
        if session is not None:
            headers["Authorization"] = f"Bearer {session.access_token}"
        elif is_signed:
            headers.update(self.headers)
        if request.takes_timeout and left_s is not None:
            headers["X-Timeout-S"] = f"{max(left_s, 0.001):.3f}"
        url = self.url.copy_with(raw_path=self.url.raw_path.rstrip(b"/") + request.path.encode())
        query = write_query(request.query)
        if query:
            url = url.copy_merge_params(query)
        timeout = TimeLeft(ends_at, self.clock)
        body = {name: value for name, value in content.items() if name != "headers"}
        return httpx.Request(request.method, url, headers=headers, extensions={"timeout": timeout}, **body)


def _can_send_twice(request: Request[Any]) -> bool:
    return request.body is None or request.body.can_repeat


def _name_site(here: httpx.URL, location: str) -> str:
    try:
        there = here.join(location)
    except httpx.InvalidURL:
        return "no URL"
    return f"{there.scheme}://{there.netloc.decode('ascii')}"


def read_answer(request: Request[T], answer: httpx.Response) -> T:
    """The answer as the type that the request says; an open `httpx.Response` for `bytes`.

    Raises:
        UnexpectedAnswer: it is something else.
    """
    kind = request.answers
    if kind is None:
        return cast(T, None)
    if kind is bytes:
        return cast(T, answer)
    if kind is str:
        return cast(T, answer.text)
    assert issubclass(kind, BaseModel)
    try:
        return cast(T, kind.model_validate_json(answer.content))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnexpectedAnswer(
            f"the answer to {request.method} {request.path} is no {kind.__name__}: {place} {first['msg']}",
            answer.status_code,
        ) from None


def read_problem(answer: httpx.Response) -> RollcallError:
    """What a refusal says, as the exception to raise."""
    try:
        problem = json.loads(answer.content)
    except ValueError:
        problem = None
    status = answer.status_code
    retry_after_s = read_retry_after_s(answer.headers.get("Retry-After"))
    if not isinstance(problem, dict) or not isinstance(problem.get("code"), str):
        if status in PASSING and status != 409:  # a proxy's own page
            said = {"code": str(status), "detail": f"{answer.reason_phrase} (not by Rollcall itself)"}
            return find_family(status)(said, status, retry_after_s)
        what = f"{status} without a problem document from {answer.request.url.host}"
        elsewhere = answer.headers.get("Location") if answer.is_redirect else None
        if elsewhere:  # never followed: it would get the token
            what += f", which points to {_name_site(answer.request.url, elsewhere)}"
        return UnexpectedAnswer(what, status)
    return PROBLEMS.get(problem["code"], find_family(status))(problem, status, retry_after_s)
