"""What the doctor says of certificates, met over real handshakes."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from serving.commands import secret_certificates
from serving.commands.secret_files import make_secret_files
from serving.operations.doctor.certificates import Server, list_servers
from serving.operations.doctor.checks import Subject
from serving.settings import Settings
from tests.unit.operations.doctor_looks import look


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PostgreSQL's certificate is good for 20 days, the proxy's is over, the others are good for long."""
    folder = tmp_path / "secrets"
    make_secret_files(folder)
    for name, days in (("postgres", 20.0), ("proxy", -0.01)):
        (folder / f"{name}.pem").unlink()
        monkeypatch.setattr(secret_certificates, "CERTIFICATE_DAYS", days)
        make_secret_files(folder)
    return folder


@pytest.fixture
def ports(secrets: Path) -> Iterator[dict[str, int]]:
    """A listener for each; PostgreSQL's is asked for TLS first."""
    listening = {name: socket.create_server(("127.0.0.1", 0)) for name in ("postgres", "redis", "qdrant")}
    for name, listener in listening.items():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(secrets / f"{name}.pem", secrets / f"{name}.key")
        threading.Thread(target=_answer, args=(listener, context, name == "postgres"), daemon=True).start()
    yield {name: listener.getsockname()[1] for name, listener in listening.items()}
    for listener in listening.values():
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _answer(listener: socket.socket, context: ssl.SSLContext, is_postgres: bool) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            try:
                if is_postgres:
                    assert connection.recv(8) == bytes.fromhex("0000000804d2162f")
                    connection.sendall(b"S")
                context.wrap_socket(connection, server_side=True).recv(1)
            except OSError:
                continue


def with_settings(subject: Subject, **settings: object) -> Subject:
    given = {**subject.settings.model_dump(), **settings}
    return replace(subject, settings=Settings(_env_file=None, **given))  # type: ignore[call-arg]


def test_what_is_about_to_expire_is_named_and_what_is_over_fails(
    subject: Subject, secrets: Path, ports: dict[str, int]
) -> None:
    ours = with_settings(
        subject,
        gallery={
            "engine": "server",
            "url": f"https://127.0.0.1:{ports['qdrant']}",
            "ca_file": secrets / "ca.pem",
        },
        rate_limits={"redis_url": f"rediss://:x@127.0.0.1:{ports['redis']}/0"},
    )
    [row] = look("certificates", ours)
    assert row.status == "ok"
    assert row.seen.startswith("3 certificates, the first to expire on ")
    url = f"postgresql://rollcall:x@127.0.0.1:{ports['postgres']}/rollcall?sslmode=require"
    [row] = look("certificates", with_settings(ours, database_url=url))
    assert row.status == "warn"
    assert row.seen.startswith("the certificate of PostgreSQL (127.0.0.1) is good for less than a month")
    broken = secrets / "broken.pem"
    broken.write_text("none")
    web = {"tls_certificate": secrets / "proxy.pem"}
    rows = look("certificates", with_settings(subject, web=web, gallery={"ca_file": broken}))
    assert [row.status for row in rows] == ["fail", "fail"]
    assert "gallery.ca_file names, holds no certificate" in rows[0].seen
    assert f"{secrets / 'proxy.pem'} is no longer good: it expired on " in rows[1].seen


def test_where_nothing_speaks_tls_there_is_nothing_to_look_at(subject: Subject) -> None:
    [row] = look("certificates", with_settings(subject, rate_limits={"redis_url": "redis://127.0.0.1:1/0"}))
    assert (row.status, row.seen) == ("ok", "none to look at: nothing here speaks TLS")


def test_a_server_that_does_not_answer_is_not_taken_for_one_without_tls(subject: Subject) -> None:
    [row] = look("certificates", with_settings(subject, rate_limits={"redis_url": "rediss://127.0.0.1:1/0"}))
    assert row.seen == "none was shown: no answer from Redis"


def test_every_host_of_a_database_is_asked(subject: Subject) -> None:
    url = "postgresql://rollcall:x@/rollcall?host=a.cloud:25060&host=b.cloud&host=/run/x&sslmode=verify-full"
    servers = list_servers(replace(with_settings(subject, database_url=url), url="https://[::1]:8443/"))
    assert list(servers) == [
        Server("PostgreSQL", "a.cloud", 25060, True),
        Server("PostgreSQL", "b.cloud", 5432, True),
        Server("the service", "::1", 8443),
    ]
