"""Traces: which requests are traced, and the spans of those that are.

Nothing of OpenTelemetry is imported in a process that no collector is named to. A request that is not traced
costs a look at its headers and a random number.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from serving.settings import TracingSettings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanContext, Tracer

Attributes = Mapping[str, str | int | float | bool]

MAX_SPANS = 500
"""Of one trace in one process: a recognition has about ten, an import would have a dozen for each picture."""
MAX_LINKS = 32
"""Requests that the span of a batch points to."""

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
"""W3C Trace Context: version, trace id, parent id, flags, and what later versions may add."""
_SAMPLED = 1


class _Place:
    """What this process traces with; nothing until `join_tracing`."""

    tracer: Tracer | None = None
    settings = TracingSettings()


class RequestTrace:
    """The spans of one traced request, or of one job.

    Times are those of the monotonic clock, as everything here measures them.

    Attributes:
        trace_id: 32 hex digits.
        traceparent: where what is done elsewhere hangs its spans.
    """

    __slots__ = ("_context", "_left", "_tracer", "root", "trace_id", "traceparent")

    def __init__(self, tracer: Tracer, root: Span) -> None:
        from opentelemetry.trace import set_span_in_context

        self._tracer = tracer
        self._left = MAX_SPANS
        self._context: Context = set_span_in_context(root, _nothing())
        self.root = root
        self.traceparent = write_traceparent(root)
        self.trace_id = self.traceparent[3:35]

    def add(self, name: str, began_s: float, ended_s: float, attributes: Attributes | None = None) -> None:
        """A part of the work that is over; nothing beyond `MAX_SPANS`."""
        if not self._take():
            return
        span = self._tracer.start_span(
            name, self._context, attributes=attributes, start_time=to_unix_ns(began_s)
        )
        span.end(to_unix_ns(ended_s))

    def open(self, name: str, attributes: Attributes | None = None) -> Span | None:
        """A part of the work that begins; whoever opens it ends it. None beyond `MAX_SPANS`."""
        return self._tracer.start_span(name, self._context, attributes=attributes) if self._take() else None

    def _take(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def close(self, name: str, attributes: Attributes, *, failed: bool = False) -> None:
        """The request is answered."""
        self.root.update_name(name)
        self.root.set_attributes(dict(attributes))
        end_span(self.root, failed=failed)


def join_tracing(settings: TracingSettings, resource: Mapping[str, str]) -> None:
    """Trace from now on, if there is a collector; a second call does nothing.

    Args:
        resource: what is told of this process, once for all its spans.
    """
    if settings.endpoint is None or _Place.tracer is not None:
        return
    from serving.telemetry.span_export import make_tracer

    _Place.settings = settings
    _Place.tracer = make_tracer(settings, resource)


def leave_tracing() -> None:
    """Trace no more; what is queued is given a moment. For the end of a command, and for tests."""
    if _Place.tracer is not None:
        from serving.telemetry.span_export import finish_export

        _Place.tracer = None
        finish_export()


def is_tracing() -> bool:
    """Whether anything can be traced here."""
    return _Place.tracer is not None


def begin_request(traceparent: str | None) -> tuple[RequestTrace | None, str | None]:
    """The trace of a request that has come, if it is traced, and its trace id, if it has one."""
    tracer = _Place.tracer
    if tracer is None:
        return None, None
    caller = None if traceparent is None else _TRACEPARENT.fullmatch(traceparent)
    settings = _Place.settings
    if caller is not None and settings.follow_caller:
        wanted = bool(int(caller[3], 16) & _SAMPLED)
    else:
        wanted = settings.sample_ratio > 0 and random.random() < settings.sample_ratio  # noqa: S311
    if not wanted:
        return None, None if caller is None else caller[1]
    from opentelemetry.trace import SpanKind

    context = _nothing() if caller is None else _context_of(caller[1], caller[2])
    trace = RequestTrace(tracer, tracer.start_span("request", context, SpanKind.SERVER))
    return trace, trace.trace_id


def begin_job(name: str) -> RequestTrace | None:
    """The trace of work that nobody waits for; the share of jobs that are traced is that of requests."""
    tracer = _Place.tracer
    if tracer is None or random.random() >= _Place.settings.sample_ratio:  # noqa: S311
        return None
    return RequestTrace(tracer, tracer.start_span(name, _nothing()))


def add_batch(
    name: str,
    began_s: float,
    ended_s: float,
    origins: Iterable[tuple[str, float]],
    parts: Iterable[tuple[str, float, float]] = (),
    attributes: Attributes | None = None,
) -> None:
    """The span of a batch, in the trace of the first of its tasks, with links to all of them.

    Each task's wait for the batch is a span in its own trace, with a link to the batch.

    Args:
        name: of the stage.
        origins: of each traced task its `traceparent`, and when it came.
        parts: what can be told apart within the batch: name, begin and end.
    """
    tracer = _Place.tracer
    tasks = [(parent, came_s) for text, came_s in origins if (parent := read_traceparent(text)) is not None]
    if tracer is None or not tasks:
        return
    links = [_link(parent) for parent, _ in tasks[:MAX_LINKS]]
    first = _context(tasks[0][0])
    batch = tracer.start_span(
        f"{name} batch", first, links=links, attributes=attributes, start_time=to_unix_ns(began_s)
    )
    to_batch = [_link(batch.get_span_context())]
    for parent, came_s in tasks:
        wait = tracer.start_span(
            f"{name} wait", _context(parent), links=to_batch, start_time=to_unix_ns(came_s)
        )
        wait.end(to_unix_ns(began_s))
    inside = _context(batch.get_span_context())
    for part, part_began_s, part_ended_s in parts:
        span = tracer.start_span(part, inside, start_time=to_unix_ns(part_began_s))
        span.end(to_unix_ns(part_ended_s))
    batch.end(to_unix_ns(ended_s))


def end_span(span: Span, *, failed: bool = False, code: str | None = None) -> None:
    """End it; `code` says which error it ended in."""
    if failed:
        from opentelemetry.trace import StatusCode

        span.set_status(StatusCode.ERROR)
    if code is not None:
        span.set_attribute("error.type", code)
    span.end()


def write_traceparent(span: Span) -> str:
    """Where other processes hang their spans, W3C Trace Context version 00."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def read_traceparent(text: str) -> SpanContext | None:
    """What `write_traceparent` has written."""
    found = _TRACEPARENT.fullmatch(text)
    return None if found is None else _span_context(found[1], found[2])


def to_unix_ns(monotonic_s: float) -> int:
    """A moment of this process's monotonic clock as nanoseconds since 1970."""
    return time.time_ns() - int((time.monotonic() - monotonic_s) * 1e9)


def _span_context(trace_id: str, span_id: str) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(_SAMPLED))


def _context_of(trace_id: str, span_id: str) -> Context:
    return _context(_span_context(trace_id, span_id))


def _context(parent: SpanContext) -> Context:
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    return set_span_in_context(NonRecordingSpan(parent), _nothing())


def _link(target: SpanContext) -> Link:
    from opentelemetry.trace import Link

    return Link(target)


def _nothing() -> Any:
    """A context without a span: Ray may have put one of its own into the current one."""
    from opentelemetry.context import Context

    return Context()
