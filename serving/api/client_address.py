"""From which address a request comes, as far as anybody vouches for it."""

from __future__ import annotations

import functools
import ipaddress
import os
from collections.abc import Sequence

from starlette.types import Scope

from serving.front.haproxy import PEER_HEADER, is_in_place

MAX_HEADER_CHARS = 2000
_PEER_HEADER = PEER_HEADER.encode()
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def find_address(scope: Scope, trusted_proxies: Sequence[str]) -> str | None:
    """The client's address; None where nobody vouches for one.

    Serve's proxy says who called it (`serving/front/haproxy.py`). If that is one of the trusted proxies, it
    has appended to `X-Forwarded-For` who called it in turn, and so on from the end of the list; the client is
    the first who is not trusted. What stands before that is the client's own invention. Where all are trusted
    the first of them is the client, unless it is this machine.

    Args:
        trusted_proxies: networks, as `WebSettings.trusted_proxies` holds them.

    Returns:
        IPv4 in dots, IPv6 in its shortest form and without a zone; IPv4 within IPv6 as IPv4.
    """
    if not _knows_peers():
        return None
    peers = [value for name, value in scope["headers"] if name == _PEER_HEADER]
    address = normalise_address(peers[0].decode("latin-1")) if len(peers) == 1 else None
    networks = _parse(tuple(trusted_proxies))
    if address is None or not _is_within(address, networks):
        return address
    sent = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    entries = sent.decode("latin-1").split(",")
    is_cut = len(sent) > MAX_HEADER_CHARS
    if is_cut:
        entries = sent[-MAX_HEADER_CHARS:].decode("latin-1").split(",")[1:]  # the first may be cut
    for entry in reversed(entries):
        seen = normalise_address(entry)
        if seen is None:
            return None if entry.strip() else _unless_loopback(address)
        address = seen
        if not _is_within(address, networks):
            return address
    return None if is_cut else _unless_loopback(address)


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


@functools.cache
def _knows_peers() -> bool:
    """Otherwise the header that says who called could be the client's own."""
    return is_in_place(os.environ)


@functools.lru_cache(maxsize=8)
def _parse(networks: tuple[str, ...]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(each) for each in networks)


def _is_within(address: str, networks: tuple[_Network, ...]) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed in network for network in networks)


def _unless_loopback(address: str) -> str | None:
    return None if ipaddress.ip_address(address).is_loopback else address
