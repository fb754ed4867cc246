"""Made by client_generator from docs/openapi.json: answers of audit."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from rollcall_client.request import Answer


class AuditEntryView(Answer):
    """Who did what, to which event and person, when, from where, with what outcome."""

    id: int
    at: datetime
    actor_kind: Literal["account", "api_key", "service", "anonymous"] | str
    actor_id: str | None
    """Of the account or the key."""
    actor: str | None
    """Name of the account; of a key, of the account that made it."""
    action: str
    """docs/audit.md lists them."""
    event_id: str | None
    person_id: str | None
    outcome: str
    """`ok`, or the code of the error."""
    status: int | None
    """Of the answer; 499 when the caller had gone."""
    address: str | None
    """Of the client, where a trusted proxy vouches for it."""
    request_id: str | None
    details: dict[str, Any] | None
    """Counts and ids; never a face, a picture or a secret."""


class AuditPage(Answer):
    """A part of the trail, newest first."""

    entries: list[AuditEntryView]
    next_cursor: str | None
    """For the following page; null at the end. A page may be short and not be the last."""
