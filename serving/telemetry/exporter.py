"""The node's exporter: an HTTP server inside one of the node's replicas, for a Prometheus beside the service.

Every replica of a node tries to listen on the port; one succeeds and answers for all, since the counts lie in
files that each of them can read. When it ends another takes its place within `RETRY_S`.
"""

from __future__ import annotations

import errno
import hmac
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

logger = logging.getLogger("ray.serve")

RETRY_S = 5.0
READ_TIMEOUT_S = 5.0
"""For a request to arrive and its answer to be taken; requests are answered one after another."""

PATH = "/metrics"


class Exporter:
    """Answers `GET /metrics` on a port, once it is free.

    Args:
        host, port: where to listen.
        token: what a scrape must carry as `Authorization: Bearer`; None: nothing.
        render: makes the answer.
        content_type: of the answer.
    """

    def __init__(
        self, host: str, port: int, token: str | None, render: Callable[[], bytes], content_type: str
    ) -> None:
        self._address = (host, port)
        self._token = token
        self._render = render
        self._content_type = content_type
        self._stopping = threading.Event()
        self._server: HTTPServer | None = None
        self._thread = threading.Thread(target=self._run, name="metrics-exporter", daemon=True)

    def start(self) -> None:
        """Listen, or wait until whoever listens there ends."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        self._stopping.set()
        if self._server is not None:
            self._server.shutdown()
        self._thread.join(RETRY_S)

    def _run(self) -> None:
        handler = _make_handler(self._token, self._render, self._content_type)
        while not self._stopping.is_set():
            try:
                server = _Server(self._address, handler)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:  # else another replica of the node answers
                    logger.warning("metrics: cannot listen on %s:%d: %s", *self._address, error.strerror)
                self._stopping.wait(RETRY_S)
                continue
            logger.info("metrics of this node: http://%s:%d%s", *self._address, PATH)
            with server:
                self._server = server
                server.serve_forever(poll_interval=1.0)

    @property
    def is_listening(self) -> bool:
        """Whether it is this one that answers."""
        return self._server is not None


class _Server(HTTPServer):
    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller who goes away in the middle is not worth a traceback."""
        logger.debug("metrics: a caller has gone")


def _make_handler(
    token: str | None, render: Callable[[], bytes], content_type: str
) -> type[BaseHTTPRequestHandler]:
    expected = None if token is None else f"Bearer {token}".encode()

    class Handler(BaseHTTPRequestHandler):
        timeout = READ_TIMEOUT_S
        server_version = "Rollcall"
        sys_version = ""

        def setup(self) -> None:
            super().setup()
            # `timeout` bounds each wait for a byte, not all of them together.
            self._deadline = threading.Timer(self.timeout, self._hang_up)
            self._deadline.daemon = True
            self._deadline.start()

        def finish(self) -> None:
            self._deadline.cancel()
            super().finish()

        def _hang_up(self) -> None:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            sent = self.headers.get("Authorization", "").encode()
            if expected is not None and not hmac.compare_digest(sent, expected):
                self.send_error(HTTPStatus.UNAUTHORIZED)
                return
            try:
                answer = render()
            except (OSError, ValueError):
                logger.exception("metrics cannot be read")
                self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
