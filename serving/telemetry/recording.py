"""What the routes and stages tell of requests, pictures, faces and people; each call costs microseconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, get_args

from serving.telemetry import catalogue
from serving.telemetry.counting import counter, gauge, histogram
from serving.telemetry.request_notes import current

if TYPE_CHECKING:
    from serving.packs.manifest import Pack

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"

FACE_OUTCOMES = ("match", "unknown", "refused", "no_face")
VERIFICATION_OUTCOMES = ("verified", "refused")

FrameOutcome = Literal["recognised", "tracked", "dropped", "refused", "busy", "failed"]
Refusal = Literal["requests", "bytes", "queue", "backpressure", "rate_limit"]


class EventLabels:
    """The `event` label: empty unless `most` is above 0, then the ids of the first so many events.

    Args:
        most: events with a label of their own in this process; the rest are `other`.
    """

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self._known: set[str] = set()

    def label(self, event_id: str) -> str:
        """What stands in the label for an event."""
        if not self.most:
            return ""
        if event_id not in self._known:
            if len(self._known) >= self.most:
                return OTHER
            self._known.add(event_id)
        return event_id


_event_labels = EventLabels()


def label_events(most: int) -> None:
    """Name so many events in the metrics from now on; 0: none."""
    global _event_labels
    _event_labels = EventLabels(most)


def begin_ingress(packs: Iterable[Pack]) -> None:
    """These packs serve. Whatever can happen is counted as not having happened yet, as Prometheus needs it
    to see the first time."""
    for reason in get_args(Refusal):
        counter(catalogue.SHED).of(reason)
    for outcome in get_args(FrameOutcome):
        counter(catalogue.STREAM_FRAMES).of(outcome)
    note_streams(0)
    note_in_flight(0)
    note_admitted(0, 0)
    note_audit_queue(0)
    for pack in packs:
        labels = pack.id, pack.precision, pack.detector.kind, str(pack.dimension)
        gauge(catalogue.MODEL_INFO).of(*labels).set(1)
        for outcome in FACE_OUTCOMES if not _event_labels.most else ():
            counter(catalogue.FACE_OUTCOMES).of(pack.id, outcome, "")
        for outcome in VERIFICATION_OUTCOMES:
            counter(catalogue.VERIFICATIONS).of(pack.id, outcome)
        note_enrolment(pack.id, 0)


def note_request(method: str, route: str | None, status: int, seconds: float, code: str | None) -> None:
    """A request was answered.

    Args:
        route: the template of its path; None where no route has it.
        status: of the answer; 499 when the caller went away before.
        code: of an error answer.
    """
    shown = method if method in METHODS else OTHER
    template = route or OTHER
    counter(catalogue.HTTP_REQUESTS).of(shown, template, str(status)).add()
    histogram(catalogue.HTTP_SECONDS).of(shown, template).observe(seconds)
    if code is not None:
        counter(catalogue.ERRORS).of(code).add()
        if code == "rate_limited":
            note_refusal("rate_limit")


def note_in_flight(change: int) -> None:
    """So many requests more, or fewer, are being answered."""
    gauge(catalogue.HTTP_IN_FLIGHT).of().add(change)


def note_refusal(reason: Refusal) -> None:
    """Work was refused for want of room."""
    counter(catalogue.SHED).of(reason).add()


def note_admitted(requests: int, size_bytes: int) -> None:
    """What the admission gate holds now."""
    gauge(catalogue.ADMITTED_REQUESTS).of().set(requests)
    gauge(catalogue.ADMITTED_BYTES).of().set(size_bytes)


def note_faces(pack: str, event_id: str, faces: Iterable[tuple[str, float | None, float | None]]) -> None:
    """A picture was recognised.

    Args:
        faces: of each face its outcome, and the best candidate's cosine and false match rate, where there is
            one.
    """
    event = _event_labels.label(event_id)
    note = current()
    has_faces = False
    for outcome, cosine, false_match_rate in faces:
        has_faces = True
        counter(catalogue.FACE_OUTCOMES).of(pack, outcome, event).add()
        if note is not None:
            note.add_faces(outcome)
        if cosine is not None:
            histogram(catalogue.BEST_COSINE).of(pack, outcome).observe(cosine)
        if false_match_rate is not None:
            histogram(catalogue.BEST_FALSE_MATCH_RATE).of(pack, outcome).observe(false_match_rate)
    if not has_faces:
        counter(catalogue.FACE_OUTCOMES).of(pack, "no_face", event).add()


def note_streams(count: int) -> None:
    """So many live streams are open."""
    gauge(catalogue.STREAMS_OPEN).of().set(count)


def note_stream(outcome: str) -> None:
    """A stream has ended."""
    counter(catalogue.STREAMS).of(outcome).add()


def note_frame(outcome: FrameOutcome, seconds: float | None = None) -> None:
    """A frame of a stream came to this.

    Args:
        seconds: from its arrival to its answer; None: it was not worked on.
    """
    counter(catalogue.STREAM_FRAMES).of(outcome).add()
    if seconds is not None:
        histogram(catalogue.STREAM_FRAME_SECONDS).of(outcome).observe(seconds)


def note_verification(pack: str, outcome: str) -> None:
    """A 1:1 comparison was decided."""
    counter(catalogue.VERIFICATIONS).of(pack, outcome).add()
    note = current()
    if note is not None:
        note.add_faces(outcome)


def note_enrolment(pack: str, faces: int) -> None:
    """So many faces of a person were enrolled."""
    counter(catalogue.ENROLLED_FACES).of(pack).add(faces)
    note = current()
    if note is not None:
        note.add_faces("enrolled", faces)


def note_liveness(pack: str, mode: str, outcome: str, score: float | None = None) -> None:
    """A face was checked for a presentation attack.

    Args:
        pack: of the liveness models.
        mode: what the event or the request asks for.
        outcome: what came of it.
        score: how probably it is live, 0..1, where there is a score.
    """
    counter(catalogue.LIVENESS).of(pack, mode, outcome).add()
    if score is not None:
        histogram(catalogue.LIVENESS_SCORE).of(pack).observe(score)


def note_parts(began_s: float, ended_s: float, parts_ms: Mapping[str, float]) -> None:
    """Where the time of a request went.

    Args:
        began_s: when the first part began, by `time.perf_counter()`, which on Linux is the monotonic clock.
        ended_s: when the last part ended, likewise.
        parts_ms: name -> milliseconds, in order.
    """
    note = current()
    if note is None:
        return
    note.timings_ms = dict(parts_ms)
    trace = note.trace
    if trace is not None and parts_ms:
        first, *_, last = parts_ms
        trace.add(first, began_s, began_s + parts_ms[first] / 1000)
        if last != first:
            trace.add(last, ended_s - parts_ms[last] / 1000, ended_s)


def note_audit_queue(entries: int) -> None:
    """So many audit entries wait to be written."""
    gauge(catalogue.AUDIT_WAITING).of().set(entries)


def note_database(operation: str, seconds: float, *, failed: bool) -> None:
    """A unit of work was done, or could not be."""
    histogram(catalogue.DATABASE_SECONDS_BY_KIND).of(operation).observe(seconds)
    note = current()
    if note is not None:
        note.database_s += seconds
        if note.trace is not None:
            now = time.monotonic()
            note.trace.add(f"database {operation}", now - seconds, now)
    if failed:
        counter(catalogue.DATABASE_FAILURES).of(operation).add()
