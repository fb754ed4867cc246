"""What every answer carries: the request id, and headers that keep answers out of caches and frames."""

from __future__ import annotations

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.envelope import REQUEST_ID_HEADER, find_request_id

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


class AnswerHeaders:
    """ASGI middleware; plain, because it runs on every request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        request_id = find_request_id(request)
        # Under Serve the proxy has set the id already, and Serve itself puts it on the answer.
        sent_by_serve = REQUEST_ID_HEADER in request.headers

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if not sent_by_serve:
                    headers[REQUEST_ID_HEADER] = request_id
            await send(message)

        await self._app(scope, receive, send_with_headers)
