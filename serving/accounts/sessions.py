"""Sign-ins: each is a session with a refresh token that is good once.

A refresh token is `rcr_<session id>_<secret>`; of the secret only the hash is stored. When one comes a second
time, either its owner or a thief holds a later one, so the whole session ends.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, select, update

from serving.accounts import account_rows
from serving.accounts.access_check import hash_secret
from serving.accounts.passwords import verify_password
from serving.accounts.records import OwnedPerson, SessionStart
from serving.accounts.tables import account, account_person, session
from serving.database import Database
from serving.database.metadata import now_utc
from serving.errors import RollcallError, SignInFailed, TokenExpired, TokenInvalid, TokenRevoked
from serving.registry.identifiers import is_account_name
from serving.registry.tables import IS_OPEN, event

REFRESH_PREFIX = "rcr_"
MAX_SESSIONS = 50
"""Of one account at a time; a further sign-in ends the one unused for the longest."""

_MAX_REFRESH_CHARS = 128
_PURGED_AT_ONCE = 100


class Sessions:
    """Signing in, staying signed in, signing out.

    Args:
        database: open by the time of the first call.
        lifetime_s: of a session since its last renewal.
    """

    def __init__(self, database: Database, lifetime_s: int) -> None:
        self._database = database
        self._lifetime_s = lifetime_s

    async def sign_in(self, name: str, password: str) -> SessionStart:
        """Begin a session.

        Raises:
            SignInFailed: no such account, no or another password, or disabled: in the same time.
            Overloaded: too many passwords wait to be checked.
        """
        row = await self._database.read(_find, name) if is_account_name(name) else None
        matches = await verify_password(password, None if row is None else row.password_hash)
        if row is None or not matches or row.disabled_at is not None:
            raise SignInFailed
        return await self._write(partial(_start, row.id, row.password_hash, self._lifetime_s))

    async def find_face(self, name: str) -> tuple[str, OwnedPerson] | None:
        """The id of an account and the person it owns; None if it is disabled or owns nobody."""
        return await self._database.read(_find_face, name) if is_account_name(name) else None

    async def begin_by_face(self, account_id: str, lifetime_s: int) -> SessionStart:
        """Begin a session that lasts `lifetime_s` and cannot be renewed, for a face that was recognised.

        Raises:
            SignInFailed: the account is gone or disabled.
        """
        return await self._write(partial(_start_unrenewable, account_id, lifetime_s))

    async def renew(self, refresh_token: str) -> SessionStart:
        """Exchange a refresh token for the next.

        Raises:
            TokenInvalid: not one of ours.
            TokenExpired: the session was not renewed in time.
            TokenRevoked: the session was ended, or this token was used before, which ends the session.
        """
        parts = refresh_token.split("_", 2)
        if len(refresh_token) > _MAX_REFRESH_CHARS or not refresh_token.isascii() or len(parts) != 3:
            raise TokenInvalid
        if parts[0] != "rcr" or not parts[1].isalnum():
            raise TokenInvalid
        if not await self._database.read(_exists, parts[1]):  # before the write lock is taken for a stranger
            raise TokenInvalid
        return await self._write(partial(_renew, parts[1], hash_secret(parts[2]), self._lifetime_s))

    async def end(self, session_id: str) -> None:
        """End a session and its tokens, on every replica at once; may be repeated."""
        await self._database.write(_end, session_id)

    async def end_all(self, account_id: str) -> None:
        """End every session of an account, and every token made for it."""
        await self._database.write(account_rows.revoke_everything, account_id)

    async def _write(self, work: Callable[[Connection], SessionStart | RollcallError]) -> SessionStart:
        """Errors come as values, since what the unit of work did before them is to stay."""
        outcome = await self._database.write(work)
        if isinstance(outcome, RollcallError):
            raise outcome
        return outcome


def _find(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(account).where(account.c.name == name)).first()


def _find_face(connection: Connection, name: str) -> tuple[str, OwnedPerson] | None:
    owned = (
        select(account.c.id, account_person.c.event_key, event.c.id, account_person.c.person_id)
        .select_from(
            account.join(account_person, account_person.c.account_id == account.c.id).join(
                event, and_(event.c.key == account_person.c.event_key, IS_OPEN)
            )
        )
        .where(account.c.name == name, account.c.disabled_at.is_(None))
    )
    row = connection.execute(owned).first()
    return None if row is None else (row[0], OwnedPerson(row[1], row[2], row[3]))


def _start(
    account_id: str, password_hash: str, lifetime_s: int, connection: Connection
) -> SessionStart | RollcallError:
    row = connection.execute(select(account).where(account.c.id == account_id).with_for_update()).first()
    # The password may have been changed, or the account disabled, while it was being checked.
    if row is None or row.disabled_at is not None or row.password_hash != password_hash:
        return SignInFailed()
    session_id, secret = _insert(connection, account_id, lifetime_s)
    return SessionStart(session_id, account_rows.make_account(row), _write_refresh(session_id, secret))


def _start_unrenewable(
    account_id: str, lifetime_s: int, connection: Connection
) -> SessionStart | RollcallError:
    row = connection.execute(select(account).where(account.c.id == account_id).with_for_update()).first()
    if row is None or row.disabled_at is not None:
        return SignInFailed()
    session_id, _ = _insert(connection, account_id, lifetime_s)
    return SessionStart(session_id, account_rows.make_account(row), None)


def _insert(connection: Connection, account_id: str, lifetime_s: int) -> tuple[str, str]:
    now = now_utc()
    _purge(connection, account_id)
    session_id, secret = uuid.uuid4().hex, secrets.token_urlsafe(32)
    values = {
        "id": session_id,
        "account_id": account_id,
        "refresh_hash": hash_secret(secret),
        "created_at": now,
        "used_at": now,
        "expires_at": now + timedelta(seconds=lifetime_s),
    }
    connection.execute(insert(session), values)
    return session_id, secret


def _purge(connection: Connection, account_id: str) -> None:
    """Forget the oldest sessions of the account beyond its share, and some of anybody's that are over."""
    kept = (
        select(session.c.id)
        .where(session.c.account_id == account_id)
        .order_by(session.c.revoked_at.is_not(None), session.c.used_at.desc())
        .limit(MAX_SESSIONS - 1)
    )
    own = connection.execute(kept).scalars().all()
    connection.execute(delete(session).where(session.c.account_id == account_id, session.c.id.not_in(own)))
    over = select(session.c.id).where(session.c.expires_at < now_utc()).limit(_PURGED_AT_ONCE)
    ids = connection.execute(over.with_for_update(skip_locked=True)).scalars().all()
    if ids:
        connection.execute(delete(session).where(session.c.id.in_(ids)))


def _exists(connection: Connection, session_id: str) -> bool:
    return connection.execute(select(session.c.id).where(session.c.id == session_id)).first() is not None


def _renew(
    session_id: str, refresh_hash: str, lifetime_s: int, connection: Connection
) -> SessionStart | RollcallError:
    found = connection.execute(select(session.c.account_id).where(session.c.id == session_id)).first()
    if found is None:
        return TokenInvalid()
    # The account before the session: every unit of work takes the two in this order.
    row = connection.execute(
        select(account).where(account.c.id == found.account_id).with_for_update()
    ).first()
    held = connection.execute(select(session).where(session.c.id == session_id).with_for_update()).first()
    if row is None or held is None:
        return TokenInvalid()
    if held.revoked_at is not None or row.disabled_at is not None:
        return TokenRevoked()
    now = now_utc()
    if held.expires_at <= now:
        return TokenExpired()
    if not secrets.compare_digest(held.refresh_hash, refresh_hash):
        _end(connection, session_id)
        return TokenRevoked("This refresh token was used before, so its session has been ended.")
    secret = secrets.token_urlsafe(32)
    renewed = update(session).where(session.c.id == session_id)
    connection.execute(
        renewed.values(
            refresh_hash=hash_secret(secret), used_at=now, expires_at=now + timedelta(seconds=lifetime_s)
        )
    )
    return SessionStart(session_id, account_rows.make_account(row), _write_refresh(session_id, secret))


def _end(connection: Connection, session_id: str) -> None:
    ended = update(session).where(session.c.id == session_id, session.c.revoked_at.is_(None))
    connection.execute(ended.values(revoked_at=now_utc()))


def _write_refresh(session_id: str, secret: str) -> str:
    return f"{REFRESH_PREFIX}{session_id}_{secret}"
