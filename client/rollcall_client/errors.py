"""What may go wrong: with the service's answer, or on the way to it.

Each error code of the service has a class of its own in `rollcall_client.problems`; these are their families.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RollcallError(Exception):
    """Base of everything that this package raises on purpose.

    Attributes:
        cure: what can be done about it.
    """

    cure: str = ""


class ConnectionFailed(RollcallError):
    """The service cannot be reached, or the connection broke; what it did with the request is not known."""

    cure = "See that the service runs, and that the URL is right."


class DeadlinePassed(RollcallError, TimeoutError):
    """No answer came within `timeout_s`, all tries together."""

    cure = "Allow more time, or try again when the service is less busy."


class UnexpectedAnswer(RollcallError):
    """What answered does not answer as Rollcall does.

    Attributes:
        status: of the answer.
    """

    cure = "See that the URL is that of Rollcall, and that client and service are of the same version."

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.status)


class JobFailed(RollcallError):
    """A job ended without being done.

    Attributes:
        job_id: its id.
        state: "failed" or "cancelled".
        code: of the error that ended it; None when somebody cancelled it.
    """

    cure = "What was imported stays; mend the cause, and send the rest again."

    def __init__(self, message: str, job_id: str, state: str, code: str | None) -> None:
        super().__init__(message)
        self.job_id, self.state, self.code = job_id, state, code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.job_id, self.state, self.code)


class ServiceError(RollcallError):
    """The service refused, with a problem document (RFC 9457).

    Attributes:
        code: stable name of the kind of error; docs/errors.md lists all.
        status: HTTP status.
        title: one line on the kind of error.
        detail: what happened this time.
        cure: what the caller can do.
        context: facts of this occurrence.
        request_id: for whoever operates the service; None where the answer held none.
        retry_after_s: seconds after which another try may succeed; None where the service did not say.
    """

    def __init__(self, problem: Mapping[str, Any], status: int, retry_after_s: float | None = None) -> None:
        self.code = str(problem.get("code") or status)
        self.status = status
        self.title = str(problem.get("title") or self.code)
        self.detail = str(problem.get("detail") or self.title)
        self.cure = str(problem.get("cure") or "")
        context = problem.get("context")
        self.context: dict[str, Any] = dict(context) if isinstance(context, dict) else {}
        request_id = problem.get("request_id")
        self.request_id = None if request_id is None else str(request_id)
        self.retry_after_s = retry_after_s
        super().__init__(f"{self.code}: {self.detail}")

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: getattr(self, name) for name in ("code", "title", "detail", "cure", "context")}
        return type(self), ({**fields, "request_id": self.request_id}, self.status, self.retry_after_s)


class RequestRefused(ServiceError):
    """400, 405, 413, 415, 421, 422: the request itself cannot be served."""


class NotAuthenticated(ServiceError):
    """401: who asks is not known, or not any more."""


class NotAllowed(ServiceError):
    """403: who asks may not do that."""


class Missing(ServiceError):
    """404: there is no such thing, or none that the caller may see."""


class Conflict(ServiceError):
    """409: it does not go with what is there."""


class TooManyRequests(ServiceError):
    """429: the caller has asked for more than it may."""


class ServiceTrouble(ServiceError):
    """5xx: the service cannot, now; `retry_after_s` says when it may."""


FAMILIES: dict[int, type[ServiceError]] = {
    401: NotAuthenticated,
    403: NotAllowed,
    404: Missing,
    409: Conflict,
    429: TooManyRequests,
}


def find_family(status: int) -> type[ServiceError]:
    """The class of errors with this status."""
    if status >= 500:
        return ServiceTrouble
    return FAMILIES.get(status, RequestRefused)
