"""Serve's proxy as `rollcall-haproxy` starts it: the real HAProxy, over the configuration that Ray writes."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serving.commands.front import make_front_options
from serving.commands.secret_files import make_secret_files
from serving.errors import ConfigurationError
from serving.front.haproxy import (
    ANSWER_HEADERS,
    HSTS,
    NICENESS,
    PATH_FLAG,
    PEER_HEADER,
    TUNNEL_TIMEOUT_S,
    FrontOptions,
    UnknownConfigError,
    amend,
    find_command,
    is_in_place,
)
from serving.settings import LoadSettings, WebSettings
from tests.unit.front.proxies import Proxy, run_proxy, write_config


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    options = FrontOptions(header_timeout_s=1, idle_timeout_s=2)
    with run_proxy(tmp_path_factory.mktemp("front"), options) as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate of localhost, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls it's") / "site.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    path.chmod(0o600)
    return path


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def test_it_goes_before_all_else_where_its_user_may(proxy: Proxy) -> None:
    ask = f"import os; os.setpriority(os.PRIO_PROCESS, 0, {NICENESS})"
    may = subprocess.run([sys.executable, "-c", ask], stderr=subprocess.DEVNULL).returncode == 0
    (haproxy,) = (each for each in psutil.Process().children() if str(proxy.config) in each.cmdline())
    assert haproxy.nice() == (NICENESS if may else os.getpriority(os.PRIO_PROCESS, 0))


def test_who_called_is_said_by_the_proxy_and_by_nobody_else(proxy: Proxy) -> None:
    sent = [(PEER_HEADER, "6.6.6.6"), ("X-Rollcall-Peer", "7.7.7.7"), ("X-Forwarded-For", "8.8.8.8")]
    arrived = httpx.get(proxy.url, headers=sent).json()
    assert [value for name, value in arrived if name == PEER_HEADER] == ["127.0.0.1"]
    assert [value for name, value in arrived if name == "x-forwarded-for"] == ["8.8.8.8"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (["a"], True),
        (['!~"\\,/<%'], True),
        (["x" * 128], True),
        (["x" * 129], False),
        (["a b"], False),
        (["a\tb"], False),
        (["\xe9"], False),
        ([""], False),
        (["one", "two"], False),
        (["one", "a b"], False),
    ],
)
def test_request_ids_that_are_none_reach_nobody(proxy: Proxy, sent: list[str], kept: bool) -> None:
    headers = [(b"X-Request-Id", each.encode("latin-1")) for each in sent]
    arrived = httpx.get(proxy.url, headers=headers).json()
    assert [value for name, value in arrived if name == "x-request-id"] == (sent if kept else [])


@pytest.mark.parametrize(
    ("path", "timeouts"),
    [("/v1/events/gala/stream", ["0"]), ("/v1/events/gala/streams", []), ("/v1/events/a/b/stream", [])],
)
def test_a_live_stream_has_no_request_timeout_and_no_client_chooses_one(
    proxy: Proxy, path: str, timeouts: list[str]
) -> None:
    sent = [("X-Request-Timeout-Seconds", "-1"), ("X-Request-Timeout-Seconds", "0")]
    arrived = httpx.get(proxy.url + path, headers=[*sent, ("X-Request-Disconnect-Disabled", "?1")]).json()
    assert [value for name, value in arrived if name == "x-request-timeout-seconds"] == timeouts
    assert "x-request-disconnect-disabled" not in dict(arrived)
    offered = httpx.get(proxy.url + path, headers={"Sec-WebSocket-Extensions": "permessage-deflate"}).json()
    assert "sec-websocket-extensions" not in dict(offered)  # nobody's messages grow by being unpacked
    assert f"timeout tunnel {TUNNEL_TIMEOUT_S}s" in proxy.config.read_text()


@pytest.mark.parametrize("path", ["/", "/page", "/-/routes", "/-/healthz"])
def test_every_answer_is_guarded_the_proxys_own_too(proxy: Proxy, path: str) -> None:
    answer = httpx.get(proxy.url + path)
    expected = ANSWER_HEADERS | ({"X-Frame-Options": "SAMEORIGIN"} if path == "/page" else {})
    assert {name: answer.headers.get(name) for name in expected} == expected
    assert "server" not in answer.headers
    assert "strict-transport-security" not in answer.headers


def test_headers_that_trickle_in_are_cut_off_while_others_are_served(proxy: Proxy) -> None:
    slow = [proxy.connect() for _ in range(50)]
    began = time.monotonic()
    for each in slow:
        each.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    for _ in range(4):  # not silent, so it is the headers' own deadline that ends it
        time.sleep(0.2)
        for each in slow:
            each.sendall(b"a")
    assert httpx.get(proxy.url).status_code == 200
    for each in slow:
        assert read_to_end(each).startswith(b"HTTP/1.1 408")
        each.close()
    assert time.monotonic() - began < 20


def test_a_body_that_stops_is_let_go(proxy: Proxy) -> None:
    with proxy.connect() as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        answer = read_to_end(slow)
    assert not answer or answer.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400"))


def test_who_waits_for_an_answer_is_not_idle(proxy: Proxy) -> None:
    assert httpx.get(f"{proxy.url}/slow", timeout=30).status_code == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(500)) + b"\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n X-Folded: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["huge header", "many headers", "long path", "two lengths", "negative", "nul", "folded", "tls"],
)
def test_requests_that_are_none_end_at_the_proxy(proxy: Proxy, request_bytes: bytes) -> None:
    with proxy.connect() as connection:
        connection.sendall(request_bytes)
        answer = read_to_end(connection)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 408", b"HTTP/1.0 400"))


def test_both_lengths_of_a_body_reach_nobody_as_two_requests(proxy: Proxy) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    with proxy.connect() as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n"
            b"Connection: close\r\n\r\n0\r\n\r\n" + smuggled
        )
        assert read_to_end(connection).count(b"HTTP/1.1 ") == 1


def test_statistics_and_the_admin_socket_are_for_this_machine_and_user(proxy: Proxy) -> None:
    text = proxy.config.read_text()
    assert f"bind 127.0.0.1:{proxy.statistics_port}\n" in text
    assert f"bind 127.0.0.1:{proxy.metrics_port}\n" in text
    assert "mode 666" not in text
    assert (proxy.config.parent / "admin.sock").stat().st_mode & 0o077 == 0
    assert proxy.config.stat().st_mode & 0o077 == 0
    assert httpx.get(f"http://127.0.0.1:{proxy.metrics_port}/metrics").status_code == 200


def test_it_speaks_tls_by_itself(tmp_path: Path, certificate: Path) -> None:
    options = make_front_options(
        WebSettings(tls_certificate=certificate), LoadSettings(max_pending_requests=7)
    )
    trust = ssl.create_default_context(cafile=str(certificate))
    with run_proxy(tmp_path, options) as proxy:
        answer = httpx.get(f"https://localhost:{proxy.port}/", verify=trust)
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"] == HSTS
        old = ssl.create_default_context(cafile=str(certificate))
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, OSError)):
            proxy.connect(old)
        with proxy.connect() as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not read_to_end(plain).startswith(b"HTTP/1.1 200")


def test_certificates_that_would_not_do_stop_the_start(certificate: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o755)
        _refuse_certificates(Path(folder) / "site.pem", certificate)
        Path(folder).chmod(0o700)
        path = Path(folder) / "site.pem"
        front = make_front_options(WebSettings(tls_certificate=path), LoadSettings())
        assert front.tls_certificate == str(path), "others cannot enter the folder"


def test_the_certificate_that_secrets_init_makes_will_do(tmp_path: Path) -> None:
    make_secret_files(tmp_path / "secrets", ["127.0.0.1"])
    path = tmp_path / "secrets" / "proxy.pem"
    front = make_front_options(WebSettings(tls_certificate=path), LoadSettings())
    assert front.tls_certificate == str(path)


def _refuse_certificates(path: Path, certificate: Path) -> None:
    for text, mode, words in (
        (None, 0, "cannot be read"),
        ("nothing", 0o600, "must hold the private key"),
        (certificate.read_text(), 0o644, "chmod 600"),
    ):
        if text is not None:
            path.write_text(text)
            path.chmod(mode)
        with pytest.raises(ConfigurationError, match=words):
            make_front_options(WebSettings(tls_certificate=path), LoadSettings())


def test_a_configuration_of_another_form_starts_nothing(tmp_path: Path) -> None:
    """A Ray whose template has changed must not leave a proxy that says nothing of peers."""
    proxy = write_config(tmp_path, 1)
    plain = proxy.config.read_text()
    for line in ("frontend http_frontend", "listen stats", "timeout client", "mode 666"):
        assert line in plain
        with pytest.raises(UnknownConfigError):
            amend(plain.replace(line, "something else"), FrontOptions())
    proxy.config.write_text("global\n")
    done = subprocess.run(
        [str(find_command()), "-db", "-f", str(proxy.config)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "nothing is started" in done.stderr
    assert proxy.config.read_text() == "global\n"


def test_it_is_amended_once_and_options_travel_whole(tmp_path: Path) -> None:
    amended = amend(write_config(tmp_path, 1).config.read_text(), FrontOptions())
    assert amend(amended, FrontOptions(idle_timeout_s=9)) == amended
    options = FrontOptions("/etc/a b.pem", True, 3, 4, "::1", 5)
    assert FrontOptions.from_environment(options.to_environment()) == options
    assert FrontOptions.from_environment({}) == FrontOptions()
    assert is_in_place({PATH_FLAG: str(find_command())})
    assert not is_in_place({})
    assert not is_in_place({PATH_FLAG: "/usr/sbin/haproxy"})
