"""What is known of the request that runs now, for its log line and its trace.

A note exists only where somebody will read it; whoever has something to add asks `current()` first, and
gets None in the fifty nanoseconds that it takes.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.telemetry.tracing import RequestTrace

Origin = tuple[str, str | None]
"""Whose work a task is: the request's id, and where its spans hang (`traceparent`), None without a trace."""


class RequestNote:
    """Filled in while a request, or a job, is worked on.

    Attributes:
        request_id: of the request; of a job `job-` and its id.
        trace_id: 32 hex digits: the caller's, or that of the own trace; None without one.
        trace: its spans, None when it is not traced.
        faces: outcome of faces (`match`, `unknown`, ...) -> how many.
        timings_ms: part of the work -> time, by the stage clock.
        database_s: time in units of work of the database.
        began_s: by `time.time()`.
    """

    __slots__ = ("began_s", "database_s", "faces", "request_id", "timings_ms", "trace", "trace_id")

    def __init__(
        self, request_id: str, trace: RequestTrace | None = None, trace_id: str | None = None
    ) -> None:
        self.request_id = request_id
        self.trace = trace
        self.trace_id = trace_id
        self.faces: dict[str, int] = {}
        self.timings_ms: dict[str, float] | None = None
        self.database_s = 0.0
        self.began_s = time.time()

    def add_faces(self, outcome: str, count: int = 1) -> None:
        """So many faces more came to this."""
        self.faces[outcome] = self.faces.get(outcome, 0) + count

    def origin(self) -> Origin:
        """What travels with the tasks of this request."""
        return self.request_id, None if self.trace is None else self.trace.traceparent


CURRENT: ContextVar[RequestNote | None] = ContextVar("rollcall_request_note", default=None)
current = CURRENT.get


def find_origin() -> Origin | None:
    """Whose work is done now, None where nobody will ask."""
    note = CURRENT.get()
    return None if note is None else note.origin()
