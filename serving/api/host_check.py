"""Under which names the service answers."""

from __future__ import annotations

from collections.abc import Collection

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.envelope import answer_error
from serving.errors import UnknownHost

ASKED_BY_ANY_NAME = frozenset({"/healthz", "/readyz", "/metrics"})
"""What orchestrators and Prometheus ask by an address."""


class HostCheck:
    """ASGI middleware: refuses what is addressed to a name that is not the service's.

    So a page that makes its own name point at this machine (DNS rebinding) gets no answer, and no link is
    made from a name that a client invented.

    Args:
        hosts: names in lower case; `*.example.org` is every name below example.org.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._names = frozenset(host for host in hosts if not host.startswith("*."))
        self._suffixes = tuple(host[1:] for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["path"] not in ASKED_BY_ANY_NAME:
            given = [value for name, value in scope["headers"] if name == b"host"]
            host = _strip_port(given[0].decode("latin-1").lower()) if len(given) == 1 else ""
            if host not in self._names and not host.endswith(self._suffixes or ("\0",)):
                await answer_error(HTTPConnection(scope), UnknownHost())(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _strip_port(host: str) -> str:
    if host.startswith("["):
        return "".join(host.partition("]")[:2])
    return host.partition(":")[0]
