"""The exporter of a node answers whom it may, and another takes its place when it ends."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from serving.errors import ConfigurationError
from serving.runtime import find_free_port
from serving.settings import load_settings
from serving.telemetry import exporter as exporter_module
from serving.telemetry.exporter import Exporter


def wait_until_answered(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """The first answer; the test's own time limit ends the wait."""
    while True:
        try:
            return httpx.get(url, headers=headers)
        except httpx.ConnectError:
            continue


@pytest.fixture
def url() -> str:
    return choose_url()


def choose_url() -> str:
    return f"http://127.0.0.1:{find_free_port()}/metrics"


def make_exporter(url: str, answer: bytes = b"answer", token: str | None = None) -> Exporter:
    exporter = Exporter("127.0.0.1", httpx.URL(url).port or 0, token, lambda: answer, "text/plain")
    exporter.start()
    return exporter


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    url = choose_url()
    exporter = make_exporter(url, token="secret")
    wait_until_answered(url)
    yield url
    exporter.stop()


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [
        ("/metrics", "Bearer secret", 200),
        ("/metrics?x=1", "Bearer secret", 200),
        ("/metrics", "Bearer secreT", 401),
        ("/metrics", "secret", 401),
        ("/metrics", "Bearer s\u00e9cret", 401),
        ("/metrics", "", 401),
        ("/", "Bearer secret", 404),
    ],
)
def test_only_a_token_opens_it(guarded: str, path: str, header: str, status: int) -> None:
    address = httpx.URL(guarded).copy_with(raw_path=path.encode())
    headers = {"Authorization": header.encode()} if header else {}
    answer = httpx.get(address, headers=headers)
    assert answer.status_code == status
    assert (answer.content == b"answer") == (status == 200)


def test_it_listens_on_ipv6_too() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            port = probe.getsockname()[1]
    except OSError:
        pytest.skip("this machine has no IPv6")
    exporter = Exporter("::1", port, None, lambda: b"answer", "text/plain")
    exporter.start()
    try:
        assert wait_until_answered(f"http://[::1]:{port}/metrics").content == b"answer"
    finally:
        exporter.stop()


def test_another_replica_takes_over(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter_module, "RETRY_S", 0.05)
    first = make_exporter(url, b"first")
    assert wait_until_answered(url).content == b"first"
    second = make_exporter(url, b"second")
    assert httpx.get(url).content == b"first"
    first.stop()
    try:
        assert wait_until_answered(url).content == b"second"
    finally:
        second.stop()


def test_a_caller_who_sends_nothing_keeps_nobody_out_for_long(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter_module, "READ_TIMEOUT_S", 0.1)
    exporter = make_exporter(url)
    wait_until_answered(url)
    try:
        with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)):
            assert httpx.get(url, timeout=30).status_code == 200
    finally:
        exporter.stop()


def test_a_caller_who_sends_byte_by_byte_neither(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter_module, "READ_TIMEOUT_S", 1.0)
    exporter = make_exporter(url)
    wait_until_answered(url)
    has_answered = threading.Event()

    def drip(caller: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it is hung up on
            while not has_answered.wait(0.05):
                caller.sendall(b"x")

    with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)) as slow:
        slow.sendall(b"GET ")
        dripping = threading.Thread(target=drip, args=(slow,))
        dripping.start()
        try:
            assert httpx.get(url, timeout=30).status_code == 200
        finally:
            has_answered.set()
            dripping.join()
            exporter.stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "metrics.internal"])
def test_beyond_loopback_a_token_is_needed(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"needs metrics\.token"):
        load_settings({"metrics": {"port": 9464, "host": host}})
    with pytest.raises(ConfigurationError, match=r"metrics\.token"):  # as of a variable that is not set
        load_settings({"metrics": {"port": 9464, "host": host, "token": ""}})
    load_settings({"metrics": {"port": 9464, "host": host, "token": "secret"}})


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_none_is_needed(host: str) -> None:
    assert load_settings({"metrics": {"port": 9464, "host": host}}).metrics.token is None
