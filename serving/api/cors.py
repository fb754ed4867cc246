"""Which other sites' pages may call the API: none, unless the settings name their origins."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from serving.settings import WebSettings

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ASKED = ("Authorization", "Content-Type", "Idempotency-Key", "X-API-Key", "X-Request-ID", "X-Timeout-S")
"""Request headers that a page may send; all that the API reads."""
TOLD = ("RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID", "Location", "Link")
"""Answer headers that a page may read beside those that any may."""
MAX_AGE_S = 600


class CrossOrigin(CORSMiddleware):
    """ASGI middleware: answers preflights and names the origins that may read an answer.

    Credentials of the browser's own, cookies and the like, are not asked for: callers are known by their
    `Authorization` header alone, which no browser sends by itself.
    """

    def __init__(self, app: ASGIApp, settings: WebSettings, headers: Mapping[str, str]) -> None:
        super().__init__(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=METHODS,
            allow_headers=ASKED,
            expose_headers=TOLD,
            max_age=MAX_AGE_S,
        )
        self._headers = headers

    def preflight_response(self, request_headers: Headers) -> Response:
        """As Starlette answers it, with the headers of every answer."""
        response = super().preflight_response(request_headers)
        for name, value in self._headers.items():
            response.headers.setdefault(name, value)
        return response
