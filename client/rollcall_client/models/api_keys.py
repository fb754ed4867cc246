"""Made by client_generator from docs/openapi.json: answers of api_keys."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from rollcall_client.models.common import Scope
from rollcall_client.request import Answer


class ApiKeyView(Answer):
    """A key, without its secret."""

    id: str
    name: str
    account: str
    """Name of the account that made it."""
    scopes: list[Scope | str]
    all_events: bool
    events: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """To the minute."""
    revoked_at: datetime | None


class ApiKeyPage(Answer):
    """One page of keys."""

    api_keys: list[ApiKeyView]
    next_cursor: str | None
    """Give it as `cursor` to get the next page; null at the end."""


class MadeApiKey(Answer):
    """A key that was just made, with its text."""

    id: str
    name: str
    account: str
    """Name of the account that made it."""
    scopes: list[Scope | str]
    all_events: bool
    events: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """To the minute."""
    revoked_at: datetime | None
    key: str = Field(repr=False)
    """Shown this once. Send it as `X-API-Key` or `Authorization: Bearer`."""
