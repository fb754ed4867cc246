"""A web server for tests of downloads: it serves files with ranges, and misbehaves on request."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FileServer:
    """Files by path, and how to answer.

    faults: taken one for each request, in turn, then the server behaves: "drop" cuts the connection half way,
    "ignore range" answers 200 with all of it, "lie" gives the range although the file has changed, a number
    is a status, a pair a status and the value of Retry-After. requests: path, Range and If-Range of each.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Any] = field(default_factory=list)
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    tags: bool = True
    lengths: bool = True
    url: str = ""

    @property
    def ranges(self) -> list[str | None]:
        """The Range of each request."""
        return [asked for _, asked, _ in self.requests]


def tag_of(data: bytes) -> str:
    """The ETag of a file."""
    return f'"{hashlib.sha256(data).hexdigest()[:16]}"'


@contextmanager
def serve_files() -> Iterator[FileServer]:
    """A FileServer on a free port of this machine while the block runs."""
    state = FileServer()
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
            with lock:
                state.requests.append((self.path, asked, condition))
                fault = state.faults.pop(0) if state.faults else None
            data = state.files.get(self.path)
            if isinstance(fault, int | tuple) or data is None:
                status, retry_after = fault if isinstance(fault, tuple) else (fault or 404, None)
                self.send_response(status)
                if retry_after is not None:
                    self.send_header("Retry-After", retry_after)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._answer(data, asked, condition, fault)

        def _answer(self, data: bytes, asked: str | None, condition: str | None, fault: Any) -> None:
            start = 0
            if asked and fault != "ignore range" and (condition == tag_of(data) or fault == "lie"):
                found = re.fullmatch(r"bytes=(\d+)-", asked)
                assert found is not None
                start = int(found[1])
            if start >= len(data) > 0 and start:
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = data[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            if state.tags:
                self.send_header("ETag", tag_of(data))
            if state.lengths:
                self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if fault == "drop" else body)
            self.close_connection = True

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
