"""Units of work on the audit trail's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, exists, insert, or_, select
from sqlalchemy.sql.elements import ColumnElement

from serving.audit.records import AuditEntry, AuditFilters
from serving.audit.tables import audit_entry
from serving.registry.tables import IS_OPEN, event

SCANNED_ROWS = 10_000
"""Rows looked at for one page, so that a filter without an index costs no more as the trail grows."""

PURGED_ROWS = 5_000
"""Rows deleted in one transaction, which holds up other writers for some ten milliseconds."""

Place = tuple[datetime, int]
"""Where an entry stands in the trail: its moment and id."""


def add_entries(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Append these."""
    rows = []
    for entry in entries:
        row = asdict(entry)
        del row["id"]
        rows.append(row)
    connection.execute(insert(audit_entry), rows)


def find_entries(
    connection: Connection, filters: AuditFilters, after: Place | None, limit: int
) -> tuple[list[AuditEntry], Place | None]:
    """At most `limit` entries behind `after`, newest first, and where to go on; None at the end."""
    scanned = _scan(filters, after).subquery()
    wanted = (
        select(scanned).where(*_rest(filters, scanned.c)).order_by(scanned.c.at.desc(), scanned.c.id.desc())
    )
    found = [AuditEntry(**row) for row in connection.execute(wanted.limit(limit + 1)).mappings()]
    if len(found) > limit:
        return found[:limit], _place(found[limit - 1])
    last = select(scanned.c.at, scanned.c.id).order_by(scanned.c.at.desc(), scanned.c.id.desc())
    end = connection.execute(last.offset(SCANNED_ROWS - 1).limit(1)).first()
    return found, None if end is None else (end.at, end.id)


def purge_entries(connection: Connection, before: datetime) -> int:
    """Delete some of the entries made before that moment; how many."""
    old = select(audit_entry.c.id).where(audit_entry.c.at < before).limit(PURGED_ROWS)
    return connection.execute(delete(audit_entry).where(audit_entry.c.id.in_(old))).rowcount


def _scan(filters: AuditFilters, after: Place | None) -> Select[Any]:
    """The entries that an index finds, newest first, at most `SCANNED_ROWS` of them."""
    column = audit_entry.c
    conditions: list[ColumnElement[bool]] = []
    if filters.event is not None:
        conditions.append(column.event_id == filters.event)
    elif filters.events is not None and len(filters.events) == 1:
        conditions.append(column.event_id == next(iter(filters.events)))
    elif filters.actor is not None:
        conditions.append(column.actor == filters.actor)
    if filters.since is not None:
        conditions.append(column.at >= filters.since)
    if filters.until is not None:
        conditions.append(column.at < filters.until)
    if after is not None:
        at, last_id = after
        conditions += [column.at <= at, or_(column.at < at, and_(column.at == at, column.id < last_id))]
    newest_first = select(audit_entry).where(*conditions).order_by(column.at.desc(), column.id.desc())
    return newest_first.limit(SCANNED_ROWS)


def _rest(filters: AuditFilters, column: Any) -> list[ColumnElement[bool]]:
    conditions = [
        getattr(column, name) == wanted
        for name, wanted in (
            ("person_id", filters.person),
            ("actor", filters.actor),
            ("action", filters.action),
            ("outcome", filters.outcome),
        )
        if wanted is not None
    ]
    if filters.events is not None:
        conditions += [column.event_id.in_(sorted(filters.events)), _is_of_the_event_now(column)]
    return conditions


def _is_of_the_event_now(column: Any) -> ColumnElement[bool]:
    """Whether an entry is of the event that has its id now, not of a deleted one that had it before.

    An entry without a key is of a request that was refused before the event was looked for.
    """
    return exists().where(
        event.c.id == column.event_id,
        IS_OPEN,
        or_(
            event.c.key == column.event_key, and_(column.event_key.is_(None), event.c.created_at <= column.at)
        ),
    )


def _place(entry: AuditEntry) -> Place:
    assert entry.id is not None
    return entry.at, entry.id
