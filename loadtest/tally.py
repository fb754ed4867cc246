"""What became of requests: counts and latencies by kind and over time, of one process or of many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from loadtest.latencies import Latencies

MAX_CELLS = 1200
"""Cells of the time series; with more, two become one, so that a soak of days fits into memory."""

SHED_STATUSES = frozenset({429, 503})

Fate = Literal["accepted", "shed", "failed", "not_sent"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request that has ended.

    Attributes:
        kind: what was asked.
        at_s: when it was due, in seconds since the load began.
        fate: accepted, shed (429 or 503), failed, or not sent because too many were under way.
        reason: of shed and failed ones: status and error code.
        latency_s: from when it was due to the last byte of the answer.
        lag_s: from when it was due to when it was sent; the generator's own delay.
        says_when: whether the answer had `Retry-After`.
        is_expected: whether an accepted answer named who it should.
    """

    kind: str
    at_s: float
    fate: Fate
    reason: str = ""
    latency_s: float = 0.0
    lag_s: float = 0.0
    says_when: bool = False
    is_expected: bool = True


@dataclass(slots=True)
class Cell:
    """Counts of a stretch of time, or of a kind of request."""

    offered: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    accepted: Latencies = field(default_factory=Latencies)
    shed: Latencies = field(default_factory=Latencies)
    shed_once_sent: Latencies = field(default_factory=Latencies)
    """Of the same requests, without the generator's own delay."""

    @property
    def ended(self) -> int:
        """How many have any fate."""
        return sum(self.fates.values())

    def note(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.fates[outcome.fate] += 1
        if outcome.fate == "accepted":
            self.accepted.add(outcome.latency_s)
        elif outcome.fate == "shed":
            self.shed.add(outcome.latency_s)
            self.shed_once_sent.add(outcome.latency_s - outcome.lag_s)

    def merge(self, others: Iterable[Cell]) -> Cell:
        """Add others; returns itself."""
        for other in others:
            self.offered += other.offered
            self.fates.update(other.fates)
            self.accepted.merge([other.accepted])
            self.shed.merge([other.shed])
            self.shed_once_sent.merge([other.shed_once_sent])
        return self

    def dump(self) -> dict[str, Any]:
        """For JSON and messages; `read` is its inverse."""
        return {
            "offered": self.offered,
            "fates": dict(self.fates),
            "accepted": self.accepted.dump(),
            "shed": self.shed.dump(),
            "shed_once_sent": self.shed_once_sent.dump(),
        }

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Cell:
        """What `dump` gave."""
        return cls(
            stored["offered"],
            Counter(stored["fates"]),
            Latencies.read(stored["accepted"]),
            Latencies.read(stored["shed"]),
            Latencies.read(stored["shed_once_sent"]),
        )


class Tally:
    """Everything that one process has seen; tallies of several add up.

    Args:
        warm_up_s: requests due earlier are in the time series and nowhere else.

    Attributes:
        interval_s: length of a cell of the time series; doubles when there are too many.
        cells: the time series by number of cell.
        answered: accepted requests by the cell in which their answer came.
        kinds: counts after the warm-up by kind of request.
        reasons: shed and failed requests after the warm-up, by kind and reason.
        lag: the generator's own delay, after the warm-up.
        without_retry_after: shed answers that did not say when to come back.
        unexpected: accepted answers that did not name whom they should, by kind.
    """

    def __init__(self, warm_up_s: float = 0.0) -> None:
        self.warm_up_s = warm_up_s
        self.interval_s = 1
        self.cells: dict[int, Cell] = {}
        self.answered: Counter[int] = Counter()
        self.kinds: dict[str, Cell] = {}
        self.reasons: Counter[str] = Counter()
        self.lag = Latencies()
        self.without_retry_after = 0
        self.unexpected: Counter[str] = Counter()

    def offer(self, kind: str, at_s: float) -> None:
        """Count a request that is due."""
        for cell in self._find_cells(kind, at_s):
            cell.offered += 1

    def note(self, outcome: Outcome) -> None:
        """Count what became of it."""
        for cell in self._find_cells(outcome.kind, outcome.at_s):
            cell.note(outcome)
        if outcome.fate == "accepted":
            self.answered[int((outcome.at_s + outcome.latency_s) // self.interval_s)] += 1
        if outcome.at_s < self.warm_up_s:
            return
        if outcome.fate != "not_sent":
            self.lag.add(outcome.lag_s)
        if outcome.fate != "accepted":
            self.reasons[f"{outcome.kind}: {outcome.reason or outcome.fate}"] += 1
        self.without_retry_after += outcome.fate == "shed" and not outcome.says_when
        if outcome.fate == "accepted" and not outcome.is_expected:
            self.unexpected[outcome.kind] += 1

    def total(self) -> Cell:
        """All kinds together, after the warm-up."""
        return Cell().merge(self.kinds.values())

    def between(self, from_s: float, to_s: float) -> Cell:
        """What was due in a stretch of time, to whole cells."""
        interval = self.interval_s
        return Cell().merge(
            cell for at, cell in self.cells.items() if from_s <= at * interval and (at + 1) * interval <= to_s
        )

    @property
    def under_way(self) -> int:
        """Requests offered that have not ended."""
        return sum(cell.offered - cell.ended for cell in self.cells.values())

    def merge(self, other: Tally) -> Tally:
        """Add another's; returns itself."""
        while self.interval_s < other.interval_s:
            self._coarsen()
        for at, cell in other.cells.items():
            place = at * other.interval_s // self.interval_s
            self.cells.setdefault(place, Cell()).merge([cell])
        for at, count in other.answered.items():
            self.answered[at * other.interval_s // self.interval_s] += count
        for kind, cell in other.kinds.items():
            self.kinds.setdefault(kind, Cell()).merge([cell])
        self.reasons.update(other.reasons)
        self.lag.merge([other.lag])
        self.without_retry_after += other.without_retry_after
        self.unexpected.update(other.unexpected)
        self._keep_small()
        return self

    def dump(self) -> dict[str, Any]:
        """For messages between processes; `read` is its inverse."""
        return {
            "warm_up_s": self.warm_up_s,
            "interval_s": self.interval_s,
            "cells": {str(at): cell.dump() for at, cell in self.cells.items()},
            "answered": {str(at): count for at, count in self.answered.items()},
            "kinds": {kind: cell.dump() for kind, cell in self.kinds.items()},
            "reasons": dict(self.reasons),
            "lag": self.lag.dump(),
            "without_retry_after": self.without_retry_after,
            "unexpected": dict(self.unexpected),
        }

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Tally:
        """What `dump` gave."""
        tally = cls(stored["warm_up_s"])
        tally.interval_s = stored["interval_s"]
        tally.cells = {int(at): Cell.read(cell) for at, cell in stored["cells"].items()}
        tally.answered = Counter({int(at): count for at, count in stored["answered"].items()})
        tally.kinds = {kind: Cell.read(cell) for kind, cell in stored["kinds"].items()}
        tally.reasons = Counter(stored["reasons"])
        tally.lag = Latencies.read(stored["lag"])
        tally.without_retry_after = stored["without_retry_after"]
        tally.unexpected = Counter(stored["unexpected"])
        return tally

    def _find_cells(self, kind: str, at_s: float) -> list[Cell]:
        place = max(0, int(at_s // self.interval_s))
        if place not in self.cells:
            self.cells[place] = Cell()
            self._keep_small()
            place = max(0, int(at_s // self.interval_s))
        found = [self.cells[place]]
        if at_s >= self.warm_up_s:
            found.append(self.kinds.setdefault(kind, Cell()))
        return found

    def _keep_small(self) -> None:
        while len(self.cells) > MAX_CELLS:
            self._coarsen()

    def _coarsen(self) -> None:
        pairs: dict[int, Cell] = {}
        for at, cell in self.cells.items():
            pairs.setdefault(at // 2, Cell()).merge([cell])
        self.cells = pairs
        answered: Counter[int] = Counter()
        for at, count in self.answered.items():
            answered[at // 2] += count
        self.answered = answered
        self.interval_s *= 2
