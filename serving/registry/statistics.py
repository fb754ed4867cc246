"""Units of work on what was counted at events: pictures answered, what became of the faces, their scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select

from serving.database.metadata import now_utc
from serving.registry.tables import event, event_score, event_statistics, insert_into

BINS = 100
"""Of the score histogram, equally wide, from cosine -1 to 1."""

BIN_WIDTH = 2 / BINS

_EVENTS_PER_STATEMENT = 500
_COUNTED = ("recognitions", "faces", "matches", "unknowns", "refusals", "spoofs")
# A cosine on the border of two bins belongs to the upper one, however it was rounded.
_ROUNDING = 1e-6

_GET = select(event_statistics.c.since, *(event_statistics.c[name] for name in _COUNTED)).where(
    event_statistics.c.event_key == bindparam("key")
)
_SCORES = (
    select(event_score.c.bin, event_score.c.outcome, event_score.c.faces)
    .where(event_score.c.event_key == bindparam("key"))
    .order_by(event_score.c.bin)
)


@dataclass(slots=True)
class Tally:
    """Counts of one event, or what is to be added to them.

    Attributes:
        recognitions: pictures answered.
        faces: found in them; `matches`, `unknowns` and `refusals` say what became of these.
        scores: (outcome, bin) -> faces whose best candidate's cosine fell there; see `bin_of`.
        partition: of the event's, which all these cosines come from; None: the event's first. Those of one
            pack are never added to those of another: around a switch of packs, a second of scores is lost.
        spoofs: of the faces, those taken for presentation attacks, refused or not.
    """

    recognitions: int = 0
    faces: int = 0
    matches: int = 0
    unknowns: int = 0
    refusals: int = 0
    scores: Counter[tuple[str, int]] = field(default_factory=Counter)
    partition: str | None = None
    spoofs: int = 0

    def add(self, other: Tally) -> None:
        """Take the other's counts up into these."""
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if self.partition == other.partition:
            self.scores.update(other.scores)


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was counted at an event; `since` is when the first of it was, None when there is nothing."""

    since: datetime | None
    tally: Tally


def bin_of(cosine: float) -> int:
    """The bin of a cosine, 0 to `BINS` - 1; one beyond -1..1 by rounding goes to the nearest."""
    return min(max(int((cosine + 1.0 + _ROUNDING) / BIN_WIDTH), 0), BINS - 1)


def add_tallies(connection: Connection, tallies: Mapping[str, Tally]) -> None:
    """Add counts to those of the events with these keys; events that are gone are passed over.

    Correct with any number of writers at once: what is stored is incremented where it lies. All write in the
    order of the keys, so that no two wait for each other.
    """
    keys = sorted(tallies)
    for start in range(0, len(keys), _EVENTS_PER_STATEMENT):
        held = _hold(connection, keys[start:][:_EVENTS_PER_STATEMENT])
        _add(connection, {key: tallies[key] for key in held}, held)


def get_statistics(connection: Connection, event_key: str) -> Statistics:
    """What was counted at an event; zeros for one that nothing was counted at, or that does not exist."""
    row = connection.execute(_GET, {"key": event_key}).first()
    if row is None:
        return Statistics(None, Tally())
    scores = Counter(
        {(outcome, bin): faces for bin, outcome, faces in connection.execute(_SCORES, {"key": event_key})}
    )
    return Statistics(row[0], Tally(**dict(zip(_COUNTED, row[1:], strict=True)), scores=scores))


def _hold(connection: Connection, keys: list[str]) -> dict[str, str]:
    """Those of the keys whose events are there, and stay until this transaction ends; their partitions."""
    partition = func.coalesce(event.c.partition, event.c.key)
    held = select(event.c.key, partition).where(event.c.key.in_(keys)).order_by(event.c.key)
    rows = connection.execute(held.with_for_update(read=True, key_share=True))
    return {row[0]: row[1] for row in rows}


def _add(connection: Connection, tallies: Mapping[str, Tally], partitions: Mapping[str, str]) -> None:
    now = now_utc()
    totals = [
        {"event_key": key, "since": now, **{name: getattr(tally, name) for name in _COUNTED}}
        for key, tally in tallies.items()
    ]
    if totals:
        insert = insert_into(connection, event_statistics)
        increments = {name: event_statistics.c[name] + insert.excluded[name] for name in _COUNTED}
        insert = insert.on_conflict_do_update(index_elements=[event_statistics.c.event_key], set_=increments)
        connection.execute(insert, totals)
    scores = [
        {"event_key": key, "outcome": outcome, "bin": bin, "faces": faces}
        for key, tally in tallies.items()
        if (tally.partition or key) == partitions[key]
        for (outcome, bin), faces in sorted(tally.scores.items())
    ]
    if scores:
        insert = insert_into(connection, event_score)
        insert = insert.on_conflict_do_update(
            index_elements=[event_score.c.event_key, event_score.c.outcome, event_score.c.bin],
            set_={"faces": event_score.c.faces + insert.excluded.faces},
        )
        connection.execute(insert, scores)
