"""What has outlived its event's retention: people without change for too long, events closed too long ago."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, literal, select, tuple_, update

from serving.database import Database
from serving.database.metadata import now_utc
from serving.registry import people
from serving.registry.erased import note_erased
from serving.registry.paging import check_limit
from serving.registry.tables import DELETING, IS_OPEN, event, person

Also = Callable[[Connection], object]
"""Work to do in the same transaction."""


@dataclass(frozen=True, slots=True)
class ExpiredPerson:
    """A person enrolled at an event who has not changed for longer than its `retention_days`."""

    event_key: str
    event_id: str
    retention_days: int
    id: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ExpiredEvent:
    """An event that was closed longer ago than its `retention_days`."""

    key: str
    id: str
    retention_days: int


class Retention:
    """Finds what has expired and forgets it, unless it has changed since it was found.

    Every method may raise StageUnavailable (no database) and, when it writes, Overloaded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def retention_periods(self) -> list[int]:
        """The different `retention_days` of all events, the shortest first."""
        return await self._database.read(retention_periods)

    async def expired_people(
        self, retention_days: int, after: ExpiredPerson | None = None, limit: int = 500
    ) -> list[ExpiredPerson]:
        """Who has expired at events with this retention: `limit` of those behind `after`."""
        return await self._database.read(expired_people, retention_days, after, check_limit(limit))

    async def expired_events(
        self, retention_days: int, after: ExpiredEvent | None = None, limit: int = 500
    ) -> list[ExpiredEvent]:
        """Which events with this retention have expired: `limit` of those behind `after`."""
        return await self._database.read(expired_events, retention_days, after, check_limit(limit))

    async def forget_person(self, expired: ExpiredPerson, also: Also) -> bool:
        """Forget the person, if still expired, and do `also` if so; whether it was.

        Of many callers one gets True. It then erases the vectors; should it die, a planned erasure does.
        """
        return await self._database.write(forget_person, expired, also)

    async def begin_event_deletion(self, expired: ExpiredEvent, also: Also) -> bool:
        """As `Registry.begin_event_deletion`, if it is still expired, and do `also` if so; whether it was."""
        return await self._database.write(begin_event_deletion, expired, also)


def retention_periods(connection: Connection) -> list[int]:
    """The different `retention_days` of open events."""
    days = select(event.c.retention_days).where(event.c.retention_days.is_not(None), IS_OPEN)
    return list(connection.execute(days.distinct().order_by(event.c.retention_days)).scalars())


def expired_people(
    connection: Connection, retention_days: int, after: ExpiredPerson | None, limit: int
) -> list[ExpiredPerson]:
    """Event by event, in the order of the index on `updated_at`, so that nobody else is looked at.

    Ordered by the key of `event`, not the same one of `person`: else SQLite would go through everybody.
    """
    place = (event.c.key, person.c.updated_at, person.c.id)
    expired = (
        select(event.c.key, event.c.id, event.c.retention_days, person.c.id, person.c.updated_at)
        .join(person, person.c.event_key == event.c.key)
        .where(
            event.c.retention_days == retention_days,
            IS_OPEN,
            person.c.updated_at <= _expiry(retention_days),
            person.c.enrolled_at.is_not(None),
        )
        .order_by(*place)
        .limit(limit)
    )
    if after is not None:
        expired = expired.where(
            tuple_(*place)
            > tuple_(
                literal(after.event_key),
                literal(after.updated_at, person.c.updated_at.type),
                literal(after.id),
            )
        )
    return [ExpiredPerson(*row) for row in connection.execute(expired)]


def expired_events(
    connection: Connection, retention_days: int, after: ExpiredEvent | None, limit: int
) -> list[ExpiredEvent]:
    """In the order of their keys."""
    expired = (
        select(event.c.key, event.c.id, event.c.retention_days)
        .where(
            event.c.key > ("" if after is None else after.key),
            *_still_expired(retention_days),
        )
        .order_by(event.c.key)
        .limit(limit)
    )
    return [ExpiredEvent(*row) for row in connection.execute(expired)]


def forget_person(connection: Connection, expired: ExpiredPerson, also: Also) -> bool:
    """Remove the person unless changed since, or the event keeps people longer by now."""
    held = select(event.c.key).where(
        event.c.key == expired.event_key, event.c.retention_days <= expired.retention_days, IS_OPEN
    )
    if connection.execute(held.with_for_update(read=True)).first() is None:
        return False
    still_expired = select(person.c.id).where(
        person.c.event_key == expired.event_key,
        person.c.id == expired.id,
        person.c.updated_at <= _expiry(expired.retention_days),
    )
    if connection.execute(still_expired.with_for_update()).first() is None:
        return False
    people.delete_person(connection, expired.event_key, expired.id)
    also(connection)
    return True


def begin_event_deletion(connection: Connection, expired: ExpiredEvent, also: Also) -> bool:
    """Mark the event for deletion unless it was reopened, or is kept longer by now."""
    doomed = update(event).where(event.c.key == expired.key, *_still_expired(expired.retention_days))
    if connection.execute(doomed.values(state=DELETING)).rowcount == 0:
        return False
    note_erased(connection, "event", expired.key)
    also(connection)
    return True


def _expiry(retention_days: int) -> datetime:
    return now_utc() - timedelta(days=retention_days)


def _still_expired(retention_days: int) -> tuple[ColumnElement[bool], ...]:
    return (
        event.c.retention_days == retention_days,
        event.c.closed_at <= _expiry(retention_days),
        IS_OPEN,
    )
