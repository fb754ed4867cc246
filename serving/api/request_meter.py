"""Counts every request: what came of it and how long it took."""

from __future__ import annotations

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.request_log import add_trace_header, begin_note, end_note
from serving.api.route_index import FoundRoute
from serving.telemetry import recording

CALLER_GONE = 499
"""What is counted as the status of a request whose caller went away before its answer, as nginx does."""


class RequestMeter:
    """ASGI middleware, the outermost, so that nothing a caller waits for is left out.

    Routes go by their templates, found by `CallerWatch`; a path that no route has makes no series.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        status = CALLER_GONE

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if note is not None:
                    add_trace_header(note, message)
            await send(message)

        began = time.perf_counter()
        recording.note_in_flight(1)
        note = begin_note(scope)
        try:
            await self._app(scope, receive, send_noting_status)
        except asyncio.CancelledError:
            raise
        except BaseException:
            if status == CALLER_GONE:
                status = 500
            raise
        finally:
            recording.note_in_flight(-1)
            found: FoundRoute | None = state.get("route")
            route = None if found is None else found.facts.path
            spent_s = time.perf_counter() - began
            recording.note_request(scope["method"], route, status, spent_s, state.get("error_code"))
            if note is not None:
                end_note(note, scope, status, spent_s)
