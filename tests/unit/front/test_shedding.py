"""What the proxy refuses by itself, when Serve's own backends hold as much as they may."""

from __future__ import annotations

import http.client
import importlib
import json
import pkgutil
import re
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

import serving.api.routes
from serving.api.route_index import RouteIndex
from serving.errors import Overloaded
from serving.front.haproxy import FrontOptions, find_command
from serving.front.shedding import RECOGNITION_PATHS, add_shedding
from tests.unit.front.proxies import Proxy, run_proxy


def test_the_paths_are_those_of_the_routes_that_recognise() -> None:
    modules = pkgutil.iter_modules(serving.api.routes.__path__)
    found = [importlib.import_module(f"serving.api.routes.{module.name}") for module in modules]
    index = RouteIndex.of(module.router for module in found if hasattr(module, "router"))
    assert any(facts.is_recognition for facts in index.routes)
    for facts in index.routes:
        path = re.sub(r"\{\w+\}", "some-id", facts.path)
        is_refused = facts.method == "POST" and re.search(RECOGNITION_PATHS, path) is not None
        assert is_refused == facts.is_recognition, facts


def test_without_a_bound_or_a_backend_nothing_is_added() -> None:
    assert add_shedding("    use_backend one if is_one\n", 0) == "    use_backend one if is_one\n"
    assert add_shedding("frontend http_frontend\n", 5) == "frontend http_frontend\n"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    if find_command() is None:
        pytest.skip("rollcall-haproxy is not installed")
    with run_proxy(tmp_path_factory.mktemp("shedding"), FrontOptions(max_pending_requests=1)) as running:
        yield running


def ask(
    proxy: Proxy, method: str, path: str, body: bytes = b"", request_id: str = "mine-1"
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    try:
        connection.request(method, path, body, {"X-Request-ID": request_id})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def ask_until(
    proxy: Proxy, status: int, route: str, body: bytes = b""
) -> tuple[http.client.HTTPResponse, bytes]:
    """The first answer to a POST that has this status: a place is taken, and free again, a moment later."""
    until = time.monotonic() + 30
    while (found := ask(proxy, "POST", route, body))[0].status != status:
        assert time.monotonic() < until, found[0].status
    return found


def hold_place(proxy: Proxy) -> socket.socket:
    """A request that is under way until this is closed: not all that it announces is sent."""
    held = proxy.connect()
    held.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234")
    return held


def test_recognitions_alone_are_refused_while_no_replica_has_a_place(proxy: Proxy) -> None:
    """A body larger than the proxy's buffer has been sent whole when the refusal is read."""
    route, picture = "/v1/events/gala/recognise?top_k=1", bytes(300_000)
    ask_until(proxy, 200, route, picture)
    held = hold_place(proxy)
    found = ask_until(proxy, 503, route, picture)
    answer, body = found
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Retry-After"] == "1"
    problem = json.loads(body)
    assert problem["code"] == Overloaded.code
    assert problem["request_id"] == answer.headers["X-Request-ID"] == "mine-1"
    for request_id, is_kept in (
        ('x" y', False),
        ("x" * 129, False),
        ("x" * 128, True),
        ('"door\\7",/%[src]', True),
    ):
        odd_answer, odd_body = ask(proxy, "POST", "/v1/detect", request_id=request_id)
        assert odd_answer.status == 503
        assert json.loads(odd_body)["request_id"] == odd_answer.headers["X-Request-ID"]
        assert (odd_answer.headers["X-Request-ID"] == request_id) == is_kept
    assert ask(proxy, "POST", "/v1/events/gala/people", picture)[0].status == 200
    assert ask(proxy, "GET", "/v1/events")[0].status == 200
    held.close()
    ask_until(proxy, 200, route, picture)


def count_under_way(proxy: Proxy) -> int:
    """Requests that the proxy has passed on to the backend, and whose answers have not ended."""
    told = httpx.get(f"http://127.0.0.1:{proxy.metrics_port}/metrics").text
    found = re.search(
        r'^haproxy_backend_current_sessions\{proxy="[^"]*rollcall"\} (\d+)$', told, re.MULTILINE
    )
    assert found is not None, told
    return int(found[1])


def test_live_streams_take_no_place_from_recognitions(proxy: Proxy) -> None:
    """A replica holds places for their frames only, so the bound of the proxy is the replicas' own."""
    route = "/v1/events/gala/recognise"
    streams = [proxy.connect() for _ in range(3)]
    try:
        for stream in streams:
            # The answer to these headers is not read, and what is announced not sent: it stays under way.
            stream.sendall(
                b"POST /v1/events/gala/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234"
            )
        until = time.monotonic() + 30
        while count_under_way(proxy) < len(streams):
            assert time.monotonic() < until
        assert ask(proxy, "POST", route)[0].status == 200
        streams.append(hold_place(proxy))
        ask_until(proxy, 503, route)
    finally:
        for stream in streams:
            stream.close()
    ask_until(proxy, 200, route)
