"""A collector of traces for tests: takes OTLP over HTTP as a real one does, and decodes it."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

WAIT_S = 30.0


@dataclass(frozen=True)
class TakenSpan:
    """A span as it came: ids in hex, `parent` empty for a root, `links` as (trace, span)."""

    name: str
    trace: str
    id: str
    parent: str
    began_ns: int
    ended_ns: int
    links: tuple[tuple[str, str], ...]
    attributes: dict[str, Any]
    resource: dict[str, Any]
    kind: int
    status: int


@dataclass
class Collector:
    """Listens on a free loopback port.

    Attributes:
        answer: HTTP status it gives from now on.
        is_open: while it is cleared, requests hang.
        headers: of the last request.
    """

    answer: int = 200
    is_open: threading.Event = field(default_factory=threading.Event)
    spans: list[TakenSpan] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    requests: int = 0

    def __post_init__(self) -> None:
        self.is_open.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests += 1
                collector.is_open.wait(WAIT_S)
                if collector.answer == 200:
                    collector.take(body, dict(self.headers))
                payload = ExportTraceServiceResponse().SerializeToString()
                self.send_response(collector.answer)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        """Decode what came."""
        self.headers = {name.lower(): value for name, value in headers.items()}
        raw = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
        for group in ExportTraceServiceRequest.FromString(raw).resource_spans:
            resource = _read(group.resource.attributes)
            for span in (span for scope in group.scope_spans for span in scope.spans):
                self.spans.append(
                    TakenSpan(
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                        _read(span.attributes),
                        resource,
                        span.kind,
                        span.status.code,
                    )
                )

    def of_trace(self, trace: str) -> list[TakenSpan]:
        """What came of one trace so far."""
        return [span for span in list(self.spans) if span.trace == trace]

    def wait_for(self, is_there: Callable[[], bool]) -> None:
        """Until it is true; fails when it never is."""
        deadline = time.monotonic() + WAIT_S
        while not is_there():
            assert time.monotonic() < deadline, f"only these came: {sorted({s.name for s in self.spans})}"
            time.sleep(0.05)

    def close(self) -> None:
        """Let go of the port and of whoever hangs."""
        self.is_open.set()
        self._server.shutdown()
        self._server.server_close()


def _read(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
