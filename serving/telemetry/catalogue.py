"""Every metric that Rollcall has, as data: docs/metrics.md is made from it, and nothing else can be counted.

Units are seconds, bytes and counts. A label's values come from the code (routes, codes, stages) or from the
serve config (packs, deployments), never from a caller; `event` is the one exception, empty unless
`metrics.event_label` is on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from serving.telemetry.buckets import (
    BATCH_TASKS,
    COSINES,
    DATABASE_SECONDS,
    FACES,
    FALSE_MATCH_RATES,
    LIVENESS_SCORES,
    REQUEST_SECONDS,
    STAGE_SECONDS,
)

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max", "latest"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: as Prometheus sees it, without the suffixes of a histogram.
        about: one line, for `# HELP` and the table in the documentation.
        labels: names; every series has all of them.
        buckets: upper bounds of a histogram, rising, without infinity.
        merge: of a gauge: how the values of the node's processes become one.
        by: who counts, for the documentation.
    """

    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    merge: Merge = "sum"
    by: str = "ingress"


STAGE = ("stage", "pack")

# Requests

HTTP_REQUESTS = Metric(
    "rollcall_http_requests_total",
    "counter",
    "Answered requests. `route` is the template, `other` without one; status 499: the caller went away.",
    ("method", "route", "status"),
)
HTTP_SECONDS = Metric(
    "rollcall_http_request_seconds",
    "histogram",
    "From the request's head to the last byte of its answer.",
    ("method", "route"),
    REQUEST_SECONDS,
)
HTTP_IN_FLIGHT = Metric("rollcall_http_in_flight", "gauge", "Requests that are being answered now.")
ERRORS = Metric("rollcall_errors_total", "counter", "Error answers by code (docs/errors.md).", ("code",))
SHED = Metric(
    "rollcall_shed_total",
    "counter",
    "Work refused for want of room: `requests` or `bytes` at the admission gate, `queue` before a stage, "
    "`backpressure` by Serve, `rate_limit`.",
    ("reason",),
)
ADMITTED_REQUESTS = Metric(
    "rollcall_admitted_requests", "gauge", "Picture requests held now; bound: load.max_pending_requests."
)
ADMITTED_BYTES = Metric(
    "rollcall_admitted_bytes", "gauge", "Bytes of pictures held now; bound: load.max_pending_bytes."
)

# Stages, as the ingress sees them

STAGE_WAITING = Metric("rollcall_stage_waiting", "gauge", "Tasks that wait for a call to the stage.", STAGE)
STAGE_CALLS = Metric(
    "rollcall_stage_calls", "gauge", "Calls to the stage under way; bound: user_config max_calls.", STAGE
)
STAGE_QUEUE_SECONDS = Metric(
    "rollcall_stage_queue_seconds",
    "histogram",
    "How long a task waited in the ingress for a call.",
    STAGE,
    STAGE_SECONDS,
)
STAGE_CALL_SECONDS = Metric(
    "rollcall_stage_call_seconds",
    "histogram",
    "One call to the stage, answered: transport both ways, and `rollcall_replica_seconds`.",
    STAGE,
    STAGE_SECONDS,
)
PARCEL_TASKS = Metric(
    "rollcall_parcel_tasks", "histogram", "Tasks that travelled in one call.", STAGE, BATCH_TASKS
)
STAGE_LOST = Metric(
    "rollcall_stage_lost_calls_total", "counter", "Calls lost because the replica died or left.", STAGE
)

# Stages, as their replicas see them

REPLICA_SECONDS = Metric(
    "rollcall_replica_seconds",
    "histogram",
    "One call within the replica: the wait for a batch, the batch, and nothing of transport.",
    STAGE,
    STAGE_SECONDS,
    by="stage",
)
BATCH_WAIT_SECONDS = Metric(
    "rollcall_batch_wait_seconds",
    "histogram",
    "How long a task waited in the replica until its batch began.",
    STAGE,
    STAGE_SECONDS,
    by="stage",
)
BATCH_SECONDS = Metric(
    "rollcall_batch_seconds",
    "histogram",
    "One batch in the model (Matcher: in the gallery). The rate of its sum is the replica's utilisation.",
    STAGE,
    STAGE_SECONDS,
    by="stage",
)
BATCH_SIZE = Metric(
    "rollcall_batch_tasks", "histogram", "Tasks in one batch.", STAGE, BATCH_TASKS, by="stage"
)
BATCH_LIMIT = Metric(
    "rollcall_batch_limit",
    "gauge",
    "user_config max_batch_size: the mean batch over this is how full batches are.",
    STAGE,
    merge="max",
    by="stage",
)
BATCH_EXPIRED = Metric(
    "rollcall_batch_expired_total",
    "counter",
    "Tasks whose time was up before a model saw them.",
    STAGE,
    by="stage",
)

# Recognition

FACES_PER_PICTURE = Metric(
    "rollcall_faces_per_picture", "histogram", "Faces found in a picture.", ("pack",), FACES, by="Detector"
)
FACE_OUTCOMES = Metric(
    "rollcall_face_outcomes_total",
    "counter",
    "What became of each recognised face: `match`, `unknown`, `refused` (its quality); `no_face` counts "
    "pictures in which there was none.",
    ("pack", "outcome", "event"),
)
BEST_COSINE = Metric(
    "rollcall_best_cosine",
    "histogram",
    "Raw cosine of the best candidate of a face.",
    ("pack", "outcome"),
    COSINES,
)
BEST_FALSE_MATCH_RATE = Metric(
    "rollcall_best_false_match_rate",
    "histogram",
    "False match rate of the best candidate, by the pack's calibration.",
    ("pack", "outcome"),
    FALSE_MATCH_RATES,
)
VERIFICATIONS = Metric(
    "rollcall_verifications_total", "counter", "1:1 comparisons by outcome.", ("pack", "outcome")
)
ENROLLED_FACES = Metric(
    "rollcall_enrolled_faces_total", "counter", "Faces enrolled, also by imports.", ("pack",)
)
LIVENESS = Metric(
    "rollcall_liveness_total",
    "counter",
    "Presentation-attack checks of faces, by mode and outcome: `live`, `spoof`, `not_checked` (too little of "
    "the surroundings in the picture), `unavailable` (the stage did not answer). `pack`: the liveness pack.",
    ("pack", "mode", "outcome"),
)
LIVENESS_SCORE = Metric(
    "rollcall_liveness_score",
    "histogram",
    "Probability of being live, of each face that was checked.",
    ("pack",),
    LIVENESS_SCORES,
)

STREAMS_OPEN = Metric("rollcall_streams_open", "gauge", "Live video streams now; bound: stream.max_open.")
STREAMS = Metric(
    "rollcall_streams_total",
    "counter",
    "Streams that have ended: `ok` when the client ended it, else the code of the error (docs/errors.md).",
    ("outcome",),
)
STREAM_FRAMES = Metric(
    "rollcall_stream_frames_total",
    "counter",
    "Frames of streams: `recognised` when a face was embedded, `tracked` when all were known or there was "
    "none, `dropped` for a newer one, `refused` above stream.frames_per_s, `busy`, `failed` (no picture we "
    "accept).",
    ("outcome",),
)
STREAM_FRAME_SECONDS = Metric(
    "rollcall_stream_frame_seconds",
    "histogram",
    "From the arrival of a frame to its answer, the wait for the frame before included.",
    ("outcome",),
    STAGE_SECONDS,
)

# Stores

GALLERY_FACES = Metric(
    "rollcall_gallery_faces",
    "gauge",
    "Enrolled faces by pack, in the whole cluster.",
    ("pack",),
    merge="latest",
)
EVENTS = Metric("rollcall_events", "gauge", "Events, in the whole cluster.", merge="latest")
ERASURES_DUE = Metric(
    "rollcall_erasures_due", "gauge", "Erasures that are not carried out yet.", merge="latest"
)
JOBS = Metric("rollcall_jobs", "gauge", "Imports and exports by state.", ("kind", "state"), merge="latest")
LAST_BACKUP = Metric(
    "rollcall_last_backup_timestamp_seconds",
    "gauge",
    "The moment that the newest backup is of, in seconds since 1970; 0: there was none of this registry.",
    merge="latest",
)
LAST_BACKUP_BYTES = Metric(
    "rollcall_last_backup_bytes", "gauge", "Size of the newest backup.", merge="latest"
)
LAST_BACKUP_FREE_BYTES = Metric(
    "rollcall_last_backup_free_bytes",
    "gauge",
    "What the disk of the newest backup had left when it was written.",
    merge="latest",
)
LAST_BACKUP_ENCRYPTED = Metric(
    "rollcall_last_backup_encrypted",
    "gauge",
    "1 where the newest backup is encrypted, else 0.",
    merge="latest",
)
LAST_BACKUP_MISSING_FACES = Metric(
    "rollcall_last_backup_missing_faces",
    "gauge",
    "Enrolled faces whose vectors are not in the newest backup, since the gallery did not have them.",
    merge="latest",
)
LAST_ERASURE_LIST = Metric(
    "rollcall_last_erasure_list_timestamp_seconds",
    "gauge",
    "The moment that the newest list of erasures is of, in seconds since 1970; 0: there was none.",
    merge="latest",
)
AUDIT_WAITING = Metric("rollcall_audit_waiting", "gauge", "Audit entries that are not on disk yet.")
DATABASE_SECONDS_BY_KIND = Metric(
    "rollcall_database_seconds",
    "histogram",
    "A unit of work in the database, waiting for its turn included; a `look_up` is a few rows by key.",
    ("operation",),
    DATABASE_SECONDS,
)
DATABASE_FAILURES = Metric(
    "rollcall_database_failures_total",
    "counter",
    "Units of work that the database could not do.",
    ("operation",),
)

# Who serves

BUILD_INFO = Metric(
    "rollcall_build_info", "gauge", "Always 1.", ("version", "python", "ray", "onnxruntime"), merge="max"
)
MODEL_INFO = Metric(
    "rollcall_model_info",
    "gauge",
    "Always 1: a pack that serves.",
    ("pack", "precision", "detector", "dimension"),
    merge="max",
)
PROVIDER_INFO = Metric(
    "rollcall_provider_info",
    "gauge",
    "Always 1: the execution provider that a stage's model runs on.",
    ("stage", "pack", "provider"),
    merge="max",
    by="stage",
)
REPLICA_STARTS = Metric(
    "rollcall_replica_starts_total",
    "counter",
    "Replicas that started on this node; rises by itself only when replicas are added or replaced.",
    ("deployment",),
    by="all",
)
SERIES_REFUSED = Metric(
    "rollcall_series_refused_total",
    "counter",
    "Counts that went to `other` because their metric had too many series already.",
    ("metric",),
    by="all",
)
LOG_LINES_DROPPED = Metric(
    "rollcall_log_lines_dropped_total",
    "counter",
    "Log lines that were lost: too many waited, or nothing took them (a full disk).",
    by="all",
)
SPANS_DROPPED = Metric(
    "rollcall_spans_dropped_total",
    "counter",
    "Spans that were lost: `queue`: too many waited; `export`: the collector did not take them.",
    ("reason",),
    by="all",
)

# Made by whoever answers the scrape, from what the node's processes are doing at that moment

REPLICAS = Metric("rollcall_replicas", "gauge", "Replicas alive on this node.", ("deployment",), by="scrape")
PROCESS_CPU = Metric(
    "rollcall_process_cpu_seconds_total",
    "counter",
    "User and system time of a replica's process.",
    ("deployment", "pid"),
    by="scrape",
)
PROCESS_MEMORY = Metric(
    "rollcall_process_resident_bytes",
    "gauge",
    "Resident memory of a replica's process, what it shares with others included.",
    ("deployment", "pid"),
    by="scrape",
)
PROCESS_THREADS = Metric(
    "rollcall_process_threads", "gauge", "Threads of a replica's process.", ("deployment", "pid"), by="scrape"
)
PROCESS_START = Metric(
    "rollcall_process_start_time_seconds",
    "gauge",
    "When a replica's process started, in seconds since 1970.",
    ("deployment", "pid"),
    by="scrape",
)
HOLDS = ("holds",)
DISK_FREE_BYTES = Metric(
    "rollcall_disk_free_bytes",
    "gauge",
    "What the service may still write to a file system of this node; 0 where it is read-only. `holds`: which "
    "of `data`, `gallery`, `logs`, `ray` (its session folder) and `temporary` lie there. One that does not "
    "answer within half a second is left out.",
    HOLDS,
    by="scrape",
)
DISK_BYTES = Metric("rollcall_disk_bytes", "gauge", "Size of such a file system.", HOLDS, by="scrape")
DISK_RESERVE_BYTES = Metric(
    "rollcall_disk_reserve_bytes",
    "gauge",
    "Below so much free space writes are refused: gallery.min_free_bytes where an embedded gallery lies, "
    "else 0.",
    HOLDS,
    by="scrape",
)
SCRAPE_SECONDS = Metric(
    "rollcall_scrape_seconds", "gauge", "How long this answer took to put together.", by="scrape"
)


def _list_metrics() -> Iterable[Metric]:
    return (value for value in globals().values() if isinstance(value, Metric))


ALL_METRICS: dict[str, Metric] = {metric.name: metric for metric in _list_metrics()}
"""By name, in the order above."""
