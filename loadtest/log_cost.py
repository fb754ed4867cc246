"""What log lines and traces cost: `python -m loadtest.log_cost`.

Does for a recognition of a picture with one face what the log and the traces need, in all processes
together and with the thread that writes, and gives the CPU time: switched off, with a line for each request,
with a line for each batch as well, and with traces that leave the request out or take it in. Parcels and
batches of one, which is the dearest case.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from fastapi import Request

from loadtest.metrics_cost import measure_cpu_us
from serving.api.envelope import find_request_id
from serving.api.request_log import begin_note, end_note
from serving.api.route_index import FoundRoute, RouteFacts
from serving.deployments.lane import Arrival
from serving.graph.coalescer import _Entry
from serving.graph.messages import Task
from serving.settings import LoggingSettings, TracingSettings
from serving.telemetry import recording, tracing
from serving.telemetry.logs import Process, flush_log, join_log, leave_log
from serving.telemetry.request_notes import current
from serving.telemetry.stage_notes import CallSpans, note_batch

STAGES = ("detector", "embedder", "matcher")
ROUTE = FoundRoute(
    RouteFacts("recognition.recognise", "POST", "/v1/events/{event}/recognise", "recognition"), "gala"
)
PARTS = {"read": 0.4, "detect": 25.0, "embed": 9.0, "match": 2.0, "names": 0.4}
LOOK_UPS = 3
OFF: dict[str, Any] = {"enabled": False}
VARIANTS: Mapping[str, tuple[dict[str, Any], float | None]] = {
    "off": (OFF, None),
    "requests: none": ({"requests": "none"}, None),
    "a line for each request": ({}, None),
    "lines for requests and batches (debug)": ({"level": "debug"}, None),
    "traces, request not taken": (OFF, 0.0),
    "traces, request taken": (OFF, 1.0),
}
"""Settings of the log, and the share of requests that is traced; None: no collector."""


def note_recognition() -> None:
    """Once, from the request's head to its answer."""
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"x-request-id", b"7f9c2ba4-e88f-427f-8a1a-e5d1a2b3c4d5")],
        "state": {"route": ROUTE},
    }
    note = begin_note(scope)
    if note is None:
        find_request_id(Request(scope))  # which every request needs, with or without a line
    for _ in range(LOOK_UPS):
        seen = current()
        if seen is not None:
            seen.database_s += 0.0001
            if seen.trace is not None:
                now = time.monotonic()
                seen.trace.add("database look_up", now, now)
    for stage in STAGES:
        now = time.monotonic()
        entry: Any = _Entry(Task(20.0), 50_000, now, now + 20, None, current())  # type: ignore[arg-type]
        spans = CallSpans(stage, [entry])
        note_batch(stage, "pack", [Arrival(entry.task, now + 20, now)], now)
        spans.end()
    began = time.perf_counter()
    recording.note_parts(began, began, PARTS)
    if note is not None:
        note.add_faces("match")
        end_note(note, scope, 200, 0.04)


@contextmanager
def collecting() -> Iterator[str]:
    """The address of a collector that takes everything and looks at nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces"
    finally:
        server.shutdown()
        server.server_close()


def measure(log: dict[str, Any], share: float | None, times: int, rounds: int) -> list[float]:
    """CPU microseconds of a recognition's lines and spans, of each round."""
    with tempfile.TemporaryDirectory() as directory, collecting() as endpoint:
        join_log(LoggingSettings(**log), Process("Ingress", "replica1"), directory=Path(directory))
        if share is not None:
            settings = TracingSettings(endpoint=endpoint, sample_ratio=share, max_queued_spans=10**6)
            tracing.join_tracing(settings, {})
        try:
            note_recognition()

            def work() -> None:
                for _ in range(times):
                    note_recognition()
                flush_log()

            return [each / times for each in measure_cpu_us(work, 1, rounds)]
        finally:
            leave_log()
            tracing.leave_tracing()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=2000, help="recognitions in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="numbers only")
    options = parser.parse_args()
    results = {
        name: float(np.median(measure(log, share, options.times, options.rounds)))
        for name, (log, share) in VARIANTS.items()
    }
    if options.json:
        print(json.dumps(results))
        return
    base = results["off"]
    for name, spent_us in results.items():
        added = "" if name == "off" else f"  (+{spent_us - base:.1f})"
        print(f"{name:<40} {spent_us:7.1f} µs{added}")


if __name__ == "__main__":
    main()
