"""What is left of a stream: one log line, one entry of the audit trail, and the numbers."""

from __future__ import annotations

import time
from collections import Counter

from fastapi import WebSocket

from serving.api.audit_middleware import DENIED, make_entry
from serving.api.client_address import network_of
from serving.api.envelope import find_request_id
from serving.api.judgements import MAX_AUDITED_PEOPLE
from serving.api.route_index import FoundRoute, RouteFacts
from serving.api.services import Services
from serving.api.stream.recogniser import Tally
from serving.errors import RollcallError
from serving.telemetry import recording
from serving.telemetry.logs import request_log
from serving.telemetry.recording import FrameOutcome
from serving.telemetry.request_notes import CURRENT, RequestNote

PATH = "/v1/events/{event}/stream"
FACTS = RouteFacts("recognition.stream", "GET", PATH, "recognition")
SWITCHED = 101
"""The HTTP status of a WebSocket that was accepted."""


class StreamReport:
    """Counts while a stream lasts, and writes down what came of it.

    `finish` waits for nothing, since what ends a stream may be the end of its task.
    """

    def __init__(self, websocket: WebSocket, services: Services, event_id: str) -> None:
        self._websocket = websocket
        self._services = services
        self._began_s = time.monotonic()
        self.found = FoundRoute(FACTS, event_id)
        websocket.state.route = self.found
        self.stream_id = find_request_id(websocket)
        self.note = RequestNote(self.stream_id)
        CURRENT.set(self.note)
        self.frames: Counter[FrameOutcome] = Counter()
        self.tally: Tally | None = None
        self.checks_in = False
        self.error: RollcallError | None = None

    def count(self, outcome: FrameOutcome, seconds: float | None = None) -> None:
        """A frame came to this; `seconds` from its arrival to its answer, where it was worked on."""
        self.frames[outcome] += 1
        recording.note_frame(outcome, seconds)

    async def deny(self, error: RollcallError) -> None:
        """Write down that a stream did not begin, where that belongs into the trail."""
        self.error = error
        entry = make_entry(self._services, self.found, self._websocket.scope, error.status, error.code)
        if error.status in DENIED or entry.actor_kind == "anonymous":
            origin = None if entry.address is None else network_of(entry.address)
            await self._services.audit.note_refusal(entry, origin)

    def finish(self) -> None:
        """The stream is over."""
        outcome = "ok" if self.error is None else self.error.code
        recording.note_stream(outcome)
        seconds = time.monotonic() - self._began_s
        if self.tally is not None:
            self._offer_entry(self.tally, outcome, seconds)
        self._write_line(outcome, seconds)
        CURRENT.set(None)

    def _offer_entry(self, tally: Tally, outcome: str, seconds: float) -> None:
        if not (self.checks_in or self._services.settings.audit.recognitions):
            return
        details = {
            "pictures": sum(self.frames.values()),
            "faces": tally.lookups,
            "matches": tally.matches,
            "people": list(tally.people or ())[:MAX_AUDITED_PEOPLE],
            "seconds": round(seconds),
        }
        if tally.spoofs is not None:
            details["spoofs"] = tally.spoofs
        if self.checks_in:
            details["arrived"] = tally.arrived
        self._websocket.state.audit_details = details
        entry = make_entry(self._services, self.found, self._websocket.scope, SWITCHED, outcome)
        self._services.audit.offer_or_count(entry)

    def _write_line(self, outcome: str, seconds: float) -> None:
        log = request_log()
        status = SWITCHED if self.tally is not None or self.error is None else self.error.status
        level = None if log is None else log.decide_level(status, 0.0)
        if log is None or level is None:
            return
        state = self._websocket.scope["state"]
        event, identity = state.get("event"), state.get("identity")
        fields = {
            "request_id": self.stream_id,
            "method": "GET",
            "route": PATH,
            "status": status,
            "event": None if event is None else event.id,
            "outcome": outcome,
            "caller": "anonymous" if identity is None else identity.kind,
            "faces": self.note.faces or None,
            "frames": dict(self.frames) or None,
            "timings_ms": {"total": round(seconds * 1000, 2)},
        }
        log.write(level, time.time(), f"WebSocket {PATH} {status}", fields)
