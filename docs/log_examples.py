"""The example lines of docs/logs.md, made by the code that makes lines."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

from serving.api.request_log import end_note
from serving.api.route_index import FoundRoute, RouteFacts
from serving.errors import StageUnavailable
from serving.telemetry import logs
from serving.telemetry.log_lines import LineMaker
from serving.telemetry.request_notes import CURRENT, RequestNote

AT = "2026-07-04T18:30:02.417Z"
PROCESS = {"deployment": "Ingress", "replica": "9bapor61", "node": "door-1", "pid": 14442}
ROUTE = RouteFacts("recognition.recognise", "POST", "/v1/events/{event}/recognise", "recognition")
TIMINGS = {"read": 0.41, "detect": 31.2, "embed": 12.6, "match": 2.9, "names": 0.6}


class _Kept:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def take(self, line: Any, *, at_once: bool = False) -> None:
        del at_once
        self.lines.append(line if isinstance(line, str) else line())


def make_request_line(status: int = 200, *, as_text: bool = False) -> str:
    """The line of a recognition."""
    kept: Any = _Kept()
    settings = logs.LoggingSettings()
    before, logs._Place.requests = (
        logs._Place.requests,
        logs.RequestLog(settings, LineMaker(PROCESS, as_text=as_text), kept),
    )
    note = RequestNote("door-7-4711", trace_id="4bf92f3577b34da6a3ce929d0e0e4736")
    state: dict[str, Any] = {
        "route": FoundRoute(ROUTE, "gala"),
        "identity": SimpleNamespace(kind="api_key"),
        "body": SimpleNamespace(received_bytes=128824),
    }
    if status == 200:
        note.timings_ms, note.database_s = TIMINGS, 0.0011
        note.add_faces("match")
        note.add_faces("unknown", 5)
    else:
        state["error_code"] = "overloaded"
    try:
        end_note(note, {"method": "POST", "state": state}, status, 0.0493)
    finally:
        logs._Place.requests = before
    return _at_one_time(kept.lines[0])


def make_error_line() -> str:
    """The line of an error within a request."""
    token = CURRENT.set(RequestNote("door-7-4711"))
    try:
        try:
            raise StageUnavailable("The gallery does not answer.") from ConnectionResetError(
                104, "Connection reset by peer"
            )
        except StageUnavailable as error:
            info = (type(error), error, error.__traceback__)
            record = logging.LogRecord(
                "serving.graph.stages",
                logging.ERROR,
                __file__,
                1,
                "a stage raised %s",
                (type(error).__name__,),
                info,
            )
            return _at_one_time(LineMaker(PROCESS).render_record(record))
    finally:
        CURRENT.reset(token)


def make_batch_line() -> str:
    """The line of a batch, at level `debug`."""
    fields = {
        "stage": "detector",
        "pack": "starter-int8-mirror",
        "tasks": 2,
        "batch_ms": 44.1,
        "oldest_wait_ms": 1.2,
        "request_ids": ["door-7-4711", "door-2-0815"],
    }
    process = {**PROCESS, "deployment": "Detector", "replica": "qalyjc4r", "pid": 14341}
    return _at_one_time(LineMaker(process).render(0, "debug", "rollcall.batches", "batch", fields))


def _at_one_time(line: str) -> str:
    line = line.rstrip("\n")
    if line.startswith("{"):
        return json.dumps({**json.loads(line), "time": AT}, ensure_ascii=False, separators=(",", ":"))
    return AT + line[len(AT) :]


def list_examples() -> list[str]:
    """The examples, each with what it is, as the page has them."""
    examples = {
        "A recognition:": make_request_line(),
        "One that was refused for want of room:": make_request_line(503),
        "The first as text (`logging.format: text`):": make_request_line(as_text=True),
        "A batch in the detector, at level `debug`:": make_batch_line(),
        "An error and what caused it:": make_error_line(),
    }
    page: list[str] = []
    for about, line in examples.items():
        page += [about, "", f"    {line}", ""]
    return page
