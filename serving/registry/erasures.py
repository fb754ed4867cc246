"""Erasures: what of the gallery is to be looked through once more, and when.

A vector may reach the gallery after its person or event was forgotten: its request was under way, and died
before it could take the vector back. So each forgetting leaves a row here, in its own transaction.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, case, delete, exists, func, or_, select, update

from serving.database import Database
from serving.database.metadata import now_utc
from serving.registry.erased import forget_erased
from serving.registry.paging import check_limit
from serving.registry.records import Erasure, Place
from serving.registry.tables import (
    IS_OF_PARTITION,
    IS_OF_PERSON,
    erasure,
    event,
    face,
    insert_into,
    migrated_face,
)

REVISIT_S = 900.0
"""Older than any request can be, so that no vector arrives after the visit."""

_DUE = (
    select(erasure.c.id, erasure.c.event_key, erasure.c.person_id, erasure.c.pack_id, erasure.c.partition)
    .where(erasure.c.due_at <= bindparam("now"))
    .order_by(erasure.c.due_at)
    .limit(bindparam("limit"))
)


class Erasures:
    """The erasures that are planned, as the sweep carries them out.

    Every method may raise StageUnavailable (no database) and, when it writes, Overloaded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, limit: int = 1000) -> list[Erasure]:
        """Those whose time has come, the longest due first, at most `limit` (1 to 1000).

        For each, erase the vectors of its place, or those of the person but `known_faces`, then `finish` it.
        """
        return await self._database.read(due_erasures, now_utc(), check_limit(limit))

    async def claim(self, event_key: str, person_id: str, lease_s: float) -> str:
        """Hold off enrolments of a person for at most `lease_s` seconds; the id for `finish`.

        `Registry.begin_enrolment` raises StageUnavailable in the meantime.
        """
        return await self._database.write(claim_erasure, event_key, person_id, lease_s)

    async def release(self, event_key: str, person_id: str) -> None:
        """End the hold of `claim`; may be repeated."""
        await self._database.write(release_erasure, event_key, person_id)

    async def postpone(self, id: str) -> None:
        """Put one that is due and cannot be carried out behind all others that are due."""
        await self._database.write(postpone_erasure, id)

    async def finish(self, id: str) -> None:
        """Forget an erasure that is done; may be repeated.

        One that was asked for again since `due` has a new id, so that it stays.
        """
        await self._database.write(finish_erasure, id)

    async def known_faces(self, event_key: str, person_id: str, partition: str) -> frozenset[str]:
        """The ids of all faces of a person whose vectors are to stay in a partition of the event.

        Those that are enrolled or announced there; empty for a person who is not there.
        """
        return await self._database.read(known_faces, event_key, person_id, partition)

    async def compact_stores(self) -> None:
        """Take what was erased long enough ago out of the database's files, where they are ours."""
        await self._database.compact()

    async def forget_erased(self, older_than_days: int) -> None:
        """Drop the hashes of who was erased longer ago than any backup is kept."""
        await self._database.write(forget_erased, older_than_days)

    async def places(self, event_key: str) -> list[Place]:
        """Wherever vectors of an event may lie, also those no longer searched; it may be gone itself."""
        return await self._database.read(find_places, event_key)


def plan_erasure(connection: Connection, event_key: str, person_id: str, after_s: float) -> None:
    """Have the vectors of a person erased `after_s` seconds from now, in every place of the event.

    One that is planned already keeps the later time. It gets a new id, so that a visit which began before
    this call does not count as this one.
    """
    _plan(connection, {"event_key": event_key, "person_id": person_id}, after_s)


def plan_place_erasure(connection: Connection, event_key: str, place: Place, after_s: float) -> None:
    """Have a whole place of an event erased `after_s` seconds from now; else as `plan_erasure`."""
    values = {"event_key": event_key, "person_id": None, "partition": place.partition}
    _plan(connection, {**values, "pack_id": place.pack_id}, after_s)


def _plan(connection: Connection, values: dict[str, str | None], after_s: float) -> None:
    of_person = values["person_id"] is not None
    insert = insert_into(connection, erasure)
    insert = insert.on_conflict_do_update(
        index_elements=[erasure.c.event_key, erasure.c.person_id] if of_person else [erasure.c.partition],
        index_where=IS_OF_PERSON if of_person else IS_OF_PARTITION,
        set_={
            "id": insert.excluded.id,
            "due_at": case(
                (insert.excluded.due_at > erasure.c.due_at, insert.excluded.due_at), else_=erasure.c.due_at
            ),
        },
    )
    due_at = now_utc() + timedelta(seconds=after_s)
    connection.execute(insert, {"id": uuid.uuid4().hex, "due_at": due_at, **values})


def claim_erasure(connection: Connection, event_key: str, person_id: str, lease_s: float) -> str:
    """Keep enrolments of a person from beginning for `lease_s` seconds; the id of the erasure.

    It is planned, for now, where there is none. Between asking the gallery and erasing from it a face of the
    same name must not be stored. Enrolments that have begun are waited for, so that their faces are known.
    """
    _lock_person(connection, event_key, person_id, exclusive=True)
    of_person = (erasure.c.event_key == event_key, erasure.c.person_id == person_id)
    until = now_utc() + timedelta(seconds=lease_s)
    claimed = update(erasure).where(*of_person).values(claimed_until=until)
    if connection.execute(claimed).rowcount == 0:
        plan_erasure(connection, event_key, person_id, 0.0)
        connection.execute(claimed)
    return str(connection.execute(select(erasure.c.id).where(*of_person)).scalar_one())


def release_erasure(connection: Connection, event_key: str, person_id: str) -> None:
    """Let enrolments of a person begin again."""
    connection.execute(
        update(erasure)
        .where(erasure.c.event_key == event_key, erasure.c.person_id == person_id)
        .values(claimed_until=None)
    )


def is_claimed(connection: Connection, event_key: str, person_id: str) -> bool:
    """Whether an erasure of the person is being carried out; else none is until this transaction ends."""
    _lock_person(connection, event_key, person_id, exclusive=False)
    claimed = select(erasure.c.id).where(
        erasure.c.event_key == event_key,
        erasure.c.person_id == person_id,
        erasure.c.claimed_until > now_utc(),
    )
    return connection.execute(claimed).first() is not None


def due_erasures(connection: Connection, now: datetime, limit: int) -> list[Erasure]:
    """The erasures whose time has come, the longest due first."""
    rows = connection.execute(_DUE, {"now": now, "limit": limit})
    return [
        Erasure(id, event_key, person_id, None if partition is None else Place(pack_id, partition))
        for id, event_key, person_id, pack_id, partition in rows
    ]


def postpone_erasure(connection: Connection, erasure_id: str) -> None:
    """Make an erasure the latest of those that are due; one that was planned anew keeps its time."""
    connection.execute(update(erasure).where(erasure.c.id == erasure_id).values(due_at=now_utc()))


def finish_erasure(connection: Connection, erasure_id: str) -> None:
    """Remove an erasure, unless it was planned anew, under another id."""
    connection.execute(delete(erasure).where(erasure.c.id == erasure_id))


def known_faces(connection: Connection, event_key: str, person_id: str, partition: str) -> frozenset[str]:
    """All faces of a person that a partition holds or is about to, pending and active.

    One statement, so that a switch of packs falls before or after it: the partition of the pack to come holds
    the faces that are migrated, every other one those of the person. One that is not searched any more is not
    thinned out, for a search that began before the switch may still look there; it is erased as a whole.
    """
    of_person = (face.c.event_key == event_key, face.c.person_id == person_id)
    is_next = exists().where(event.c.key == event_key, event.c.next_partition == partition)
    is_migrated = exists().where(
        migrated_face.c.event_key == face.c.event_key,
        migrated_face.c.person_id == face.c.person_id,
        migrated_face.c.id == face.c.id,
    )
    known = select(face.c.id).where(*of_person, or_(~is_next, is_migrated))
    return frozenset(connection.execute(known).scalars())


def find_places(connection: Connection, event_key: str) -> list[Place]:
    """Of the event first, then of the planned erasures: in this order none is missed when packs switch."""
    columns = (
        event.c.pack_id,
        func.coalesce(event.c.partition, event.c.key),
        event.c.migrating_to,
        event.c.next_partition,
    )
    found: dict[str, Place] = {}
    row = connection.execute(select(*columns).where(event.c.key == event_key)).first()
    if row is not None:
        found[row[1]] = Place(row[0], row[1])
        if row[3] is not None:
            found[row[3]] = Place(row[2], row[3])
    planned = select(erasure.c.pack_id, erasure.c.partition).where(
        erasure.c.event_key == event_key, IS_OF_PARTITION
    )
    for pack_id, partition in connection.execute(planned):
        found.setdefault(partition, Place(pack_id, partition))
    return list(found.values())


def _lock_person(connection: Connection, event_key: str, person_id: str, *, exclusive: bool) -> None:
    """Keep claims and enrolments of one person apart until this transaction ends.

    Neither the person nor the erasure need have a row that could be locked. SQLite has one writer anyway.
    """
    if connection.dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock if exclusive else func.pg_advisory_xact_lock_shared
        connection.execute(select(lock(func.hashtextextended(f"{event_key}/{person_id}", 0))))
