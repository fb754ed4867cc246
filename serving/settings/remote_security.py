"""Whether a store beyond this machine is reached in a way that nobody between can read or change.

Face vectors, names and password hashes travel there, so a plain connection is refused unless the operator
says that the network is to be trusted.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from serving.settings.settings import Settings

TLS_MODES = frozenset({"require", "verify-ca", "verify-full"})
"""Values of PostgreSQL's sslmode that never fall back to a plain connection."""


@dataclass(frozen=True, slots=True)
class InsecureStore:
    """A store of the settings that is not secured.

    Attributes:
        key: the setting that names it.
        host: where it is; never a user or a password.
        fault: what is wrong.
        cure: what makes it right.
        switch: the setting that lets it be.
    """

    key: str
    host: str
    fault: str
    cure: str
    switch: str

    def __str__(self) -> str:
        return (
            f"{self.key}: {self.host} is beyond this machine and {self.fault}; {self.cure}, or set "
            f"{self.switch}: true where the network in between is trusted"
        )


def find_insecure_stores(settings: Settings) -> list[InsecureStore]:
    """The stores that the service must not use as they are configured; none where all is well."""
    found: list[InsecureStore] = []
    gallery = settings.gallery
    if gallery.engine == "server" and gallery.url is not None and not gallery.allow_insecure:
        found += _judge_qdrant(
            gallery.url, has_key=bool(gallery.api_key and gallery.api_key.get_secret_value())
        )
    if settings.database_url is not None and not settings.database.allow_insecure:
        found += _judge_postgres(settings.database_url.get_secret_value())
    limits = settings.rate_limits
    if limits.redis_url is not None and not limits.allow_insecure:
        found += _judge_redis(limits.redis_url.get_secret_value())
    return found


def is_this_machine(host: str | None) -> bool:
    """Whether a host name, an address or a socket's path stays on this machine; names are not looked up."""
    if not host or host.startswith("/"):
        return True
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _judge_qdrant(url: str, *, has_key: bool) -> Iterator[InsecureStore]:
    parts = urlsplit(url)
    if is_this_machine(parts.hostname):
        return
    host, switch = str(parts.hostname), "gallery.allow_insecure"
    if parts.scheme != "https":
        yield InsecureStore(
            "gallery.url", host, "is spoken to without TLS", "let the URL begin with https://", switch
        )
    if not has_key:
        yield InsecureStore("gallery.url", host, "asks for no key", "set gallery.api_key", switch)


def _judge_postgres(url: str) -> Iterator[InsecureStore]:
    parts = urlsplit(url)
    if parts.scheme.partition("+")[0] not in ("postgresql", "postgres"):
        return
    query = parse_qs(parts.query)
    hosts = [host.rpartition(":")[0] or host for host in query.get("host", [])]
    if not hosts:
        hosts = [parts.hostname or os.environ.get("PGHOST", "")]
    mode = (query.get("sslmode") or query.get("ssl") or [os.environ.get("PGSSLMODE", "")])[-1]
    if mode in TLS_MODES:
        return
    for host in hosts:
        if not is_this_machine(host):
            yield InsecureStore(
                "database_url",
                host,
                "may be spoken to without TLS",
                "add ?sslmode=verify-full&sslrootcert=/path/to/ca.pem to it",
                "database.allow_insecure",
            )


def _judge_redis(url: str) -> Iterator[InsecureStore]:
    parts = urlsplit(url)
    if parts.scheme == "redis" and not is_this_machine(parts.hostname):
        yield InsecureStore(
            "rate_limits.redis_url",
            str(parts.hostname),
            "is spoken to without TLS",
            "let the URL begin with rediss://",
            "rate_limits.allow_insecure",
        )
