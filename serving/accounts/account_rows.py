"""Units of work on accounts, their reach and the person each may own."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, Row, Table, and_, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from serving.accounts.identities import Role
from serving.accounts.records import Account, OwnedPerson
from serving.accounts.tables import account, account_event, account_person, session
from serving.database.metadata import now_utc
from serving.errors import (
    AccountExists,
    InvalidRequest,
    LastAdministrator,
    SignInFailed,
    UnknownAccount,
    UnknownEvent,
    UnknownPerson,
)
from serving.registry.erased import note_erased
from serving.registry.paging import write_cursor
from serving.registry.records import Page
from serving.registry.tables import IS_OPEN, event, insert_into, person

CURSOR_KIND = "account"

# One who reaches certain events only manages no accounts, so does not count.
_IS_ADMINISTRATOR = and_(
    account.c.role == Role.administrator.value, account.c.disabled_at.is_(None), account.c.all_events
)


def create(
    connection: Connection, name: str, role: Role, password_hash: str | None, event_ids: Sequence[str] | None
) -> Account:
    """Insert an account that reaches these events, or all for None; raises AccountExists, UnknownEvent."""
    values = {
        "id": uuid.uuid4().hex,
        "name": name,
        "role": role.value,
        "password_hash": password_hash,
        "created_at": now_utc(),
        "all_events": event_ids is None,
    }
    # Not by the error of a plain INSERT, after which PostgreSQL refuses all else in the transaction.
    created = connection.execute(insert_into(connection, account).on_conflict_do_nothing(), values)
    if created.rowcount == 0:
        raise AccountExists(name=name)
    if event_ids:
        bind_events(connection, account_event, account_event.c.account_id, str(values["id"]), event_ids)
    return get(connection, str(values["id"]))


def find(connection: Connection, name: str) -> Account | None:
    """The account of this name, or None."""
    row = connection.execute(select(account).where(account.c.name == name)).first()
    return None if row is None else _read(connection, row)


def get(connection: Connection, id: str) -> Account:
    """The account of this id; raises UnknownAccount."""
    row = connection.execute(select(account).where(account.c.id == id)).first()
    if row is None:
        raise UnknownAccount
    return _read(connection, row)


def list_page(connection: Connection, after: str, limit: int) -> Page[Account]:
    """One page of accounts by name, without their events."""
    wanted = select(account).where(account.c.name > after).order_by(account.c.name).limit(limit + 1)
    rows = connection.execute(wanted).all()
    found = tuple(make_account(row) for row in rows[:limit])
    return Page(found, write_cursor(CURSOR_KIND, found[-1].name) if len(rows) > limit else None)


def has_administrator(connection: Connection) -> bool:
    """Whether anybody administers this service."""
    return bool(connection.execute(select(exists().where(_IS_ADMINISTRATOR))).scalar())


def change(
    connection: Connection,
    id: str,
    role: Role | None,
    disabled: bool | None,
    reach: Sequence[str] | bool | None,
) -> Account:
    """Set what is not None; `reach` is True for all events, or the ids of some.

    Disabling ends every session and token, also for the case that it is undone.

    Raises UnknownAccount, UnknownEvent, LastAdministrator.
    """
    administrators = _hold_administrators(connection)
    before = get(connection, id)
    values: dict[str, Any] = {}
    if role is not None:
        values["role"] = role.value
    if disabled is not None and disabled != (before.disabled_at is not None):
        values["disabled_at"] = now_utc() if disabled else None
    if reach is not None:
        connection.execute(delete(account_event).where(account_event.c.account_id == id))
        values["all_events"] = reach is True
        if reach and reach is not True:
            bind_events(connection, account_event, account_event.c.account_id, id, reach)
    if values:
        connection.execute(update(account).where(account.c.id == id).values(**values))
    if values.get("disabled_at") is not None:
        revoke_everything(connection, id)
    if administrators == [id]:
        _require_administrator(connection)
    return get(connection, id)


def require_removable(connection: Connection, id: str) -> None:
    """Raise LastAdministrator or UnknownAccount if the account cannot be deleted."""
    get(connection, id)
    if connection.execute(select(account.c.id).where(_IS_ADMINISTRATOR).limit(2)).scalars().all() == [id]:
        raise LastAdministrator


def remove(connection: Connection, id: str) -> bool:
    """Delete an account that owns no person, with all that is its own; False while it owns one.

    Raises UnknownAccount, LastAdministrator.
    """
    administrators = _hold_administrators(connection)
    hold(connection, id)
    if find_person(connection, id) is not None:
        return False
    if administrators == [id]:
        raise LastAdministrator
    connection.execute(delete(account).where(account.c.id == id))
    note_erased(connection, "account", id)
    return True


def read_password_hash(connection: Connection, id: str) -> str | None:
    """The stored hash, None where there is no password; raises UnknownAccount."""
    row = connection.execute(select(account.c.password_hash).where(account.c.id == id)).first()
    if row is None:
        raise UnknownAccount
    return None if row[0] is None else str(row[0])


def set_password(
    connection: Connection,
    id: str,
    password_hash: str,
    expected_hash: str | None,
    is_checked: bool,
    kept_session_id: str | None,
) -> None:
    """Store a hash and end every other session and token.

    Raises UnknownAccount; SignInFailed when `is_checked` and the hash is no longer the expected one.
    """
    row = hold(connection, id)
    if is_checked and row.password_hash != expected_hash:
        raise SignInFailed
    connection.execute(update(account).where(account.c.id == id).values(password_hash=password_hash))
    revoke_everything(connection, id, kept_session_id)


def revoke_everything(connection: Connection, id: str, kept_session_id: str | None = None) -> None:
    """End all sessions but one, and void every token without a session."""
    now = now_utc()
    connection.execute(update(account).where(account.c.id == id).values(tokens_valid_from=now))
    ended = update(session).where(session.c.account_id == id, session.c.revoked_at.is_(None))
    if kept_session_id is not None:
        ended = ended.where(session.c.id != kept_session_id)
    connection.execute(ended.values(revoked_at=now))


def find_person(connection: Connection, id: str) -> OwnedPerson | None:
    """The person the account owns, or None; one at an event that is being deleted counts as gone."""
    owned = (
        select(account_person.c.event_key, event.c.id, account_person.c.person_id)
        .join_from(account_person, event, and_(event.c.key == account_person.c.event_key, IS_OPEN))
        .where(account_person.c.account_id == id)
    )
    row = connection.execute(owned).first()
    return None if row is None else OwnedPerson(*row)


def link_person(connection: Connection, id: str, event_key: str, person_id: str) -> None:
    """Make an enrolled person the account's own, in place of any other.

    Raises UnknownAccount, UnknownPerson; InvalidRequest when another account owns the person.
    """
    held = (
        select(person.c.id)
        .where(person.c.event_key == event_key, person.c.id == person_id, person.c.enrolled_at.is_not(None))
        .with_for_update(read=True)
    )
    if connection.execute(held).first() is None:
        raise UnknownPerson(person=person_id)
    hold(connection, id)
    connection.execute(delete(account_person).where(account_person.c.account_id == id))
    values = {"account_id": id, "event_key": event_key, "person_id": person_id}
    try:
        connection.execute(insert(account_person), values)
    except IntegrityError:
        raise InvalidRequest("This person belongs to another account.", field="person_id") from None


def hold(connection: Connection, id: str) -> Row[Any]:
    """The account's row, which stays as it is until the transaction ends; raises UnknownAccount."""
    row = connection.execute(select(account).where(account.c.id == id).with_for_update()).first()
    if row is None:
        raise UnknownAccount
    return row


def bind_events(
    connection: Connection, table: Table, owner: Column[str], owner_id: str, event_ids: Sequence[str]
) -> None:
    """Insert the links from an account or key to these open events; raises UnknownEvent."""
    wanted = sorted(set(event_ids))
    held = select(event.c.id, event.c.key).where(event.c.id.in_(wanted), IS_OPEN).with_for_update(read=True)
    keys = {row.id: row.key for row in connection.execute(held)}
    for event_id in wanted:
        if event_id not in keys:
            raise UnknownEvent(event=event_id)
    rows = [{owner.name: owner_id, "event_key": keys[event_id]} for event_id in wanted]
    connection.execute(insert(table), rows)


def make_account(row: Row[Any], events: Sequence[str] = ()) -> Account:
    """The account in a row of its table."""
    return Account(
        row.id,
        row.name,
        Role(row.role),
        row.password_hash is not None,
        row.disabled_at,
        row.created_at,
        row.all_events,
        tuple(events),
    )


def _read(connection: Connection, row: Row[Any]) -> Account:
    reached: Sequence[str] = ()
    if not row.all_events:
        ids = (
            select(event.c.id)
            .join_from(account_event, event, and_(account_event.c.event_key == event.c.key, IS_OPEN))
            .where(account_event.c.account_id == row.id)
            .order_by(event.c.id)
        )
        reached = connection.execute(ids).scalars().all()
    return make_account(row, reached)


def _hold_administrators(connection: Connection) -> list[str]:
    """The ids of all who administer, who go on doing so until this transaction ends."""
    held = select(account.c.id).where(_IS_ADMINISTRATOR).order_by(account.c.id).with_for_update()
    return list(connection.execute(held).scalars())


def _require_administrator(connection: Connection) -> None:
    if not has_administrator(connection):
        raise LastAdministrator
