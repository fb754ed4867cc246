"""What every answer carries: its request id, headers that keep it out of caches and frames, no traceback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.envelope import REQUEST_ID_HEADER, answer_error, find_request_id
from serving.errors import InternalError

logger = logging.getLogger("ray.serve")


class AnswerHeaders:
    """ASGI middleware; plain, because it runs on every request."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        request_id = find_request_id(request)
        # Serve sees to it that a request has an id, and puts it on the answer itself; not so one we refuse.
        sent_by_serve = request.headers.get(REQUEST_ID_HEADER) == request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if not sent_by_serve:
                    headers[REQUEST_ID_HEADER] = request_id
                headers.raw.extend(scope["state"].get("rate_limit_headers", ()))
            await send(message)

        started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = True
            await send_with_headers(message)

        try:
            await self._app(scope, receive, send_noting_start)
        except ClientDisconnect:
            return  # nobody is left to answer
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            logger.error("request %r failed: %s", request_id, type(error).__name__, exc_info=error)
            if not started:
                await answer_error(request, InternalError())(scope, receive, send_with_headers)


def _is_cancelled() -> bool:
    """Whether somebody has cancelled this task; else a library's own cancellation has come out of it.

    Python 3.10 cannot tell, and takes each for the former.
    """
    task = asyncio.current_task()
    count = getattr(task, "cancelling", None)
    return count is None or count() > 0
