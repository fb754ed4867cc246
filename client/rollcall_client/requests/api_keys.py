"""Made by client_generator from docs/openapi.json: requests of api_keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rollcall_client.bodies import JsonBody
from rollcall_client.models import ApiKeyPage, MadeApiKey, Scope
from rollcall_client.request import Request, drop_none, fill_path


def create_api_key(
    *,
    name: str,
    scopes: Sequence[Scope],
    events: Sequence[str] | None = None,
    all_events: bool | None = None,
    expires_at: datetime | None = None,
) -> Request[MadeApiKey]:
    """Make an API key."""
    return Request(
        "POST",
        "/v1/api-keys",
        MadeApiKey,
        body=JsonBody(
            drop_none(
                {
                    "name": name,
                    "scopes": scopes,
                    "events": events,
                    "all_events": all_events,
                    "expires_at": expires_at,
                }
            )
        ),
        takes_timeout=True,
    )


def list_api_keys(*, cursor: str | None = None, limit: int | None = None) -> Request[ApiKeyPage]:
    """List API keys."""
    return Request(
        "GET",
        "/v1/api-keys",
        ApiKeyPage,
        query={"cursor": cursor, "limit": limit},
        can_repeat=True,
    )


def revoke_api_key(key: str) -> Request[None]:
    """Revoke an API key."""
    return Request(
        "DELETE",
        fill_path("/v1/api-keys/{key}", key=key),
        None,
        can_repeat=True,
    )
