"""Serve's own configuration of HAProxy, a backend that tells what reached it, and the proxy between them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from serving.front.haproxy import FrontOptions, find_command
from serving.runtime import find_free_port

SLOW_S = 3.0
"""Longer than the idle timeout of the tests: a client that waits for its answer is not idle."""


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers that came in."""

    protocol_version = "HTTP/1.1"
    server_version = "secret-server/1"

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(SLOW_S)
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer()

    def _answer(self) -> None:
        body = json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/page":
            self.send_header("X-Frame-Options", "SAMEORIGIN")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Proxy:
    """Where it listens, and the file it reads."""

    port: int
    statistics_port: int
    metrics_port: int
    config: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self, context: ssl.SSLContext | None = None) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return plain if context is None else context.wrap_socket(plain, server_hostname="localhost")


def write_config(folder: Path, backend_port: int) -> Proxy:
    """As Ray's template has it, before anything is amended."""
    from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
    from ray.serve.config import HTTPOptions

    proxy = Proxy(find_free_port(), find_free_port(), find_free_port(), folder / "haproxy.cfg")
    config = HAProxyConfig(
        http_options=HTTPOptions(host="127.0.0.1", port=proxy.port),
        stats_port=proxy.statistics_port,
        metrics_port=proxy.metrics_port,
        socket_path=str(folder / "admin.sock"),
        server_state_base=str(folder),
        server_state_file=str(folder / "state"),
        metrics_socket_path=str(folder / "metrics.sock"),
        is_head=True,
        has_received_routes=True,
        has_received_servers=True,
    )
    backend = BackendConfig(
        name="rollcall", path_prefix="/", servers=[ServerConfig("one", "127.0.0.1", backend_port)]
    )
    HAProxyApi(config, {"rollcall": backend}, str(proxy.config))._generate_config_file_internal()
    (folder / "state").touch()
    return proxy


@contextlib.contextmanager
def run_proxy(folder: Path, options: FrontOptions) -> Iterator[Proxy]:
    """The real program over Ray's real configuration, before a backend."""
    command = find_command()
    assert command is not None, "rollcall-haproxy is not installed: make test installs it"
    backend = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    proxy = write_config(folder, backend.server_port)
    environment = {**os.environ, **options.to_environment()}
    process = subprocess.Popen(
        [command, "-db", "-f", str(proxy.config)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", proxy.port), 1):
                break
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.05)
        yield proxy
    finally:
        process.kill()
        process.wait(10)
        backend.shutdown()
        backend.server_close()
