"""A unit of work that counts over all events, for the metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from serving.jobs.tables import job
from serving.registry.event_counts import TOTALS
from serving.registry.tables import IS_OPEN, erasure, event

_PACKS = select(event.c.key, event.c.pack_id, event.c.migrating_to)
_EVENTS = select(func.count()).select_from(event).where(IS_OPEN)
_ERASURES = select(func.count()).select_from(erasure)
_JOBS = select(job.c.kind, job.c.state, func.count()).group_by(job.c.kind, job.c.state)


@dataclass(frozen=True, slots=True)
class Totals:
    """How much there is.

    Attributes:
        faces: pack id -> faces with a vector of it; of an event that moves to another pack, some have two.
        events: those not deleted.
        erasures: those not carried out yet.
        jobs: (kind, state) -> jobs.
    """

    faces: dict[str, int]
    events: int
    erasures: int
    jobs: dict[tuple[str, str], int]


def count_totals(connection: Connection) -> Totals:
    """Everything at once; takes time with the events, jobs and erasures, not with the faces."""
    faces: Counter[str] = Counter()
    present: dict[str, str] = {}
    next_ones: dict[str, str] = {}
    for key, pack_id, migrating_to in connection.execute(_PACKS):
        present[key] = pack_id
        faces[pack_id] += 0
        if migrating_to is not None:
            next_ones[key] = migrating_to
            faces[migrating_to] += 0
    for key, count, migrated in connection.execute(TOTALS):
        if key in present:
            faces[present[key]] += count
        if key in next_ones:
            faces[next_ones[key]] += migrated
    jobs = {(kind, state): count for kind, state, count in connection.execute(_JOBS)}
    events = connection.execute(_EVENTS).scalar_one()
    return Totals(dict(faces), events, connection.execute(_ERASURES).scalar_one(), jobs)
