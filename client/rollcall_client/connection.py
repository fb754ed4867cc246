"""Where a service is and who asks, from arguments or the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx

from rollcall_client.conversation import Identity
from rollcall_client.retry import Retries
from rollcall_client.session import Session


def make_identity(
    url: str | None,
    token: str | None,
    api_key: str | None,
    session: Session | None,
    on_session: Callable[[Session], None] | None,
    timeout_s: float,
    retries: Retries,
    clock: Callable[[], float],
    environment: Mapping[str, str],
) -> Identity:
    """What all conversations of a client share.

    Raises:
        ValueError: see `Client`.
    """
    if sum(each is not None for each in (token, api_key, session)) > 1:
        raise ValueError("give one of token, api_key and session")
    found = url or environment.get("ROLLCALL_URL")
    if not found:
        raise ValueError("give the service's URL, or set ROLLCALL_URL")
    try:
        address = httpx.URL(found)
    except httpx.InvalidURL as error:
        raise ValueError(f"no URL of a service: {error}") from None
    if "@" in found or address.query or address.fragment:  # not quoted: it may hold a password
        raise ValueError("the service's URL must hold neither a user nor a query nor a fragment")
    if address.scheme not in ("http", "https") or not address.host:
        raise ValueError(f"no URL of a service: {found!r}; it begins with http:// or https://")
    if token is None and api_key is None and session is None:
        token = environment.get("ROLLCALL_TOKEN")
    for secret in (token, api_key, None if session is None else session.access_token):
        if secret is not None and not (secret.isascii() and secret.isprintable() and " " not in secret):
            # Never quoted: errors end in logs.
            raise ValueError("the token or API key holds a space, a line break or what is not ASCII")
    headers: dict[str, str] = {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if api_key:
        headers["X-API-Key"] = api_key
    return Identity(
        url=address,
        headers=headers,
        retries=retries,
        timeout_s=timeout_s,
        clock=clock,
        session=session,
        on_session=on_session,
    )
