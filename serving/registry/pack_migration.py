"""The move of an event from one model pack to another.

Vectors of two packs cannot be compared, and pictures are not kept, so an event moves by being written twice:
from `begin` to `finish` every enrolment stores vectors of both packs, and whoever was enrolled before is
enrolled again from pictures. Searches read the vectors of the event's pack alone; `finish` changes which pack
that is, in one transaction, and `abort` leaves it as it was.

What may happen at the same time:

- Enrolments hold the event's row for reading, these units for writing, so each falls wholly before or after;
  one that was planned for other packs than the event now has is refused (see `enrolment`).
- A request that searches has read the event once, and goes by that: pack, partition, threshold. The old
  partition stays whole until no such request can be under way (`erasures.REVISIT_S`), and is then erased as
  one by the sweep. Its name is never used again, so a move back to the old pack starts in a partition of its
  own and loses nothing to the late erasure.
- A vector that is stored late, after the switch or the abort, lies in the abandoned partition, and goes with
  it.
- Erasing a person or a face cascades to what is migrated of them, and looks through every place that may
  still hold their vectors (`erasures.find_places`), abandoned ones too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Exists,
    Table,
    and_,
    bindparam,
    delete,
    distinct,
    exists,
    func,
    literal_column,
    select,
    update,
)

from serving.database import Database
from serving.database.metadata import now_utc
from serving.errors import (
    InvalidRequest,
    MigrationIncomplete,
    MigrationRunning,
    NoMigration,
    UnknownEvent,
)
from serving.registry.erasures import REVISIT_S, plan_place_erasure
from serving.registry.event_counts import count_of
from serving.registry.events import COLUMNS, policy_values
from serving.registry.identifiers import generate_event_key
from serving.registry.paging import check_limit, read_cursor, write_cursor
from serving.registry.records import Event, EventFields, Page
from serving.registry.tables import (
    ACTIVE,
    IS_MIGRATED,
    IS_OPEN,
    PENDING,
    event,
    event_score,
    face,
    migrated_face,
    person,
)

CURSOR_KIND = "missing"
SCANNED_PEOPLE = 20_000
"""People that one page of missing ones looks at, so that its cost does not grow with the event."""

MAX_LISTED = 1000
"""Of the people whom a switch leaves without a face, how many are named."""


@dataclass(frozen=True, slots=True)
class MigrationProgress:
    """How far an event has moved.

    Attributes:
        people, faces: enrolled at the event.
        migrated_people, migrated_faces: those of them that have a vector of the new pack.
    """

    people: int
    faces: int
    migrated_people: int
    migrated_faces: int


@dataclass(frozen=True, slots=True)
class MissingPerson:
    """A person with faces in the event's pack and none in the one it moves to."""

    id: str
    name: str | None


@dataclass(frozen=True, slots=True)
class FinishedMigration:
    """What `finish` did.

    Attributes:
        event: as it is now.
        before: as it was.
        missing_people: how many people have no face any more.
        missing_ids: theirs, `MAX_LISTED` at most.
    """

    event: Event
    before: Event
    missing_people: int
    missing_ids: tuple[str, ...]


class PackMigrations:
    """The moves of events from pack to pack.

    Every method may raise UnknownEvent, StageUnavailable (no database) and, when it writes, Overloaded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, event_key: str, pack_id: str) -> Event:
        """Have the event written for this pack too from now on; may be repeated.

        Raises:
            InvalidRequest: it is the event's pack already.
            MigrationRunning: the event moves to a third one.
        """
        return await self._database.write(begin, event_key, pack_id)

    async def progress(self, event_key: str) -> MigrationProgress:
        """How far the event is. Those who have moved are counted in an index, all else is known."""
        return await self._database.read(measure, event_key)

    async def missing(
        self, event_key: str, after: str | None = None, limit: int = 100
    ) -> Page[MissingPerson]:
        """A page of those who have no face in the new pack yet, by id.

        Of a large event a page may hold fewer than `limit` people, even none, and yet have a `next`.
        """
        after_id = read_cursor(CURSOR_KIND, after)
        return await self._database.read(list_missing, event_key, after_id, check_limit(limit))

    async def finish(
        self,
        event_key: str,
        convert_policy: Callable[[Event], EventFields],
        *,
        allow_missing: bool,
    ) -> FinishedMigration:
        """Switch the event to the new pack, in one transaction.

        Args:
            convert_policy: from the event as it is at that moment to the changes of its decision policy; it
                may be called more than once, and what it raises ends all without a change.
            allow_missing: whether to switch although people have no face in the new pack.

        Raises:
            NoMigration: the event does not move.
            MigrationIncomplete: some have none; `context["missing_people"]` says how many.
        """
        return await self._database.write(finish, event_key, convert_policy, allow_missing)

    async def abort(self, event_key: str) -> Event:
        """Leave the event at its pack; returns it as it was. What was written for the other one is erased.

        Raises:
            NoMigration: the event does not move.
        """
        return await self._database.write(abort, event_key)

    async def packs(self) -> dict[str, list[str]]:
        """By pack the ids of open events that need it, of each at most a few; see `find_packs`."""
        return await self._database.read(find_packs)


def begin(connection: Connection, event_key: str, pack_id: str) -> Event:
    """Give the event a second place; raises as `PackMigrations.begin`."""
    held = _hold(connection, event_key)
    if held.migrating_to == pack_id:
        return held
    if held.migrating_to is not None:
        raise MigrationRunning(pack_id=held.pack_id, migrating_to=held.migrating_to)
    if held.pack_id == pack_id:
        raise InvalidRequest("The event is of this pack already.", field="pack_id")
    return _set(
        connection,
        event_key,
        migrating_to=pack_id,
        next_partition=generate_event_key(),
        migration_started_at=now_utc(),
    )


def measure(connection: Connection, event_key: str) -> MigrationProgress:
    """Counts; zeros for an event that does not exist."""
    key: BindParameter[str] = bindparam("key")
    of_migrated = (migrated_face.c.event_key == key, IS_MIGRATED)
    counted = select(
        count_of("people", key),
        count_of("faces", key),
        select(func.count(distinct(migrated_face.c.person_id))).where(*of_migrated).scalar_subquery(),
        count_of("migrated_faces", key),
    )
    return MigrationProgress(*connection.execute(counted, {"key": event_key}).one())


def _some(*criteria: ColumnElement[bool], beside: Table) -> Exists:
    """Whether there is such a row, looked up by its key for each row of the table that it stands beside.

    The offset keeps PostgreSQL from making a join of it, and "not pending" in place of "active" from taking
    the index of the active ones, in which it would go through a whole event. In the first minute of a
    migration the server has no statistics of the new rows and compares each with each: half a minute for
    20,000 people.
    """
    return exists(select(literal_column("1")).where(*criteria).correlate(beside).offset(0))


_HAS_FACE = _some(
    face.c.event_key == person.c.event_key,
    face.c.person_id == person.c.id,
    face.c.state != PENDING,
    beside=person,
)
_HAS_MIGRATED = _some(
    migrated_face.c.event_key == person.c.event_key,
    migrated_face.c.person_id == person.c.id,
    migrated_face.c.state != PENDING,
    beside=person,
)
_ENROLLED = and_(person.c.event_key == bindparam("key"), person.c.enrolled_at.is_not(None))
_MISSING_IDS = (
    select(person.c.id).where(_ENROLLED, _HAS_FACE, ~_HAS_MIGRATED).order_by(person.c.id).limit(MAX_LISTED)
)


def list_missing(connection: Connection, event_key: str, after_id: str, limit: int) -> Page[MissingPerson]:
    """One page; at most `SCANNED_PEOPLE` are looked at."""
    values = {"key": event_key, "after": after_id}
    behind = (_ENROLLED, person.c.id > bindparam("after"))
    scanned = select(person.c.id).where(*behind).order_by(person.c.id).offset(SCANNED_PEOPLE - 1).limit(1)
    scanned_to: str | None = connection.execute(scanned, values).scalar()
    page = select(person.c.id, person.c.name).where(*behind, _HAS_FACE, ~_HAS_MIGRATED)
    if scanned_to is not None:
        page = page.where(person.c.id <= scanned_to)
    rows = connection.execute(page.order_by(person.c.id).limit(limit + 1), values).all()
    found = tuple(MissingPerson(*row) for row in rows[:limit])
    last_id = found[-1].id if len(rows) > limit else scanned_to
    return Page(found, None if last_id is None else write_cursor(CURSOR_KIND, last_id))


def finish(
    connection: Connection,
    event_key: str,
    convert_policy: Callable[[Event], EventFields],
    allow_missing: bool,
) -> FinishedMigration:
    """Switch; raises as `PackMigrations.finish`. Takes time with the faces of the event, once."""
    before = _hold(connection, event_key)
    if before.migrating_to is None:
        raise NoMigration(event=before.id)
    unmoved = select(func.count()).select_from(person).where(_ENROLLED, _HAS_FACE, ~_HAS_MIGRATED)
    missing = int(connection.execute(unmoved, {"key": event_key}).scalar_one())
    if missing and not allow_missing:
        raise MigrationIncomplete(
            f"{missing} people have no face in {before.migrating_to}",
            missing_people=missing,
            pack_id=before.migrating_to,
        )
    missing_ids = tuple(connection.execute(_MISSING_IDS, {"key": event_key}).scalars()) if missing else ()
    policy = convert_policy(before)
    _take_over_faces(connection, event_key)
    # Cosines of the old pack, which those of the new one must not be added to.
    connection.execute(delete(event_score).where(event_score.c.event_key == event_key))
    after = _set(
        connection,
        event_key,
        pack_id=before.migrating_to,
        partition=before.next_partition,
        migrating_to=None,
        next_partition=None,
        migration_started_at=None,
        **policy_values(policy),
    )
    plan_place_erasure(connection, event_key, before.places[0], REVISIT_S)
    return FinishedMigration(after, before, missing, missing_ids)


def abort(connection: Connection, event_key: str) -> Event:
    """Forget the second place; raises as `PackMigrations.abort`."""
    before = _hold(connection, event_key)
    if before.migrating_to is None:
        raise NoMigration(event=before.id)
    connection.execute(delete(migrated_face).where(migrated_face.c.event_key == event_key))
    _set(connection, event_key, migrating_to=None, next_partition=None, migration_started_at=None)
    plan_place_erasure(connection, event_key, before.places[1], REVISIT_S)
    return before


def find_packs(connection: Connection) -> dict[str, list[str]]:
    """By pack the ids of the first few open events whose vectors are of it, or are going to be."""
    found: dict[str, list[str]] = {}
    for column in (event.c.pack_id, event.c.migrating_to):
        used = select(column).where(column.is_not(None), IS_OPEN).distinct()
        for pack_id in connection.execute(used).scalars():
            some = select(event.c.id).where(column == pack_id, IS_OPEN).order_by(event.c.id).limit(10)
            found.setdefault(pack_id, []).extend(connection.execute(some).scalars())
    return found


def _take_over_faces(connection: Connection, event_key: str) -> None:
    """Make the migrated faces the event's faces; others are forgotten.

    A face whose new vector is announced and not confirmed becomes pending, as if enrolled just now: its
    request confirms it, or the sweep removes it.
    """
    same = and_(
        migrated_face.c.event_key == face.c.event_key,
        migrated_face.c.person_id == face.c.person_id,
        migrated_face.c.id == face.c.id,
    )
    is_migrated = _some(same, beside=face)
    is_being_migrated = _some(same, migrated_face.c.state != ACTIVE, beside=face)
    connection.execute(delete(face).where(face.c.event_key == event_key, ~is_migrated))
    has_faces = _some(face.c.event_key == person.c.event_key, face.c.person_id == person.c.id, beside=person)
    # Without a face no sweep would find them: their enrolment begins anew, or nobody remembers them.
    announced = (person.c.event_key == event_key, person.c.enrolled_at.is_(None), ~has_faces)
    connection.execute(delete(person).where(*announced))
    connection.execute(
        update(face)
        .where(face.c.event_key == event_key, face.c.state == ACTIVE, is_being_migrated)
        .values(state=PENDING, created_at=now_utc())
    )
    connection.execute(delete(migrated_face).where(migrated_face.c.event_key == event_key))


def _hold(connection: Connection, event_key: str) -> Event:
    """The open event; nobody enrols or migrates there until this transaction ends."""
    held = select(*COLUMNS).where(event.c.key == event_key, IS_OPEN).with_for_update()
    row = connection.execute(held).first()
    if row is None:
        raise UnknownEvent
    return Event(*row)


def _set(connection: Connection, event_key: str, **values: object) -> Event:
    changed = update(event).where(event.c.key == event_key).values(values).returning(*COLUMNS)
    return Event(*connection.execute(changed).one())
