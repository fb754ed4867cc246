"""Check of certificates: those that the service's servers show, and the files that settings name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from pydantic import SecretStr

from serving.operations.certificate_expiry import fetch_certificate, tell_expiry
from serving.operations.doctor.answers import find_url
from serving.operations.doctor.checks import Check, Finding, Subject, fail, ok, warn

TIMEOUT_S = 2.0
MOST_HOSTS = 4
"""Of one URL; with the timeout it bounds the check."""
MAX_FILE_BYTES = 1 << 20
"""A bundle of all public authorities is a quarter of it."""


class Server(NamedTuple):
    """Who shows a certificate: what it is, where, and whether it is asked in PostgreSQL's way."""

    name: str
    host: str
    port: int
    is_postgres: bool = False


def look_at_certificates(subject: Subject) -> Iterator[Finding]:
    found: list[tuple[str, x509.Certificate]] = []
    silent: list[str] = []
    for server in list_servers(subject):
        try:
            shown = fetch_certificate(
                server.host, server.port, timeout_s=TIMEOUT_S, is_postgres=server.is_postgres
            )
        except OSError:
            silent.append(server.name)  # its own check says why
            continue
        if shown is not None:
            found.append((f"the certificate of {server.name} ({server.host})", shown))
    for name, path in list_files(subject):
        try:
            pem = path.read_bytes()[:MAX_FILE_BYTES]
            found += [(f"a certificate in {path}", each) for each in x509.load_pem_x509_certificates(pem)]
        except (OSError, ValueError):
            yield fail(f"{path}, which {name} names, holds no certificate that can be read", "Correct it.")
    for place, certificate in found:
        expiry = tell_expiry(certificate)
        if expiry is not None and expiry.startswith("expired"):
            yield fail(
                f"{place} is no longer good: it {expiry}",
                "A new one: docs/secrets.md for those of `rollcall secrets`.",
            )
        elif expiry is not None:
            yield warn(
                f"{place} is good for less than a month: it {expiry}",
                "A new one: docs/secrets.md for those of `rollcall secrets`.",
            )
    if not found and silent:
        yield ok(f"none was shown: no answer from {' and '.join(silent)}")
    elif not found:
        yield ok("none to look at: nothing here speaks TLS")
    elif all(tell_expiry(each) is None for _, each in found):
        first = min(each.not_valid_after_utc for _, each in found)
        yield ok(f"{len(found)} certificates, the first to expire on {first:%Y-%m-%d}")


def list_servers(subject: Subject) -> Iterator[Server]:
    """Those that the settings and `--url` name, where their URLs ask for TLS."""
    settings = subject.settings
    yield from _read(settings.database_url, "PostgreSQL", ("postgresql", "postgres"), 5432)
    if settings.gallery.engine == "server" and settings.gallery.url is not None:
        yield from _read(settings.gallery.url, "Qdrant", ("https",), 6333)
    yield from _read(settings.rate_limits.redis_url, "Redis", ("rediss",), 6379)
    yield from _read(find_url(subject), "the service", ("https",), 443)


def list_files(subject: Subject) -> Iterator[tuple[str, Path]]:
    """Files of certificates, with the setting that names each."""
    settings = subject.settings
    for name, path in (
        ("gallery.ca_file", settings.gallery.ca_file),
        ("tracing.ca_file", settings.tracing.ca_file),
        ("web.tls_certificate", settings.web.tls_certificate),
    ):
        if path is not None:
            yield name, Path(path)


def _read(url: SecretStr | str | None, name: str, schemes: tuple[str, ...], port: int) -> Iterator[Server]:
    text = url.get_secret_value() if isinstance(url, SecretStr) else str(url or "")
    parts = urlsplit(text)
    scheme = parts.scheme.partition("+")[0]
    if scheme not in schemes:
        return
    query = parse_qs(parts.query)
    if scheme.startswith("postgres") and not query.get("sslmode", ["disable"])[0].startswith(
        ("verify", "require")
    ):
        return
    places = [parts.netloc.rpartition("@")[2]] if parts.hostname else query.get("host", [])
    for place in places[:MOST_HOSTS]:
        if place and not place.startswith("/"):
            one = urlsplit(f"//{place}")
            yield Server(name, one.hostname or "", one.port or port, scheme.startswith("postgres"))


CHECKS = (
    Check(
        "certificates", "how long those of stores, proxy and authorities are good", look_at_certificates, 20.0
    ),
)
