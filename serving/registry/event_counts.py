"""How many people, faces and arrivals events have, without looking at these.

Triggers of the database (revision 0010) keep the counts, in the transactions that change the rows, whoever
changes them: this release, an older one during a rolling upgrade, an operator. What is left to go wrong is a
table whose triggers were switched off: `rollcall doctor` compares, `rollcall doctor --recount` counts anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    text,
    union_all,
)

from serving.database.metadata import UtcDateTime
from serving.registry.tables import (
    IS_ACTIVE,
    IS_MIGRATED,
    arrival_count,
    check_in,
    event,
    event_count,
    face,
    migrated_face,
    person,
)

_LOCK = text("LOCK TABLE person, face, migrated_face, check_in IN SHARE MODE")
_SET_COUNTING = text("SELECT set_config('rollcall.counting', :value, true)")
"""The triggers look at it; true: until the transaction ends."""
_MINUTE = timedelta(minutes=1)


def _total(counted: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.coalesce(func.sum(counted), 0), BigInteger)


def count_of(name: str, event_key: ColumnElement[str]) -> ColumnElement[int]:
    """`people`, `faces`, `migrated_faces` or `arrivals` of an event, an expression; 0 without the event."""
    of_event = select(_total(event_count.c[name])).where(event_count.c.event_key == event_key)
    return of_event.scalar_subquery()


TOTALS = select(
    event_count.c.event_key, _total(event_count.c.faces), _total(event_count.c.migrated_faces)
).group_by(event_count.c.event_key)
"""Of every event with counts its key, faces, and faces under the pack that it moves to."""

_key: BindParameter[str] = bindparam("key")
_since = bindparam("since", type_=UtcDateTime())
_next_minute = bindparam("next_minute", type_=UtcDateTime())
_ARRIVED_SINCE = select(
    select(func.count())
    .where(check_in.c.event_key == _key, check_in.c.first_at > _since, check_in.c.first_at < _next_minute)
    .scalar_subquery()
    + select(_total(arrival_count.c.arrivals))
    .where(arrival_count.c.event_key == _key, arrival_count.c.minute >= _next_minute)
    .scalar_subquery()
)


def count_arrived_since(connection: Connection, event_key: str, moment: datetime) -> int:
    """How many arrived after a moment: whole minutes by their counts, the rest of its own minute by rows."""
    next_minute = moment.replace(second=0, microsecond=0) + _MINUTE
    values = {"key": event_key, "since": moment, "next_minute": next_minute}
    return int(connection.execute(_ARRIVED_SINCE, values).scalar_one())


def pause_counting(connection: Connection) -> None:
    """Insert without counting until this transaction ends, or `recount`, which has to follow either.

    PostgreSQL keeps every version of a count until the transaction ends, and goes through them all: a
    transaction of one person each a statement slows down with their square. SQLite changes one row in place.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_SET_COUNTING, {"value": "off"})


def hold_counted(connection: Connection) -> None:
    """Let nobody else change what is counted until this transaction ends; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK)


def recount(connection: Connection) -> None:
    """Count all rows, and let the triggers count from here on; other writers wait until the commit."""
    hold_counted(connection)
    if connection.dialect.name == "postgresql":
        connection.execute(_SET_COUNTING, {"value": "on"})
    connection.execute(delete(event_count))
    connection.execute(delete(arrival_count))
    rows = select(event.c.key, literal(0), *_count_rows())
    columns = ["event_key", "part", "people", "faces", "migrated_faces", "arrivals"]
    connection.execute(insert(event_count).from_select(columns, rows))
    arrivals = select(check_in.c.event_key, _minute(connection), literal(0), func.count())
    arrivals = arrivals.group_by(check_in.c.event_key, _minute(connection))
    connection.execute(
        insert(arrival_count).from_select(["event_key", "minute", "part", "arrivals"], arrivals)
    )


def find_miscounted(connection: Connection) -> list[str]:
    """The keys of events whose counts are not those of their rows; takes time with all there is, once."""
    names = ("people", "faces", "migrated_faces", "arrivals")
    differs = (count_of(name, event.c.key) != rows for name, rows in zip(names, _count_rows(), strict=True))
    found = set(connection.execute(select(event.c.key).where(or_(*differs))).scalars())
    counted = union_all(
        select(arrival_count.c.event_key, arrival_count.c.minute.label("minute"), arrival_count.c.arrivals),
        select(check_in.c.event_key, _minute(connection).label("minute"), literal(-1)),
    ).subquery()
    by_minute = select(counted.c.event_key).group_by(counted.c.event_key, counted.c.minute)
    found.update(connection.execute(by_minute.having(func.sum(counted.c.arrivals) != 0)).scalars())
    return sorted(found)


def _count_rows() -> tuple[ColumnElement[int], ...]:
    """What `count_of` ought to be for each `event`, in the order of the columns."""
    of_event = [
        (person.c.event_key == event.c.key, person.c.enrolled_at.is_not(None)),
        (face.c.event_key == event.c.key, IS_ACTIVE),
        (migrated_face.c.event_key == event.c.key, IS_MIGRATED),
        (check_in.c.event_key == event.c.key,),
    ]
    return tuple(select(func.count()).where(*each).scalar_subquery() for each in of_event)


def _minute(connection: Connection) -> ColumnElement[Any]:
    if connection.dialect.name == "sqlite":
        whole = func.substr(check_in.c.first_at, 1, 16, type_=UtcDateTime())
        return whole.op("||")(literal_column("':00.000000'"))
    return func.date_trunc(literal_column("'minute'"), check_in.c.first_at, literal_column("'UTC'"))
