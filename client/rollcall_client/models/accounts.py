"""Made by client_generator from docs/openapi.json: answers of accounts."""

from __future__ import annotations

from datetime import datetime

from rollcall_client.models.common import Role
from rollcall_client.request import Answer


class AccountSummary(Answer):
    """An account in a list."""

    id: str
    """Never changes."""
    name: str
    role: Role | str
    disabled: bool
    has_password: bool
    """Whether it can sign in with a password."""
    all_events: bool
    """Whether it reaches every event."""
    created_at: datetime


class AccountPage(Answer):
    """One page of accounts."""

    accounts: list[AccountSummary]
    next_cursor: str | None
    """Give it as `cursor` to get the next page; null at the end."""


class AccountView(Answer):
    """An account."""

    id: str
    """Never changes."""
    name: str
    role: Role | str
    disabled: bool
    has_password: bool
    """Whether it can sign in with a password."""
    all_events: bool
    """Whether it reaches every event."""
    created_at: datetime
    events: list[str]
    """The events it reaches, unless all."""


class OwnPersonView(Answer):
    """The enrolled person that an account owns."""

    event_id: str
    person_id: str
