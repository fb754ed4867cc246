"""The accounts as the rest of the service calls them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, insert, select
from sqlalchemy.exc import IntegrityError

from serving.accounts.identities import Role
from serving.accounts.passwords import hash_password, verify_password
from serving.accounts.tables import account
from serving.database import Database
from serving.database.metadata import now_utc
from serving.errors import InvalidRequest
from serving.registry.identifiers import check_account_name, is_account_name


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may call the API; never carries the password or its hash.

    Attributes:
        id: never changes and is never used again.
        name: unique; the subject of the account's tokens.
        role: what the account may do.
        has_password: whether it can sign in with one.
        disabled_at: since when it may do nothing, or None.
        created_at: in UTC.
    """

    id: str
    name: str
    role: Role
    has_password: bool
    disabled_at: datetime | None
    created_at: datetime


class Accounts:
    """The accounts of this service.

    Args:
        database: may be shared with others; `open` opens it and `close` closes it for all of them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self) -> None:
        """Connect and bring the tables up to date; nothing happens when the database is open."""
        await self._database.open()

    async def close(self) -> None:
        """Let go of the database."""
        await self._database.close()

    async def create_administrator(self, name: str, password: str | None = None) -> Account:
        """Create an administrator, who without a password can only use tokens made for them.

        Raises:
            InvalidRequest: the name or the password breaks its rule, or an account has the name.
        """
        check_account_name(name)
        password_hash = None if password is None else await hash_password(password)
        return await self._database.write(_create, name, Role.administrator, password_hash)

    async def get(self, name: str) -> Account | None:
        """The account of this name, disabled or not; None when there is none."""
        row = await self._find(name)
        return None if row is None else _read_account(row)

    async def list(self) -> list[Account]:
        """All accounts by name."""
        return await self._database.read(_list)

    async def has_administrator(self) -> bool:
        """Whether there is an administrator who is not disabled."""
        return await self._database.read(_has_administrator)

    async def authenticate(self, name: str, password: str) -> Account | None:
        """The account, if it is not disabled and the password is its own; None without a reason otherwise.

        Takes the same time for a name that does not exist.
        """
        row = await self._find(name)
        matches = await verify_password(password, None if row is None else row.password_hash)
        if row is None or not matches or row.disabled_at is not None:
            return None
        return _read_account(row)

    async def _find(self, name: str) -> Row[Any] | None:
        return await self._database.read(_find, name) if is_account_name(name) else None


def _create(connection: Connection, name: str, role: Role, password_hash: str | None) -> Account:
    created = Account(uuid.uuid4().hex, name, role, password_hash is not None, None, now_utc())
    values = {
        "id": created.id,
        "name": name,
        "role": role.value,
        "password_hash": password_hash,
        "created_at": created.created_at,
    }
    try:
        connection.execute(insert(account), values)
    except IntegrityError:
        raise InvalidRequest("An account of this name exists already.", field="name") from None
    return created


def _find(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(account).where(account.c.name == name)).first()


def _list(connection: Connection) -> list[Account]:
    return [_read_account(row) for row in connection.execute(select(account).order_by(account.c.name))]


def _has_administrator(connection: Connection) -> bool:
    active = exists().where(account.c.role == Role.administrator.value, account.c.disabled_at.is_(None))
    return bool(connection.execute(select(active)).scalar())


def _read_account(row: Row[Any]) -> Account:
    return Account(
        row.id, row.name, Role(row.role), row.password_hash is not None, row.disabled_at, row.created_at
    )
