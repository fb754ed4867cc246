"""Whose tasks a parcel and a batch hold: what joins the lines and spans of a request across its stages."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from serving.telemetry import tracing
from serving.telemetry.request_notes import Origin, RequestNote

if TYPE_CHECKING:
    from opentelemetry.trace import Span

logger = logging.getLogger("rollcall.batches")

MAX_IDS = 32
"""Of requests, in one line."""

Part = tuple[str, float, float]
"""What can be told apart within a batch: name, and by the monotonic clock its begin and end."""


class TaskWithOrigin(Protocol):
    """What travels to a stage."""

    origin: Origin | None


class Departing(Protocol):
    """A task in the ingress, just before it leaves."""

    @property
    def task(self) -> Any: ...

    @property
    def note(self) -> RequestNote | None: ...

    @property
    def submitted(self) -> float: ...


class Arrived(Protocol):
    """A task in a replica."""

    @property
    def task(self) -> Any: ...

    @property
    def arrived(self) -> float: ...


class CallSpans:
    """The calls of one parcel to a stage, one span in the trace of each request that is traced.

    Args:
        stage: its name.
        parcel: what leaves now; each task is told whose it is.
    """

    __slots__ = ("_open",)

    def __init__(self, stage: str, parcel: Sequence[Departing]) -> None:
        now = time.monotonic()
        self._open: list[Span] = []
        for entry in parcel:
            note = entry.note
            if note is None:
                continue
            trace = note.trace
            if trace is None:
                entry.task.origin = note.request_id, None
                continue
            trace.add(f"{stage} queue", entry.submitted, now)
            span = trace.open(f"{stage} call", {"rollcall.parcel.tasks": len(parcel)})
            if span is None:
                entry.task.origin = note.request_id, None
                continue
            entry.task.origin = note.request_id, tracing.write_traceparent(span)
            self._open.append(span)

    def end(self, code: str | None = None) -> None:
        """The call is over; `code` says which error it ended in."""
        for span in self._open:
            tracing.end_span(span, failed=code is not None, code=code)


def note_batch(
    stage: str,
    pack: str,
    batch: Sequence[Arrived],
    began_s: float,
    parts: Iterable[Part] = (),
) -> None:
    """A batch has just ended: its line, at level `debug`, and its spans.

    Args:
        batch: the tasks that ran.
        began_s: by the monotonic clock.
    """
    tells = logger.isEnabledFor(logging.DEBUG)
    if not batch or not (tells or tracing.is_tracing()):
        return
    ended_s = time.monotonic()
    if tells:
        fields = {
            "stage": stage,
            "pack": pack,
            "tasks": len(batch),
            "batch_ms": round((ended_s - began_s) * 1000, 2),
            "oldest_wait_ms": round((began_s - min(each.arrived for each in batch)) * 1000, 2),
            "request_ids": list_request_ids(each.task for each in batch),
        }
        logger.debug("batch", extra={"fields": fields})
    traced = [
        (origin[1], each.arrived) for each in batch if (origin := each.task.origin) is not None and origin[1]
    ]
    if traced:
        attributes: tracing.Attributes = {"rollcall.batch.tasks": len(batch), "rollcall.pack": pack}
        tracing.add_batch(stage, began_s, ended_s, traced, parts, attributes)


def list_request_ids(tasks: Iterable[TaskWithOrigin]) -> list[str]:
    """Whose tasks these are, at most `MAX_IDS`, each once."""
    ids = dict.fromkeys(task.origin[0] for task in tasks if task.origin is not None)
    return list(ids)[:MAX_IDS]
