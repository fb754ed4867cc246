"""Whose address a request is said to come from, and who can make that up: nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.api import client_address
from serving.api.client_address import find_address, network_of
from serving.front.haproxy import PATH_FLAG
from serving.settings import WebSettings

PROXIES = ("10.0.0.0/8", "2001:db8:ffff::/48", "127.0.0.0/8")
PEER = "10.0.0.1"


def make_scope(peer: str | None, *forwarded: str) -> dict:
    headers = [] if peer is None else [(b"x-rollcall-peer", peer.encode())]
    return {"headers": headers + [(b"x-forwarded-for", each.encode()) for each in forwarded]}


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["6.6.6.6"], "192.0.2.1"),  # from one who is no proxy it is an invention
        ("192.0.2.1", ["10.0.0.9"], "192.0.2.1"),
        (PEER, ["192.0.2.1"], "192.0.2.1"),
        (PEER, ["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        (PEER, ["6.6.6.6", "192.0.2.1"], "192.0.2.1"),
        (PEER, ["6.6.6.6, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        (PEER, ["6.6.6.6, 192.0.2.1, 2001:db8:ffff::7, 10.0.0.2:443"], "192.0.2.1"),
        (PEER, ["10.9.9.9, 10.0.0.2"], "10.9.9.9"),  # all are trusted: the first is the client
        (PEER, [], PEER),
        (PEER, [""], PEER),
        ("127.0.0.1", [], None),  # this machine is no client to tell apart
        ("127.0.0.1", ["127.0.0.1"], None),
        ("127.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        (PEER, ["2001:DB8:0::1"], "2001:db8::1"),
        (PEER, ["[2001:db8::1]:443"], "2001:db8::1"),
        (PEER, ["192.0.2.1:8080"], "192.0.2.1"),
        (PEER, ["::ffff:192.0.2.1"], "192.0.2.1"),
        ("::ffff:10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        (PEER, ["fe80::1%eth0"], "fe80::1"),
        (PEER, ["192.0.2.1, unknown"], None),
        (PEER, ["192.0.2.1, \u0661\u0662"], None),
        (PEER, ["1" * 5000], None),
        (PEER, ["x" * 5000 + ", 192.0.2.1"], "192.0.2.1"),
        (PEER, ["192.0.2.1" + ",10.0.0.2" * 1000], None),  # further back than anybody looks
        (PEER, ["11" + "192.0.2.1," * 300 + "10.0.0.2"], "192.0.2.1"),  # cut between entries, never within
        (None, ["192.0.2.1"], None),
        ("nonsense", ["192.0.2.1"], None),
    ],
)
def test_the_client_is_the_first_who_is_no_proxy(
    peer: str | None, forwarded: list[str], address: str | None
) -> None:
    assert find_address(make_scope(peer, *forwarded), PROXIES) == address


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


@given(
    st.text(max_size=60), ADDRESSES.filter(lambda each: not each.startswith(("10.", "127.", "2001:db8:ffff")))
)
def test_nothing_that_a_client_sends_changes_what_the_proxy_saw(invented: str, seen: str) -> None:
    encoded = invented.encode("utf-8", "replace").decode("latin-1")
    expected = find_address(make_scope(seen), PROXIES)
    assert expected is not None
    assert find_address(make_scope(PEER, f"{encoded}, {seen}"), PROXIES) == expected
    assert find_address(make_scope(seen, encoded), PROXIES) == expected


def test_without_our_proxy_nobody_vouches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATH_FLAG, raising=False)
    client_address._knows_peers.cache_clear()
    try:
        assert find_address(make_scope("192.0.2.1"), PROXIES) is None
    finally:
        client_address._knows_peers.cache_clear()


def test_two_peers_are_none() -> None:
    scope = make_scope("192.0.2.1")
    scope["headers"] *= 2
    assert find_address(scope, PROXIES) is None


@pytest.mark.parametrize("networks", ["0.0.0.0/0", "::/0", "10.0.0.1/8", "proxy.internal", "10.0.0.0/33"])
def test_networks_that_are_none_or_everybody_stop_the_start(networks: str) -> None:
    with pytest.raises(ValidationError):
        WebSettings(trusted_proxies=networks)  # type: ignore[arg-type]


def test_an_ipv6_client_has_one_limit_for_all_of_its_network() -> None:
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert network_of("192.0.2.1") == "192.0.2.1"
