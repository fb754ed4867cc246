"""From which address a request comes, as far as anybody vouches for it."""

from __future__ import annotations

import ipaddress

from starlette.types import Scope

MAX_HEADER_CHARS = 2000


def find_address(scope: Scope, trusted_proxies: int) -> str | None:
    """The client's address, as the outermost trusted proxy saw it; None when there is no such proxy.

    Each proxy appends the address that it was called from to `X-Forwarded-For`, so the entry that counts is
    the `trusted_proxies`-th from the end; what stands before it is the client's own invention. The peer of
    the connection says nothing: it is Serve's proxy, which appends nothing.

    Returns:
        IPv4 in dots, IPv6 in its shortest form and without a zone; IPv4 within IPv6 as IPv4.
    """
    if trusted_proxies == 0:
        return None
    sent = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    entries = sent[-MAX_HEADER_CHARS:].decode("latin-1").split(",")
    if len(entries) < trusted_proxies:
        return None
    return normalise_address(entries[-trusted_proxies])


def normalise_address(text: str) -> str | None:
    """The address in `text`, which may carry a port, in its one form; None when it is none."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.compressed


def network_of(address: str) -> str:
    """What limits go by: an IPv4 address, or the /64 that an IPv6 client has to itself."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed.compressed
    return ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)).compressed
