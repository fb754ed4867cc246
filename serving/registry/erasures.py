"""Units of work on erasures: partitions of the gallery to look through once more, and when.

A vector may reach the gallery after its person or event was forgotten: its request was under way, and died
before it could take the vector back. So each forgetting leaves a row here, in its own transaction.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, case, delete, func, select, update

from serving.database.metadata import now_utc
from serving.registry.records import Erasure
from serving.registry.tables import IS_OF_EVENT, IS_OF_PERSON, erasure, face, insert_into

REVISIT_S = 900.0
"""Older than any request can be, so that no vector arrives after the visit."""

_DUE = (
    select(erasure.c.id, erasure.c.event_key, erasure.c.person_id)
    .where(erasure.c.due_at <= bindparam("now"))
    .order_by(erasure.c.due_at)
    .limit(bindparam("limit"))
)


def plan_erasure(connection: Connection, event_key: str, person_id: str | None, after_s: float) -> None:
    """Have the vectors of a person, or of the whole event for None, erased `after_s` seconds from now.

    One that is planned already keeps the later time. It gets a new id, so that a visit which began before
    this call does not count as this one.
    """
    insert = insert_into(connection, erasure)
    insert = insert.on_conflict_do_update(
        index_elements=[erasure.c.event_key]
        if person_id is None
        else [erasure.c.event_key, erasure.c.person_id],
        index_where=IS_OF_EVENT if person_id is None else IS_OF_PERSON,
        set_={
            "id": insert.excluded.id,
            "due_at": case(
                (insert.excluded.due_at > erasure.c.due_at, insert.excluded.due_at), else_=erasure.c.due_at
            ),
        },
    )
    due_at = now_utc() + timedelta(seconds=after_s)
    row = {"id": uuid.uuid4().hex, "event_key": event_key, "person_id": person_id, "due_at": due_at}
    connection.execute(insert, row)


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
    return [Erasure(*row) for row in connection.execute(_DUE, {"now": now, "limit": limit})]


def finish_erasure(connection: Connection, erasure_id: str) -> None:
    """Remove an erasure, unless it was planned anew, under another id."""
    connection.execute(delete(erasure).where(erasure.c.id == erasure_id))


def known_faces(connection: Connection, event_key: str, person_id: str) -> frozenset[str]:
    """All faces of a person, pending and active."""
    known = select(face.c.id).where(face.c.event_key == event_key, face.c.person_id == person_id)
    return frozenset(connection.execute(known).scalars())


def _lock_person(connection: Connection, event_key: str, person_id: str, *, exclusive: bool) -> None:
    """Keep claims and enrolments of one person apart until this transaction ends.

    Neither the person nor the erasure need have a row that could be locked. SQLite has one writer anyway.
    """
    if connection.dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock if exclusive else func.pg_advisory_xact_lock_shared
        connection.execute(select(lock(func.hashtextextended(f"{event_key}/{person_id}", 0))))
