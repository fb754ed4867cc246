"""What becomes of a request whose caller goes away before it is answered."""

from __future__ import annotations

import asyncio
import contextvars
import logging

from starlette._utils import get_route_path
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.route_index import RouteIndex
from serving.telemetry.request_notes import CURRENT, current

logger = logging.getLogger("ray.serve")

SETTLE_TIMEOUT_S = 5.0


class CallerWatch:
    """ASGI middleware: work that nobody waits for ends, unless it changes something.

    Recognition is cancelled as soon as its caller has gone, so that a picture that still waits is never
    worked on. A change runs to its end, within its deadline: cut off half way, it would leave behind what
    the sweep has to clean up, and an audit trail that does not say what came of it. Everything else is left
    to the server, which cancels it.

    What the route is stands in `request.state.route` from here on.

    Args:
        app: what is called.
        index: of its routes.
        unfinished: the changes that run while their callers may have gone; shared with `settle`.
    """

    def __init__(self, app: ASGIApp, index: RouteIndex, unfinished: set[asyncio.Task[None]]) -> None:
        self._app = app
        self._index = index
        self._unfinished = unfinished
        # In the context of a request, Serve would cancel what a change has asked of a stage with the request.
        self._context = contextvars.copy_context()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        found = self._index.find(scope["method"], get_route_path(scope))
        scope.setdefault("state", {})["route"] = found
        if found is not None and found.facts.is_change:
            await self._run_to_end(scope, receive, send)
        elif found is not None and found.facts.is_recognition:
            await _run_while_wanted(self._app, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _run_to_end(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_gone = False

        async def send_while_there(message: Message) -> None:
            if not has_gone:
                await send(message)

        def finish(task: asyncio.Task[None]) -> None:
            self._unfinished.discard(task)
            error = None if task.cancelled() else task.exception()
            if has_gone and error is not None and not isinstance(error, ClientDisconnect):
                logger.error(
                    "a change whose caller has gone failed: %s", type(error).__name__, exc_info=error
                )

        work = self._app(scope, receive, send_while_there)
        context = self._context.copy()
        context.run(CURRENT.set, current())
        task = context.run(asyncio.ensure_future, work)
        self._unfinished.add(task)
        task.add_done_callback(finish)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            has_gone = True
            raise


async def _run_while_wanted(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    handler = asyncio.current_task()
    assert handler is not None
    watcher: asyncio.Task[Message] | None = None
    has_gone = is_answered = False

    async def watch() -> Message:
        nonlocal has_gone
        message = await receive()
        if message["type"] == "http.disconnect" and not is_answered:
            has_gone = True
            handler.cancel()
        return message

    async def receive_and_watch() -> Message:
        nonlocal watcher
        if watcher is not None:
            return await asyncio.shield(watcher)
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            watcher = asyncio.create_task(watch())
        return message

    async def send_and_note(message: Message) -> None:
        nonlocal is_answered
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            is_answered = True
        await send(message)

    try:
        await app(scope, receive_and_watch, send_and_note)
    except asyncio.CancelledError:
        if not has_gone:
            raise
        if hasattr(handler, "uncancel"):  # from Python 3.11 on
            handler.uncancel()
    finally:
        if watcher is not None:
            watcher.cancel()


async def settle(unfinished: set[asyncio.Task[None]]) -> None:
    """Let the changes that still run come to their end, for at most `SETTLE_TIMEOUT_S`."""
    if unfinished:
        await asyncio.wait(set(unfinished), timeout=SETTLE_TIMEOUT_S)
