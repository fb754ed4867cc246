"""What is looked at before a WebSocket is accepted: whose page opens it, and what it brings along."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fastapi import WebSocket

from serving.errors import ForeignOrigin, InvalidRequest

PROTOCOL = "rollcall.v1"
"""The subprotocol that the service answers with."""
BEARER_PREFIX = "bearer."
"""Of the subprotocol in which a browser, which can set no header, may send a token or key."""
SCHEMES = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Offer:
    """What the handshake says.

    Attributes:
        credential: a token or an API key; None: the first message will say.
        protocol: what is to be answered as subprotocol.
    """

    credential: str | None
    protocol: str | None


def read_offer(websocket: WebSocket) -> Offer:
    """The credential and the subprotocol of a handshake.

    Raises:
        InvalidRequest: several credentials, or subprotocols of which none is ours.
    """
    found = []
    authorization = websocket.headers.get("authorization", "")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        found.append(token.strip())
    if key := websocket.headers.get("x-api-key"):
        found.append(key)
    offered = [str(each) for each in websocket.scope.get("subprotocols", ())]
    found += [each.removeprefix(BEARER_PREFIX) for each in offered if each.startswith(BEARER_PREFIX)]
    if len(found) > 1:
        raise InvalidRequest("send one credential: a header, or a subprotocol, not both")
    if offered and PROTOCOL not in offered:
        raise InvalidRequest(f"the subprotocol of this route is {PROTOCOL}")
    return Offer(found[0] if found else None, PROTOCOL if offered else None)


def check_origin(websocket: WebSocket, allowed: Collection[str]) -> None:
    """Let in the service's own pages, those of allowed origins, and whoever is no browser.

    A browser sends `Origin` with every WebSocket and lets any page open one; nothing but this look keeps
    another site's page out.

    Raises:
        ForeignOrigin: the page is another's.
    """
    given = websocket.headers.getlist("origin")
    if not given:
        return
    origin = given[0].lower()
    if len(given) > 1 or not (origin in allowed or _is_own(origin, websocket.headers.getlist("host"))):
        raise ForeignOrigin


def _is_own(origin: str, hosts: list[str]) -> bool:
    scheme, separator, place = origin.partition("://")
    if not separator or scheme not in SCHEMES or len(hosts) != 1:
        return False
    host = hosts[0].lower()
    return place == host or host == f"{place}:{SCHEMES[scheme]}"
