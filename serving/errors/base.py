"""What every error is."""

from __future__ import annotations

from typing import Any, ClassVar


class RollcallError(Exception):
    """Base of all expected errors.

    Attributes:
        code: stable identifier that clients may branch on.
        status: HTTP status code.
        title: one line on the kind of error, the same for every occurrence.
        cure: what the caller can do about it.
        detail: what happened this time.
        context: JSON-able facts of this occurrence (limits, indices); never a secret or a face.
        retry_after_s: seconds after which a retry may succeed, or None; `context["retry_after_s"]` is more
            exact where it is given.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something failed inside Rollcall"
    cure: ClassVar[str] = "Try again; if it persists, give the request id to the operator."
    retry_after_s: ClassVar[float | None] = None

    def __init__(self, detail: str | None = None, /, **context: Any) -> None:
        self.detail = detail or self.title
        self.context = context
        super().__init__(self.detail)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.detail, self.context)


def _rebuild(kind: type[RollcallError], detail: str, context: dict[str, Any]) -> RollcallError:
    error = kind(detail)
    error.context = context
    return error


class InternalError(RollcallError):
    """A fault of ours; the detail never carries a traceback."""
