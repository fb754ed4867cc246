"""The log line and the trace of a request: what it was and what came of it, and nobody's name."""

from __future__ import annotations

import time
from typing import Any

from fastapi import Request
from starlette.types import Message, Scope

from serving.accounts.identities import Identity
from serving.api.audit_middleware import SECRET_STARTS
from serving.api.envelope import find_request_id
from serving.api.route_index import FoundRoute
from serving.registry.identifiers import is_event_id
from serving.telemetry import tracing
from serving.telemetry.logs import request_log
from serving.telemetry.recording import METHODS, OTHER
from serving.telemetry.request_notes import CURRENT, RequestNote

QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines; they get a line only when they fail."""


def begin_note(scope: Scope) -> RequestNote | None:
    """The note of a request that has just come; None when nobody will read it."""
    if request_log() is None and not tracing.is_tracing():
        return None
    trace, trace_id = None, None
    if tracing.is_tracing():
        trace, trace_id = tracing.begin_request(_find_header(scope, b"traceparent"))
    note = RequestNote(find_request_id(Request(scope)), trace, trace_id)
    CURRENT.set(note)
    return note


def add_trace_header(note: RequestNote, message: Message) -> None:
    """Tell the caller which trace its request is in (W3C Trace Context level 2, `traceresponse`)."""
    if note.trace is not None:
        header = (b"traceresponse", note.trace.traceparent.encode())
        message["headers"] = [*message.get("headers", ()), header]


def end_note(note: RequestNote, scope: Scope, status: int, seconds: float) -> None:
    """The request is answered, or its caller has gone: write its line and end its trace."""
    CURRENT.set(None)
    log = request_log()
    found: FoundRoute | None = scope["state"].get("route")
    route = OTHER if found is None else found.facts.path
    level = None if log is None else log.decide_level(status, seconds)
    if level is not None and status < 400 and route in QUIET_ROUTES:
        level = None
    if level is None and note.trace is None:
        return
    code = scope["state"].get("error_code")
    outcome = "ok" if status < 400 else code or ("caller_gone" if status == 499 else str(status))
    event = _find_event(scope, found)
    method = scope["method"] if scope["method"] in METHODS else OTHER
    title = f"{method} {route}"
    if log is not None and level is not None:
        what = {"method": method, "route": route, "status": status, "event": event, "outcome": outcome}
        fields = {**_list_ids(note), **what, **_list_facts(note, scope, seconds)}
        log.write(level, time.time(), f"{title} {status}", fields)
    if note.trace is not None:
        attributes: dict[str, str | int | float | bool] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "rollcall.request_id": note.request_id,
            "rollcall.outcome": outcome,
            **{f"rollcall.faces.{name}": count for name, count in note.faces.items()},
        }
        if event is not None:
            attributes["rollcall.event"] = event
        if code is not None:
            attributes["error.type"] = code
        note.trace.close(title, attributes, failed=status >= 500)


def _list_ids(note: RequestNote) -> dict[str, Any]:
    return {"request_id": note.request_id, "trace_id": note.trace_id}


def _list_facts(note: RequestNote, scope: Scope, seconds: float) -> dict[str, Any]:
    state = scope["state"]
    identity: Identity | None = state.get("identity")
    body = state.get("body")
    timings = {name: round(spent_ms, 2) for name, spent_ms in (note.timings_ms or {}).items()}
    if note.database_s:
        timings["database"] = round(note.database_s * 1000, 2)
    return {
        "caller": "anonymous" if identity is None else identity.kind,
        "bytes_in": 0 if body is None else body.received_bytes,
        "faces": note.faces or None,
        "timings_ms": {**timings, "total": round(seconds * 1000, 2)},
    }


def _find_event(scope: Scope, found: FoundRoute | None) -> str | None:
    event = scope["state"].get("event")
    if event is not None:
        return str(event.id)
    asked = None if found is None else found.event
    if asked is None or not is_event_id(asked) or asked.startswith(SECRET_STARTS):
        return None
    return asked


def _find_header(scope: Scope, wanted: bytes) -> str | None:
    for name, value in scope["headers"]:
        if name == wanted:
            text: str = value.decode("latin-1")
            return text
    return None
