"""Units of work on arrivals: who was seen at an event, since when, how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from sqlalchemy import Connection, bindparam, case, delete, exists, func, or_, select, update

from serving.database.metadata import now_utc
from serving.errors import InvalidRequest, UnknownPerson
from serving.registry.event_counts import count_arrived_since, count_of
from serving.registry.paging import read_cursor, write_cursor
from serving.registry.records import Page
from serving.registry.tables import IS_OPEN, check_in, event, insert_into, person

CURSOR_KIND = "check-in"

MIN_INTERVAL_S = 10.0
"""Out of sight for so long, a person counts as having come again: longer than one stands before a camera
turning away from it, shorter than a walk around the house."""

RECENT = timedelta(hours=1)

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a camera knows of a person it recognised: the raw cosine, and where it stands, if it says so."""

    cosine: float
    place: str | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A person who has been seen at an event.

    Attributes:
        name: for people to read, or None.
        first_at, last_at: in UTC.
        times: how often they came, at least 1; see `MIN_INTERVAL_S`.
        best_cosine: the best raw cosine of all sightings.
        place: the last that was named.
        is_new: whether it is this very sighting that made them arrive.
    """

    person_id: str
    name: str | None
    first_at: datetime
    last_at: datetime
    times: int
    best_cosine: float
    place: str | None
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Attendance:
    """How many people are enrolled, how many of them have arrived, and how many in the last hour."""

    enrolled: int
    arrived: int
    arrived_last_hour: int


_THIS = (check_in.c.event_key == bindparam("key"), check_in.c.person_id == bindparam("id"))
_STATE = (
    check_in.c.first_at,
    check_in.c.last_at,
    check_in.c.times,
    check_in.c.best_cosine,
    check_in.c.place,
)
_HOLD = (
    select(person.c.id, person.c.name)
    .where(
        person.c.event_key == bindparam("key"),
        person.c.id.in_(bindparam("ids", expanding=True)),
        person.c.enrolled_at.is_not(None),
        exists().where(event.c.key == bindparam("key"), IS_OPEN),
    )
    .order_by(person.c.id)
    # So that none of them is erased before this transaction ends.
    .with_for_update(read=True, key_share=True)
)
_now = bindparam("now", type_=check_in.c.first_at.type)
_cosine = bindparam("cosine", type_=check_in.c.best_cosine.type)
_SEE_AGAIN = (
    update(check_in)
    .where(*_THIS)
    .values(
        # Replicas' clocks differ by a little: a moment never goes back.
        last_at=case((check_in.c.last_at < _now, _now), else_=check_in.c.last_at),
        times=check_in.c.times
        + case((check_in.c.last_at <= bindparam("long_ago", type_=check_in.c.last_at.type), 1), else_=0),
        best_cosine=case((check_in.c.best_cosine < _cosine, _cosine), else_=check_in.c.best_cosine),
        place=func.coalesce(bindparam("seen_at", type_=check_in.c.place.type), check_in.c.place),
    )
    .returning(*_STATE)
)
_OF_EVENT = (person.c.event_key == bindparam("key"), person.c.enrolled_at.is_not(None))
_COUNT = select(count_of("people", bindparam("key")), count_of("arrivals", bindparam("key")))
_LIST = (
    select(check_in.c.person_id, person.c.name, *_STATE)
    .join(person)
    .where(check_in.c.event_key == bindparam("key"))
    .order_by(check_in.c.first_at.desc(), check_in.c.person_id.desc())
    .limit(bindparam("limit"))
)


def record_sightings(
    connection: Connection, event_key: str, sightings: Mapping[str, Sighting]
) -> dict[str, Arrival]:
    """Note that these people were seen now; who of them is enrolled has an arrival in the answer.

    Correct with any number of writers at once: exactly one of them makes a person arrive.
    """
    rows = connection.execute(_HOLD, {"key": event_key, "ids": sorted(sightings)}).all()
    # In the order of the ids, so that no two writers wait for each other.
    return {id: _record(connection, event_key, id, name, sightings[id]) for id, name in rows}


def _record(
    connection: Connection, event_key: str, person_id: str, name: str | None, sighting: Sighting
) -> Arrival:
    now = now_utc()
    first = {
        "event_key": event_key,
        "person_id": person_id,
        "first_at": now,
        "last_at": now,
        "times": 1,
        "best_cosine": sighting.cosine,
        "place": sighting.place,
    }
    again = {
        "key": event_key,
        "id": person_id,
        "now": now,
        "long_ago": now - timedelta(seconds=MIN_INTERVAL_S),
        "cosine": sighting.cosine,
        "seen_at": sighting.place,
    }
    insert = insert_into(connection, check_in).on_conflict_do_nothing().returning(*_STATE)
    for _ in range(_ATTEMPTS):  # one that is undone between the two statements is made anew
        row = connection.execute(insert, first).first()
        if row is not None:
            return replace(Arrival(person_id, name, *row), is_new=True)
        row = connection.execute(_SEE_AGAIN, again).first()
        if row is not None:
            return Arrival(person_id, name, *row)
    return Arrival(person_id, name, now, now, 1, sighting.cosine, sighting.place)


def list_arrivals(
    connection: Connection, event_key: str, cursor: str | None, limit: int, since: datetime | None
) -> Page[Arrival]:
    """One page of arrivals, the latest first; with `since` of those who arrived then or later."""
    query = _LIST
    if since is not None:
        query = query.where(check_in.c.first_at >= since)
    if cursor is not None:
        before, person_id = _read_place(cursor)
        query = query.where(
            check_in.c.first_at <= before,
            or_(check_in.c.first_at < before, check_in.c.person_id < person_id),
        )
    rows = connection.execute(query, {"key": event_key, "limit": limit + 1}).all()
    found = tuple(Arrival(*row) for row in rows[:limit])
    return Page(found, _write_place(found[-1]) if len(rows) > limit else None)


def count_arrivals(connection: Connection, event_key: str) -> Attendance:
    """How many are enrolled and how many have arrived."""
    enrolled, arrived = connection.execute(_COUNT, {"key": event_key}).one()
    return Attendance(enrolled, arrived, count_arrived_since(connection, event_key, now_utc() - RECENT))


def remove_arrival(connection: Connection, event_key: str, person_id: str) -> bool:
    """Forget that a person has arrived; whether they had.

    Raises:
        UnknownPerson: nobody of this id is enrolled.
    """
    gone = connection.execute(delete(check_in).where(*_THIS), {"key": event_key, "id": person_id}).rowcount
    if gone:
        return True
    known = select(person.c.id).where(*_OF_EVENT, person.c.id == bindparam("id"))
    if connection.execute(known, {"key": event_key, "id": person_id}).first() is None:
        raise UnknownPerson(person=person_id)
    return False


def _write_place(arrival: Arrival) -> str:
    # Whole microseconds, which every engine keeps.
    moment = (arrival.first_at - _EPOCH) // timedelta(microseconds=1)
    return write_cursor(CURSOR_KIND, f"{moment}/{arrival.person_id}")


def _read_place(cursor: str) -> tuple[datetime, str]:
    moment, separator, person_id = read_cursor(CURSOR_KIND, cursor).partition("/")
    try:
        if not separator or not moment.isdecimal():
            raise ValueError
        return _EPOCH + timedelta(microseconds=int(moment)), person_id
    except (ValueError, OverflowError):
        raise InvalidRequest(
            "This is not a cursor of this list; take it from the page before.", field="cursor"
        ) from None
