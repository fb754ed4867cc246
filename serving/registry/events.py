"""Units of work on events."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select, true, update
from sqlalchemy.exc import IntegrityError

from serving.database.metadata import now_utc
from serving.errors import EventExists, UnknownEvent
from serving.registry import erasures
from serving.registry.identifiers import generate_event_key, generate_id
from serving.registry.paging import write_cursor
from serving.registry.records import Counts, Event, Page
from serving.registry.tables import DELETING, IS_ACTIVE, IS_DELETING, IS_OPEN, OPEN, event, face, person

CURSOR_KIND = "event"

_COLUMNS = (
    event.c.key,
    event.c.id,
    event.c.name,
    event.c.pack_id,
    event.c.threshold,
    event.c.created_at,
    event.c.state,
    event.c.target_false_match_rate,
    event.c.strictness,
    event.c.request_policy,
    event.c.quality_level,
    event.c.retention_days,
    event.c.consent_required,
    event.c.closed_at,
)


def _count_people(event_key: ColumnElement[str]) -> ColumnElement[int]:
    enrolled = select(func.count()).where(person.c.event_key == event_key, person.c.enrolled_at.is_not(None))
    return enrolled.scalar_subquery()


def _count_faces(event_key: ColumnElement[str]) -> ColumnElement[int]:
    active = select(func.count()).where(face.c.event_key == event_key, IS_ACTIVE)
    return active.scalar_subquery()


_GET = select(*_COLUMNS).where(event.c.id == bindparam("id"), IS_OPEN)
_GET_DELETING = (
    select(*_COLUMNS).where(event.c.id == bindparam("id"), IS_DELETING).order_by(event.c.created_at.desc())
)
_LIST = (
    select(*_COLUMNS, _count_people(event.c.key), _count_faces(event.c.key))
    .where(event.c.id > bindparam("after"), IS_OPEN)
    .order_by(event.c.id)
    .limit(bindparam("limit"))
)
_COUNT = select(
    _count_people(bindparam("key")),
    _count_faces(bindparam("key")),
)


def ping(connection: Connection) -> None:
    """Ask the database for anything at all."""
    connection.execute(select(1))


def create_event(
    connection: Connection, event_id: str | None, name: str | None, pack_id: str, threshold: float | None
) -> Event:
    """Insert an open event under a new key; raises EventExists when the id is taken by an open one."""
    created = Event(
        generate_event_key(), event_id or generate_id(), name, pack_id, threshold, now_utc(), OPEN
    )
    try:
        connection.execute(insert(event), {column.name: getattr(created, column.name) for column in _COLUMNS})
    except IntegrityError as error:
        raise EventExists(f"The event {created.id!r} exists already.", event=created.id) from error
    return created


def get_event(connection: Connection, event_id: str) -> Event:
    """The open event of this id; raises UnknownEvent."""
    row = connection.execute(_GET, {"id": event_id}).first()
    if row is None:
        raise UnknownEvent(event=event_id)
    return Event(*row)


def list_events(connection: Connection, after_id: str, limit: int, only: Sequence[str] | None) -> Page[Event]:
    """One page of open events by id, counted."""
    statement = _LIST if only is None else _LIST.where(event.c.id.in_(only))
    rows = connection.execute(statement, {"after": after_id, "limit": limit + 1}).all()
    found = tuple(Event(*row) for row in rows[:limit])
    return Page(found, write_cursor(CURSOR_KIND, found[-1].id) if len(rows) > limit else None)


def begin_deletion(connection: Connection, event_id: str) -> Event:
    """Mark the open event; else return the one of this id that is marked already; else raise UnknownEvent."""
    closing = update(event).where(event.c.id == event_id, IS_OPEN).values(state=DELETING).returning(*_COLUMNS)
    row = connection.execute(closing).first() or connection.execute(_GET_DELETING, {"id": event_id}).first()
    if row is None:
        raise UnknownEvent(event=event_id)
    return Event(*row)


def finish_deletion(connection: Connection, event_key: str) -> None:
    """Remove a marked event and, with it, its people and faces; plan an erasure of what is stored late."""
    removed = connection.execute(delete(event).where(event.c.key == event_key, IS_DELETING))
    if removed.rowcount > 0:
        erasures.plan_erasure(connection, event_key, None, erasures.REVISIT_S)


def deleting_events(connection: Connection) -> list[Event]:
    """All marked events, oldest first."""
    marked = select(*_COLUMNS).where(IS_DELETING).order_by(event.c.created_at)
    return [Event(*row) for row in connection.execute(marked)]


def count(connection: Connection, event_key: str) -> Counts:
    """People and faces of one event; zeros for a key that does not exist."""
    return Counts(*connection.execute(_COUNT, {"key": event_key}).one())


def hold_open(connection: Connection, event_key: str) -> bool:
    """Whether the event is open; when it is, it stays so until this transaction ends."""
    held = select(true()).where(event.c.key == event_key, IS_OPEN).with_for_update(read=True)
    return connection.execute(held).first() is not None
