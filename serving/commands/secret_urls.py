"""URLs of the stores: made from a password, a host and the authority's file, or made to follow them.

Only these three parts of a URL that is there are ever touched; what an operator wrote around them stays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """The form of one store's URL.

    Attributes:
        file: where it is written.
        store: whose it is, as docker-compose.yml calls it.
        password_file: where its password is.
        schemes: the first is written; the others are taken for the same.
        authority: the query's parameter with the path of ca.pem.
    """

    file: str
    store: str
    password_file: str
    schemes: tuple[str, ...]
    user: str
    port: int
    path: str
    query: str
    authority: str

    def make(self, password: str, host: str, authority: str) -> str:
        """The whole URL."""
        query = f"{self.query}{self.authority}={quote(authority)}"
        place = f"{self.user}:{quote(password, safe='')}@{_bracket(host)}:{self.port}"
        return f"{self.schemes[0]}://{place}/{self.path}?{query}"

    def compare(self, url: str, password: str, host: str | None, authority: str | None) -> list[str]:
        """How a URL differs from what it should name, showing no secret; None: whatever it names."""
        parts = self._split(url)
        if parts is None:
            return [f"is not a {self.schemes[0]} URL with a password"]
        found = []
        _, its_password, _ = _split_place(parts)
        if unquote(its_password) != password:
            found.append(f"has another password than {self.password_file}")
        if host is not None and host not in (names := _hosts_of(parts)):
            found.append(f"names {', '.join(names)}, not {host}")
        if authority is not None and (its := self._authority_of(parts)) != authority:
            found.append(f"has {its or 'no file'} for the authority, not {authority}")
        return found

    def follow(self, url: str, password: str, host: str | None, authority: str | None) -> str | None:
        """The URL with another password, host or authority, and all else as it is; None if it is not one."""
        parts = self._split(url)
        if parts is None:
            return None
        user, _, places = _split_place(parts)
        query = parts.query
        if host is not None and host not in _hosts_of(parts):
            port = _places_of(parts)[0].rpartition("]")[2].partition(":")[2]
            places = f"{_bracket(host)}:{port or self.port}"
            query = _without(query, "host", "port")
        if authority is not None and self._authority_of(parts) != authority:
            others = _without(query, self.authority)
            query = f"{others}&{self.authority}={quote(authority)}".lstrip("&")
        netloc = f"{user}:{quote(password, safe='')}@{places}"
        return parts._replace(netloc=netloc, query=query).geturl()

    def _split(self, url: str) -> SplitResult | None:
        try:
            parts = urlsplit(url)
        except ValueError:  # half a bracket
            return None
        is_ours = parts.scheme.partition("+")[0] in self.schemes and "@" in parts.netloc
        return parts if is_ours else None

    def _authority_of(self, parts: SplitResult) -> str | None:
        found = re.search(rf"(?:^|&){self.authority}=([^&]*)", parts.query)
        return unquote(found[1]) if found else None


URLS = (
    StoreUrl(
        file="database_url",
        store="postgres",
        password_file="database_password",  # noqa: S106 - a file's name
        schemes=("postgresql", "postgres"),
        user="rollcall",
        port=5432,
        path="rollcall",
        query="sslmode=verify-full&",
        authority="sslrootcert",
    ),
    StoreUrl(
        file="redis_url",
        store="redis",
        password_file="redis_password",  # noqa: S106 - a file's name
        schemes=("rediss", "redis"),
        user="",
        port=6379,
        path="0",
        query="",
        authority="ssl_ca_certs",
    ),
)


def _split_place(parts: SplitResult) -> tuple[str, str, str]:
    """User, password as written, and places with their ports."""
    account, _, places = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    return user, password, places


def _places_of(parts: SplitResult) -> list[str]:
    """Hosts with their ports; where there are several they stand in the query."""
    places = _split_place(parts)[2]
    return places.split(",") if places else re.findall(r"(?:^|&)host=([^&]*)", parts.query) or [""]


def _hosts_of(parts: SplitResult) -> list[str]:
    return [_host_of(unquote(place)) for place in _places_of(parts)]


def _without(query: str, *parameters: str) -> str:
    return "&".join(pair for pair in query.split("&") if pair and pair.partition("=")[0] not in parameters)


def _host_of(place: str) -> str:
    host = place[1 : place.find("]")] if place.startswith("[") else place.partition(":")[0]
    return host.lower()


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host
