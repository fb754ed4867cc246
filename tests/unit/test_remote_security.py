"""Which stores beyond this machine are refused, and what makes them right."""

from __future__ import annotations

from typing import Any

import pytest

from serving.errors import ConfigurationError
from serving.settings import load_settings
from serving.settings.remote_security import is_this_machine


def qdrant(url: str, **more: object) -> dict[str, Any]:
    return {"gallery": {"engine": "server", "url": url} | more}


def postgres(url: str, **more: object) -> dict[str, Any]:
    return {"database_url": url, "database": more}


def redis(url: str, **more: object) -> dict[str, Any]:
    return {"rate_limits": {"redis_url": url} | more}


@pytest.mark.parametrize(
    ("settings", "faults"),
    [
        (qdrant("http://127.0.0.1:6333"), []),
        (qdrant("http://localhost:6333"), []),
        (qdrant("http://[::1]:6333"), []),
        (qdrant("http://db.internal:6333"), ["without TLS", "asks for no key"]),
        (qdrant("http://db.internal:6333", api_key="k"), ["without TLS"]),
        (qdrant("http://db.internal:6333", api_key="k", prefer_grpc=True), ["without TLS"]),
        (qdrant("https://db.internal:6333"), ["asks for no key"]),
        (qdrant("https://db.internal:6333", api_key=""), ["asks for no key"]),
        (qdrant("https://db.internal:6333", api_key="k"), []),
        (qdrant("http://10.0.0.7:6333", allow_insecure=True), []),
        (qdrant("http://10.0.0.7:6333", engine="embedded"), []),
        (postgres("postgresql://u@127.0.0.1/d"), []),
        (postgres("postgresql://u@localhost:5432/d"), []),
        (postgres("postgresql:///d?host=/var/run/postgresql"), []),
        (postgres("postgresql:///d"), []),
        (postgres("sqlite:////srv/registry.sqlite3"), []),
        (postgres("postgresql://u:p@db.internal/d"), ["without TLS"]),
        (postgres("postgres://u:p@db.internal/d"), ["without TLS"]),
        (postgres("postgresql+asyncpg://u:p@db.internal/d"), ["without TLS"]),
        (postgres("postgresql://u:p@db.internal/d?sslmode=disable"), ["without TLS"]),
        (postgres("postgresql://u:p@db.internal/d?sslmode=prefer"), ["without TLS"]),
        (postgres("postgresql://u@/d?host=127.0.0.1:5432&host=db.internal:5432"), ["without TLS"]),
        (postgres("postgresql://u@/d?host=[::1]:5432"), []),
        (postgres("postgresql://u:p@db.internal/d?sslmode=require"), []),
        (postgres("postgresql://u:p@db.internal/d?sslmode=verify-full&sslrootcert=/ca.pem"), []),
        (postgres("postgresql://u:p@db.internal/d", allow_insecure=True), []),
        (redis("redis://127.0.0.1:6379/0"), []),
        (redis("redis://:p@cache.internal:6379"), ["without TLS"]),
        (redis("rediss://:p@cache.internal:6379"), []),
        (redis("redis://:p@cache.internal:6379", allow_insecure=True), []),
        ({**qdrant("https://q.internal"), **redis("redis://r.internal")}, ["asks for no key", "without TLS"]),
    ],
    ids=str,
)
def test_a_store_elsewhere_is_secured_or_the_start_is_refused(
    settings: dict[str, Any], faults: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    if not faults:
        load_settings(settings)
        return
    with pytest.raises(ConfigurationError) as caught:
        load_settings(settings)
    said = caught.value.detail.split("; ")
    assert [fault for fault in faults if fault in caught.value.detail] == faults
    assert sum("is beyond this machine" in part for part in said) == len(faults)
    assert caught.value.detail.count("allow_insecure: true") == len(faults)
    assert ":p@" not in caught.value.detail


@pytest.mark.parametrize(("variable", "value"), [("PGHOST", "db.internal"), ("PGHOST", "10.1.2.3")])
def test_a_host_from_the_environment_counts(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=value):
        load_settings(postgres("postgresql:///d"))
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    load_settings(postgres("postgresql:///d"))


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("api.localhost", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("/run/postgresql", True),
        (None, True),
        ("localhost.evil.example", False),
        ("127.0.0.1.nip.io", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("qdrant", False),
    ],
)
def test_what_this_machine_is(host: str | None, is_here: bool) -> None:
    assert is_this_machine(host) is is_here
