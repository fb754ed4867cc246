"""API keys: credentials for machines, bound to scopes and events, that can do no more than their maker."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import uuid
from collections import OrderedDict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    not_,
    select,
    update,
)

from serving.accounts import account_rows
from serving.accounts.access_check import KEY_PREFIX, MAX_EVENTS, hash_secret, read_scopes
from serving.accounts.identities import Scope
from serving.accounts.records import ApiKey
from serving.accounts.tables import account, api_key, api_key_event
from serving.database import Database
from serving.database.metadata import now_utc
from serving.errors import InvalidRequest, RollcallError, UnknownApiKey
from serving.registry.erased import note_erased
from serving.registry.identifiers import check_event_id, check_name
from serving.registry.paging import check_limit, read_cursor, write_cursor
from serving.registry.records import Page
from serving.registry.tables import IS_OPEN, event

CURSOR_KIND = "api_key"
MAX_KEYS = 100
"""Of one account at a time, not counting those that were revoked."""

NOTED_EVERY_S = 60.0
FINISH_TIMEOUT_S = 5.0
_REVOKED_KEPT_DAYS = 90
_REMEMBERED_USES = 10_000

_log = logging.getLogger(__name__)


class ApiKeys:
    """The API keys of this service.

    Args:
        database: open by the time of the first call.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted_at_s: OrderedDict[str, float] = OrderedDict()
        self._notes: set[asyncio.Task[None]] = set()

    async def create(
        self,
        account_id: str,
        name: str,
        scopes: Collection[Scope],
        events: Collection[str] | None,
        expires_at: datetime | None,
    ) -> tuple[ApiKey, str]:
        """Make a key; returns it and its text, which nobody can be shown again.

        Args:
            account_id: whose it is; what the account may not do, or no longer, the key may not either.
            scopes: at least one.
            events: ids of the events it is bound to, 1 to MAX_EVENTS; None for all.
            expires_at: aware; None for never.

        Raises:
            InvalidRequest: an argument breaks its rule, or the account has too many keys.
            UnknownEvent: there is no such event.
            UnknownAccount: the account is gone.
        """
        check_name(name)
        if not scopes:
            raise InvalidRequest("A key has at least one scope.", field="scopes")
        if events is not None and not 1 <= len(events) <= MAX_EVENTS:
            raise InvalidRequest(
                f"A key is bound to 1 to {MAX_EVENTS} events, or reaches all.",
                field="events",
                max_events=MAX_EVENTS,
            )
        if expires_at is not None and expires_at <= now_utc():
            raise InvalidRequest("The key would be expired from the start.", field="expires_at")
        bound = None if events is None else [check_event_id(event_id) for event_id in events]
        secret = secrets.token_urlsafe(32)
        values = {
            "id": uuid.uuid4().hex,
            "name": name,
            "secret_hash": hash_secret(secret),
            "scopes": " ".join(scope.value for scope in Scope if scope in scopes),
            "all_events": bound is None,
            "account_id": account_id,
            "created_at": now_utc(),
            "expires_at": expires_at,
        }
        key = await self._database.write(_create, values, bound)
        return key, f"{KEY_PREFIX}{key.id}_{secret}"

    async def list(
        self,
        account_id: str | None,
        within: Collection[str] | None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[ApiKey]:
        """A page of keys in the order of their ids.

        Args:
            account_id: whose; None for everybody's.
            within: only keys bound to no other events than these; None for any key.
            after: `next` of the page before, or None for the first.
            limit: 1 to 1000.

        Raises:
            InvalidRequest: not a cursor of this list, or the limit is out of range.
        """
        after_id = read_cursor(CURSOR_KIND, after)
        chosen = None if within is None else sorted(set(within))
        return await self._database.read(_list, account_id, chosen, after_id, check_limit(limit))

    async def revoke(self, id: str, account_id: str | None, within: Collection[str] | None) -> None:
        """End a key for good, on every replica at once; the arguments say which are in sight, as for `list`.

        Raises:
            UnknownApiKey: none is in sight, or it was revoked before.
        """
        if not (id.isascii() and id.isalnum()):
            raise UnknownApiKey
        chosen = None if within is None else sorted(set(within))
        await self._database.write(_revoke, id, account_id, chosen)

    def note_use(self, id: str) -> None:
        """Remember that a key was used: written in the background, at most once in NOTED_EVERY_S seconds."""
        now_s = time.monotonic()
        if now_s - self._noted_at_s.get(id, float("-inf")) < NOTED_EVERY_S:
            return
        self._noted_at_s[id] = now_s
        self._noted_at_s.move_to_end(id)
        if len(self._noted_at_s) > _REMEMBERED_USES:
            self._noted_at_s.popitem(last=False)
        note = asyncio.get_running_loop().create_task(self._write_use(id))
        self._notes.add(note)
        note.add_done_callback(self._notes.discard)

    async def finish_notes(self) -> None:
        """Wait until all uses noted so far are written, for at most `FINISH_TIMEOUT_S`."""
        if self._notes:
            await asyncio.wait(set(self._notes), timeout=FINISH_TIMEOUT_S)

    async def _write_use(self, id: str) -> None:
        try:
            await self._database.write(_note_use, id)
        except RollcallError as error:
            _log.warning("the last use of an API key was not written: %s", error.code)


_SELECT: Select[Any] = select(api_key, account.c.name.label("account")).join_from(
    api_key, account, account.c.id == api_key.c.account_id
)


def _create(connection: Connection, values: dict[str, Any], event_ids: Sequence[str] | None) -> ApiKey:
    account_id = values["account_id"]
    account_rows.hold(connection, account_id)
    long_revoked = api_key.c.revoked_at < now_utc() - timedelta(days=_REVOKED_KEPT_DAYS)
    connection.execute(delete(api_key).where(api_key.c.account_id == account_id, long_revoked))
    live = select(func.count()).where(api_key.c.account_id == account_id, api_key.c.revoked_at.is_(None))
    if connection.execute(live).scalar_one() >= MAX_KEYS:
        raise InvalidRequest(f"An account has at most {MAX_KEYS} API keys; revoke one.", max_keys=MAX_KEYS)
    connection.execute(insert(api_key), values)
    if event_ids is not None:
        account_rows.bind_events(
            connection, api_key_event, api_key_event.c.api_key_id, values["id"], event_ids
        )
    row = connection.execute(_SELECT.where(api_key.c.id == values["id"])).one()
    return _read(connection, [row])[0]


def _list(
    connection: Connection, account_id: str | None, within: Sequence[str] | None, after: str, limit: int
) -> Page[ApiKey]:
    wanted = _SELECT.where(api_key.c.id > after, *_in_sight(account_id, within))
    rows = connection.execute(wanted.order_by(api_key.c.id).limit(limit + 1)).all()
    found = tuple(_read(connection, rows[:limit]))
    return Page(found, write_cursor(CURSOR_KIND, found[-1].id) if len(rows) > limit else None)


def _revoke(connection: Connection, id: str, account_id: str | None, within: Sequence[str] | None) -> None:
    live = (api_key.c.id == id, api_key.c.revoked_at.is_(None), *_in_sight(account_id, within))
    if connection.execute(update(api_key).where(*live).values(revoked_at=now_utc())).rowcount == 0:
        raise UnknownApiKey
    note_erased(connection, "api_key", id)


def _note_use(connection: Connection, id: str) -> None:
    connection.execute(update(api_key).where(api_key.c.id == id).values(last_used_at=now_utc()))


def _in_sight(account_id: str | None, within: Sequence[str] | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if account_id is not None:
        conditions.append(api_key.c.account_id == account_id)
    if within is not None:
        bound_elsewhere = exists().where(
            api_key_event.c.api_key_id == api_key.c.id,
            event.c.key == api_key_event.c.event_key,
            event.c.id.not_in(within),
        )
        conditions += [not_(api_key.c.all_events), not_(bound_elsewhere)]
    return conditions


def _read(connection: Connection, rows: Sequence[Row[Any]]) -> list[ApiKey]:
    bound: dict[str, list[str]] = {row.id: [] for row in rows}
    links = (
        select(api_key_event.c.api_key_id, event.c.id)
        .join_from(api_key_event, event, and_(event.c.key == api_key_event.c.event_key, IS_OPEN))
        .where(api_key_event.c.api_key_id.in_(list(bound)))
        .order_by(event.c.id)
    )
    for key_id, event_id in connection.execute(links) if bound else ():
        bound[key_id].append(event_id)
    return [
        ApiKey(
            row.id,
            row.name,
            row.account_id,
            row.account,
            read_scopes(row.scopes),
            row.all_events,
            tuple(bound[row.id]),
            row.created_at,
            row.expires_at,
            row.last_used_at,
            row.revoked_at,
        )
        for row in rows
    ]
