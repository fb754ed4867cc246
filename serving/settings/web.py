"""How the service meets the web: TLS, proxies before it, browsers of other sites."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from pydantic import Field, field_validator

from serving.settings.section import Section

_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_HOST = re.compile(r"(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)*|[0-9.]+|\[[0-9a-f:.]+\]")


class WebSettings(Section):
    """What browsers are told, which proxies are believed, and what Serve's proxy is held to."""

    trusted_proxies: tuple[str, ...] = Field(
        ("127.0.0.0/8", "::1/128"),
        description="Networks of the proxies whose X-Forwarded-For is believed (docs/limits.md).",
    )
    cors_origins: tuple[str, ...] = Field(
        (),
        description="Exact origins, as `https://door.example.org`, whose pages may call the API; none: only "
        "its own pages may.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names that requests may be addressed to, `*.example.org` for all below; none: any. "
        "Health and metrics are asked under any name.",
    )
    https: bool = Field(
        False,
        description="Clients come by HTTPS alone, which ends in a proxy before the service: browsers are "
        "told to stay with it. Implied by tls_certificate.",
    )
    tls_certificate: Path | None = Field(
        None,
        description="PEM file of the key and the chain, on every node that listens: Serve's proxy speaks "
        "HTTPS itself (docs/security.md).",
    )
    header_timeout_s: int = Field(
        10, ge=1, le=300, description="In which Serve's proxy must have a request's headers, whole."
    )
    idle_timeout_s: int = Field(
        60, ge=2, le=3600, description="After which a client that neither sends nor takes is let go."
    )
    statistics_host: str = Field(
        "127.0.0.1", min_length=1, description="Where Serve's proxy shows its statistics, which ask nobody."
    )

    @field_validator("trusted_proxies", "cors_origins", "allowed_hosts", mode="before")
    @classmethod
    def _one_may_stand_alone(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        made = []
        for text in networks:
            try:
                network = ipaddress.ip_network(text.strip())
            except ValueError:
                raise ValueError(
                    f"{text!r} is no network, such as 10.0.0.0/8, fd00::/8 or 10.1.2.3"
                ) from None
            if network.prefixlen == 0:
                raise ValueError(f"{text!r} trusts everybody: any client could choose its address")
            made.append(network.compressed)
        return tuple(made)

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin: scheme, host in lower case and a port that is not the "
                    "scheme's own, no path, as https://door.example.org"
                )
        return origins

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(
                    f"{host!r} is no host name in lower case without a port, as rollcall.example.org"
                )
        return hosts

    @property
    def is_https(self) -> bool:
        """Whether clients come by HTTPS alone."""
        return self.https or self.tls_certificate is not None
