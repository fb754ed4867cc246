"""What the database says of a request's credentials, in one look-up: so that revocation holds at once.

Each unit of work is one statement by primary keys (a second one for a key that reaches all events of an
account which does not, and for a bound token of an account that does), and reads as many rows as the account
or key is bound to events, at most MAX_EVENTS, or as a token names, as many as fit into it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, select

from serving.accounts.identities import Identity, Role, Scope
from serving.accounts.tables import account, account_event, api_key, api_key_event, session
from serving.accounts.tokens import TokenClaims
from serving.database import Database
from serving.database.metadata import now_utc
from serving.errors import ApiKeyInvalid, TokenRevoked
from serving.registry.identifiers import is_event_id
from serving.registry.tables import IS_OPEN, event

MAX_EVENTS = 100
"""Events that one account or key may be bound to: each of its requests reads them."""

KEY_PREFIX = "rck_"
_MAX_KEY_CHARS = 128
_NO_HASH = "0" * 64

_RANK = {role: rank for rank, role in enumerate(Role)}

_ACCOUNT = (
    select(
        account.c.name,
        account.c.role,
        account.c.disabled_at,
        account.c.all_events,
        account.c.tokens_valid_from,
        session.c.revoked_at,
        session.c.expires_at,
        event.c.created_at,
        event.c.id,
    )
    .select_from(
        account.outerjoin(
            session, and_(session.c.id == bindparam("session"), session.c.account_id == account.c.id)
        )
        .outerjoin(account_event, account_event.c.account_id == account.c.id)
        .outerjoin(event, and_(event.c.key == account_event.c.event_key, IS_OPEN))
    )
    .where(account.c.id == bindparam("account"))
)
_NAMED = select(event.c.created_at, event.c.id).where(
    event.c.id.in_(bindparam("ids", expanding=True)), IS_OPEN
)
_KEY = (
    select(
        api_key.c.secret_hash,
        api_key.c.scopes,
        api_key.c.all_events,
        api_key.c.expires_at,
        api_key.c.revoked_at,
        account.c.id,
        account.c.name,
        account.c.role,
        account.c.disabled_at,
        account.c.all_events,
        event.c.id,
        account_event.c.event_key,
    )
    .select_from(
        api_key.join(account, account.c.id == api_key.c.account_id)
        .outerjoin(api_key_event, api_key_event.c.api_key_id == api_key.c.id)
        .outerjoin(event, and_(event.c.key == api_key_event.c.event_key, IS_OPEN))
        .outerjoin(
            account_event,
            and_(
                account_event.c.account_id == account.c.id,
                account_event.c.event_key == api_key_event.c.event_key,
            ),
        )
    )
    .where(api_key.c.id == bindparam("key"))
)
_REACH = (
    select(event.c.id)
    .select_from(account_event.join(event, and_(event.c.key == account_event.c.event_key, IS_OPEN)))
    .where(account_event.c.account_id == bindparam("account"))
)


class AccessCheck:
    """Decides who a request comes from, by credentials whose form and signature have been checked.

    Args:
        database: open by the time of the first call.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def identify_bearer(self, claims: TokenClaims) -> Identity:
        """The caller that a verified token stands for at this moment.

        The role is the lesser of the token's and the account's; the reach is what both allow. A token that
        names events reaches those of them that were there when it was made: one made anew under the id of
        another, be it by somebody else, is not the one that was meant.

        Raises:
            TokenRevoked: the account is gone or disabled, the session over, or the token withdrawn.
        """
        for id in (claims.subject, claims.session_id):
            if id is not None and not (id.isascii() and id.isalnum()):
                raise TokenRevoked  # no id of ours; PostgreSQL would not even take a NUL
        return await self._database.look_up(_identify_bearer, claims)

    async def identify_key(self, text: str) -> Identity:
        """The caller that an API key, `rck_<id>_<secret>`, stands for at this moment.

        Raises:
            ApiKeyInvalid: unknown, expired, revoked, or its account is disabled.
        """
        key_id, secret_hash = _read_key(text)
        return await self._database.look_up(_identify_key, key_id, secret_hash)


def hash_secret(secret: str) -> str:
    """SHA-256, hexadecimal: enough for a secret of 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _read_key(text: str) -> tuple[str, str]:
    parts = text.split("_", 2)
    if len(text) > _MAX_KEY_CHARS or not text.isascii() or len(parts) != 3 or parts[0] != "rck":
        raise ApiKeyInvalid
    if not parts[1].isalnum():
        raise ApiKeyInvalid
    return parts[1], hash_secret(parts[2])


def _identify_bearer(connection: Connection, claims: TokenClaims) -> Identity:
    rows = connection.execute(_ACCOUNT, {"account": claims.subject, "session": claims.session_id}).all()
    if not rows:
        raise TokenRevoked("The account is gone.")
    name, role_text, disabled_at, all_events, valid_from, revoked_at, session_ends_at, _, _ = rows[0]
    if disabled_at is not None:
        raise TokenRevoked("The account is disabled.")
    if claims.session_id is None:
        if valid_from is not None and claims.issued_at < valid_from.timestamp():
            raise TokenRevoked
    elif session_ends_at is None or revoked_at is not None or session_ends_at <= now_utc():
        raise TokenRevoked("The session is over.")
    role = min(Role(role_text), claims.role, key=_RANK.__getitem__)
    events: frozenset[str] | None = None
    if claims.events is not None:
        events = _collect_meant(_find_named(connection, claims.events) if all_events else rows, claims)
    elif not all_events:
        events = _collect(rows)
    return Identity(
        subject=name,
        kind="account",
        id=claims.subject,
        account_id=claims.subject,
        role=role,
        permissions=role.permissions,
        events=events,
        is_bound=claims.events is not None,
        session_id=claims.session_id,
        token_id=claims.token_id,
        expires_at=claims.expires_at,
    )


def _find_named(connection: Connection, event_ids: frozenset[str]) -> Sequence[Any]:
    ids = [each for each in event_ids if is_event_id(each)]
    return connection.execute(_NAMED, {"ids": ids}).all() if ids else []


def _collect_meant(rows: Sequence[Any], claims: TokenClaims) -> frozenset[str]:
    """Of the open events, (..., created_at, id), those that the token names and that are no younger than it.

    `iat` is in whole seconds, rounded down, so an event of the same second may be the older one.
    """
    assert claims.events is not None
    end = claims.issued_at + 1
    return frozenset(row[-1] for row in rows if row[-1] in claims.events and row[-2].timestamp() < end)


def _identify_key(connection: Connection, key_id: str, secret_hash: str) -> Identity:
    rows = connection.execute(_KEY, {"key": key_id}).all()
    stored_hash = rows[0][0] if rows else _NO_HASH
    if not hmac.compare_digest(stored_hash, secret_hash) or not rows:
        raise ApiKeyInvalid
    _, scopes, key_all, expires_at, revoked_at, account_id, name, role, disabled_at, account_all, _, _ = rows[
        0
    ]
    is_over = expires_at is not None and expires_at <= now_utc()
    if is_over or revoked_at is not None or disabled_at is not None:
        raise ApiKeyInvalid
    events: frozenset[str] | None
    if key_all:
        events = None
        if not account_all:
            granted = connection.execute(_REACH, {"account": account_id})
            events = frozenset(row[0] for row in granted)
    else:
        events = frozenset(row[-2] for row in rows if row[-2] and (account_all or row[-1]))
    allowed = frozenset().union(*(scope.permissions for scope in read_scopes(scopes)))
    return Identity(
        subject=name,
        kind="api_key",
        id=key_id,
        account_id=account_id,
        role=None,
        permissions=allowed & Role(role).permissions,
        events=events,
        is_bound=True,
        expires_at=None if expires_at is None else int(expires_at.timestamp()),
    )


def read_scopes(text: str) -> tuple[Scope, ...]:
    """The scopes in their stored form, in their own order."""
    stored = set(text.split())
    return tuple(scope for scope in Scope if scope.value in stored)


def _collect(rows: Sequence[Any]) -> frozenset[str]:
    return frozenset(row[-1] for row in rows if row[-1] is not None)
