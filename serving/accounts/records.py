"""What the accounts return: immutable values, none of which carries a password, a secret or a hash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from serving.accounts.identities import Role, Scope


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may call the API.

    Attributes:
        id: never changes and is never used again; the subject of the account's tokens.
        name: unique.
        role: what the account may do.
        has_password: whether it can sign in with one.
        disabled_at: since when it may do nothing, or None.
        created_at: in UTC.
        all_events: whether it reaches every event.
        events: ids of the events it reaches if not all, in order; empty where a list of accounts leaves
            them out.
    """

    id: str
    name: str
    role: Role
    has_password: bool
    disabled_at: datetime | None
    created_at: datetime
    all_events: bool = True
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OwnedPerson:
    """The person record of an account.

    Attributes:
        event_key, event_id: of the event the person is enrolled at.
        person_id: unique within the event.
    """

    event_key: str
    event_id: str
    person_id: str


@dataclass(frozen=True, slots=True)
class SessionStart:
    """A sign-in or its renewal.

    Attributes:
        id: of the session.
        account: as it was at that moment.
        refresh_token: good once, for the next renewal; None for a session that cannot be renewed.
    """

    id: str
    account: Account
    refresh_token: str | None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key for a machine.

    Attributes:
        id: names it; part of the key itself.
        name: for people to read.
        account_id, account: the id and name of the account that made it.
        scopes: what it is for.
        all_events: whether it reaches every event that its account reaches.
        events: ids of the events it is bound to otherwise, in order.
        last_used_at: to the minute, or None.
        expires_at, revoked_at: or None.
    """

    id: str
    name: str
    account_id: str
    account: str
    scopes: tuple[Scope, ...]
    all_events: bool
    events: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
