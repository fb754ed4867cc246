"""Units of work on events."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, func, insert, select, true, update
from sqlalchemy.exc import IntegrityError

from serving.database.metadata import now_utc
from serving.errors import EventExists, InvalidRequest, UnknownEvent
from serving.registry import erasures
from serving.registry.erased import note_erased
from serving.registry.event_counts import count_of
from serving.registry.identifiers import check_name, generate_event_key, generate_id
from serving.registry.paging import write_cursor
from serving.registry.records import Counts, Event, EventFields, Page
from serving.registry.tables import DELETING, IS_DELETING, IS_OPEN, OPEN, event

CURSOR_KIND = "event"
MAX_RETENTION_DAYS = 3660

_POLICIES = ("threshold", "target_false_match_rate", "strictness")
_CHOICES = {
    "strictness": ("strict", "balanced", "lenient", None),
    "request_policy": ("none", "stricter", "any"),
    "quality_level": ("off", "standard", "strict", None),
    "consent_required": (False, True),
    "liveness": ("off", "observe", "enforce", None),
}

COLUMNS = (  # of an `Event`, in its order
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
    func.coalesce(event.c.partition, event.c.key),
    event.c.migrating_to,
    event.c.next_partition,
    event.c.migration_started_at,
    event.c.liveness,
)


_GET = select(*COLUMNS).where(event.c.id == bindparam("id"), IS_OPEN)
_GET_DELETING = (
    select(*COLUMNS).where(event.c.id == bindparam("id"), IS_DELETING).order_by(event.c.created_at.desc())
)
_LIST = (
    select(*COLUMNS, count_of("people", event.c.key), count_of("faces", event.c.key))
    .where(event.c.id > bindparam("after"), IS_OPEN)
    .order_by(event.c.id)
    .limit(bindparam("limit"))
)
_COUNT = select(count_of("people", bindparam("key")), count_of("faces", bindparam("key")))


def ping(connection: Connection) -> None:
    """Ask the database for anything at all."""
    connection.execute(select(1))


def check_fields(fields: EventFields) -> None:
    """Raise InvalidRequest, naming the field, unless an event may have these."""
    check_name(fields.get("name"))
    for name, choices in _CHOICES.items():
        if name in fields and fields[name] not in choices:  # type: ignore[literal-required]
            raise InvalidRequest(f"{name} is one of {choices}.", field=name)
    threshold, rate = fields.get("threshold"), fields.get("target_false_match_rate")
    if threshold is not None and not (math.isfinite(threshold) and -1 <= threshold <= 1):
        raise InvalidRequest("A threshold is a cosine, from -1 to 1.", field="threshold")
    if rate is not None and not 0 < rate <= 1:
        raise InvalidRequest("A false match rate is above 0 and at most 1.", field="target_false_match_rate")
    days = fields.get("retention_days")
    if days is not None and not 1 <= days <= MAX_RETENTION_DAYS:
        raise InvalidRequest(f"retention_days is 1 to {MAX_RETENTION_DAYS}.", field="retention_days")
    if len(_given_policies(fields)) > 1:
        raise InvalidRequest(f"At most one of {_POLICIES} is given.", field=_POLICIES[0])


def create_event(connection: Connection, event_id: str | None, pack_id: str, fields: EventFields) -> Event:
    """Insert an open event under a new key; raises EventExists when the id is taken by an open one."""
    row = {"name": None, "threshold": None, **fields}
    key = generate_event_key()
    created = Event(
        key=key,
        partition=key,
        id=event_id or generate_id(),
        pack_id=pack_id,
        created_at=now_utc(),
        state=OPEN,
        **row,  # type: ignore[arg-type]
    )
    try:
        connection.execute(
            insert(event),
            {
                "key": created.key,
                "id": created.id,
                "pack_id": pack_id,
                "created_at": created.created_at,
                "state": OPEN,
                **row,
            },
        )
    except IntegrityError as error:
        raise EventExists(f"The event {created.id!r} exists already.", event=created.id) from error
    return created


def update_event(connection: Connection, event_key: str, changes: EventFields) -> Event:
    """Set what is given of an open event; raises UnknownEvent.

    A decision policy takes the place of one in another form.
    """
    values = policy_values(changes)
    # No change is one too: the row is written as it was.
    return _set(connection, event_key, **(values or {"name": event.c.name}))


def policy_values(changes: EventFields) -> dict[str, object]:
    """The values of the columns for these changes, in which one form of the policy removes the others."""
    values: dict[str, object] = {**changes}
    for given in _given_policies(changes):
        values.update({name: None for name in _POLICIES if name != given})
    return values


def close_event(connection: Connection, event_key: str) -> Event:
    """Close an open event, unless it is closed already; raises UnknownEvent."""
    return _set(connection, event_key, closed_at=func.coalesce(event.c.closed_at, now_utc()))


def reopen_event(connection: Connection, event_key: str) -> Event:
    """Undo `close_event`; raises UnknownEvent."""
    return _set(connection, event_key, closed_at=None)


def get_event(connection: Connection, event_id: str) -> Event:
    """The open event of this id; raises UnknownEvent."""
    row = connection.execute(_GET, {"id": event_id}).first()
    if row is None:
        raise UnknownEvent(event=event_id)
    return Event(*row)


def list_events(
    connection: Connection, after_id: str, limit: int, only: Sequence[str] | None, closed: bool | None
) -> Page[Event]:
    """One page of open events by id, counted; only those that are closed, or are not, unless None."""
    statement = _LIST if only is None else _LIST.where(event.c.id.in_(only))
    if closed is not None:
        statement = statement.where(event.c.closed_at.is_not(None) if closed else event.c.closed_at.is_(None))
    rows = connection.execute(statement, {"after": after_id, "limit": limit + 1}).all()
    found = tuple(Event(*row) for row in rows[:limit])
    return Page(found, write_cursor(CURSOR_KIND, found[-1].id) if len(rows) > limit else None)


def begin_deletion(connection: Connection, event_id: str) -> Event:
    """Mark the open event; else return the one of this id that is marked already; else raise UnknownEvent."""
    closing = update(event).where(event.c.id == event_id, IS_OPEN).values(state=DELETING).returning(*COLUMNS)
    row = connection.execute(closing).first() or connection.execute(_GET_DELETING, {"id": event_id}).first()
    if row is None:
        raise UnknownEvent(event=event_id)
    note_erased(connection, "event", row[0])
    return Event(*row)


def finish_deletion(connection: Connection, event_key: str) -> None:
    """Remove a marked event and, with it, its people and faces; plan an erasure of what is stored late."""
    removed = delete(event).where(event.c.key == event_key, IS_DELETING).returning(*COLUMNS)
    row = connection.execute(removed).first()
    if row is not None:
        for place in Event(*row).places:
            erasures.plan_place_erasure(connection, event_key, place, erasures.REVISIT_S)


def deleting_events(connection: Connection) -> list[Event]:
    """All marked events, oldest first."""
    marked = select(*COLUMNS).where(IS_DELETING).order_by(event.c.created_at)
    return [Event(*row) for row in connection.execute(marked)]


def count(connection: Connection, event_key: str) -> Counts:
    """People and faces of one event; zeros for a key that does not exist."""
    return Counts(*connection.execute(_COUNT, {"key": event_key}).one())


def hold_open(connection: Connection, event_key: str) -> bool:
    """Whether the event is open; when it is, it stays so until this transaction ends."""
    held = select(true()).where(event.c.key == event_key, IS_OPEN).with_for_update(read=True)
    return connection.execute(held).first() is not None


def _given_policies(fields: EventFields) -> list[str]:
    return [name for name in _POLICIES if fields.get(name) is not None]


def _set(connection: Connection, event_key: str, **values: object) -> Event:
    changed = update(event).where(event.c.key == event_key, IS_OPEN).values(values).returning(*COLUMNS)
    row = connection.execute(changed).first()
    if row is None:
        raise UnknownEvent
    return Event(*row)
