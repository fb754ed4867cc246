"""Work that no request waits for, with a note of its own: its lines and spans are found by the job's id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from serving.telemetry import tracing
from serving.telemetry.logs import request_log
from serving.telemetry.request_notes import CURRENT, RequestNote


@contextmanager
def job_noted(job_id: str, kind: str) -> Iterator[None]:
    """What is done within the block is done for this job; `job-` and its id stand where a request's would."""
    if request_log() is None and not tracing.is_tracing():
        yield
        return
    trace = tracing.begin_job(f"job {kind}")
    note = RequestNote(f"job-{job_id}", trace, None if trace is None else trace.trace_id)
    token = CURRENT.set(note)
    try:
        yield
    finally:
        CURRENT.reset(token)
        if trace is not None:
            faces = {f"rollcall.faces.{name}": count for name, count in note.faces.items()}
            trace.close(f"job {kind}", {"rollcall.request_id": note.request_id, **faces})
