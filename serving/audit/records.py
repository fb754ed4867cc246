"""Entries of the audit trail, and what may stand in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from serving.database.metadata import now_utc

MAX_DETAILS = 16
MAX_TEXT_CHARS = 128
MAX_LIST_ITEMS = 20


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, to which event and person, when, from where, with what outcome.

    Attributes:
        actor_kind: "account", "api_key", "service" (a scheduled job) or "anonymous".
        actor_id: id of the account or key.
        actor: name of the account; of a key, of the account that made it.
        action: such as `people.enrol`; docs/audit.md lists them.
        event_key, event_id, person_id: what it was done to. An id says which event was meant also when there
            is none; the key says which one it was.
        outcome: `ok`, or the code of the error.
        status: of the HTTP answer.
        address: of the client, where a trusted proxy vouches for it.
        details: counts and ids only; `clean_details` sees to that.
        at: aware, in UTC.
        id: set when it was read back; a later entry has a larger one.
    """

    actor_kind: str
    action: str
    outcome: str = "ok"
    actor_id: str | None = None
    actor: str | None = None
    event_key: str | None = None
    event_id: str | None = None
    person_id: str | None = None
    status: int | None = None
    address: str | None = None
    request_id: str | None = None
    details: Mapping[str, Any] | None = None
    at: datetime = field(default_factory=now_utc)
    id: int | None = None


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """Which entries are wanted; None leaves a side open.

    Attributes:
        events: ids of the events whose entries the reader may see, None for all entries there are. Entries
            of no event, and of deleted ones whose ids other events have now, are among these only.
        event, person, actor, action, outcome: equal to that.
        since, until: aware moments; `since` is within, `until` is not.
    """

    events: frozenset[str] | None = None
    event: str | None = None
    person: str | None = None
    actor: str | None = None
    action: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def clean_details(details: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What of `details` may be kept: numbers, flags, short texts, short lists of short texts.

    Everything else is left out: no list of numbers, which might be a face, nor bytes, nor anything long.
    """
    kept = {}
    for name, value in list((details or {}).items())[:MAX_DETAILS]:
        if isinstance(value, (bool, int)) or _is_short_text(value):
            kept[str(name)[:MAX_TEXT_CHARS]] = value
        elif isinstance(value, (list, tuple)) and all(map(_is_short_text, value)):
            kept[str(name)[:MAX_TEXT_CHARS]] = list(value[:MAX_LIST_ITEMS])
    return kept or None


def _is_short_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT_CHARS and value.isprintable()
