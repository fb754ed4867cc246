"""Service level objectives, and whether a load met them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from loadtest.tally import Cell, Tally


@dataclass(frozen=True, slots=True)
class Objectives:
    """What a load must hold; None asks for nothing.

    Attributes:
        p50_ms, p95_ms, p99_ms: of accepted requests, from when they were due.
        errors: largest share of the offered that fails, in any other way than being shed.
        shed: largest share of the offered answered 429 or 503.
        rate_per_s: accepted requests a second, at least.
        drift: p95 of the last third of the time over that of the first third, at most; for a soak.
    """

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    errors: float | None = 0.0
    shed: float | None = None
    rate_per_s: float | None = None
    drift: float | None = None

    def describe(self) -> str:
        """In a few words."""
        words = [
            f"{name} at most {limit:g} ms"
            for name, limit in (("p50", self.p50_ms), ("p95", self.p95_ms), ("p99", self.p99_ms))
            if limit is not None
        ]
        words += [
            f"{name} at most {100 * limit:g} %"
            for name, limit in (("errors", self.errors), ("shed", self.shed))
            if limit is not None
        ]
        if self.rate_per_s is not None:
            words.append(f"at least {self.rate_per_s:g} accepted a second")
        if self.drift is not None:
            words.append(f"p95 grows at most {self.drift:g}-fold")
        return ", ".join(words) or "nothing"


@dataclass(frozen=True, slots=True)
class Line:
    """One objective: what was asked and what was measured; None when there was nothing to measure."""

    name: str
    unit: str
    limit: float
    measured: float | None
    at_least: bool = False

    @property
    def is_held(self) -> bool:
        """Nothing measured is a miss."""
        if self.measured is None:
            return False
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def describe(self) -> str:
        """For a terminal."""
        measured = "nothing measured" if self.measured is None else f"{self.measured:.6g}{self.unit}"
        bound = "at least" if self.at_least else "at most"
        verdict = "held" if self.is_held else "MISSED"
        return f"{verdict}  {self.name}: {measured}, {bound} {self.limit:g}{self.unit}"

    def dump(self) -> dict[str, Any]:
        """For the report."""
        return {**asdict(self), "is_held": self.is_held}


def judge(objectives: Objectives, cell: Cell, seconds: float, drift: float | None = None) -> list[Line]:
    """A line for each objective; that every request was sent is always one.

    Args:
        cell: what was counted.
        seconds: in which it was counted.
        drift: as `Objectives.drift`, if it was measured.
    """
    lines = [Line("not sent", "", 0.0, float(cell.fates["not_sent"]))]
    for percent, limit in ((50, objectives.p50_ms), (95, objectives.p95_ms), (99, objectives.p99_ms)):
        if limit is not None:
            found_s = cell.accepted.percentile_s(percent)
            lines.append(Line(f"p{percent}", " ms", limit, None if found_s is None else found_s * 1000))
    failed = cell.fates["failed"] + cell.offered - cell.ended
    shares = (("error share", objectives.errors, failed), ("shed share", objectives.shed, cell.fates["shed"]))
    for name, limit, count in shares:
        if limit is not None:
            lines.append(Line(name, "", limit, count / cell.offered if cell.offered else None))
    if objectives.rate_per_s is not None:
        rate = cell.fates["accepted"] / seconds if seconds > 0 else None
        lines.append(Line("accepted rate", "/s", objectives.rate_per_s, rate, at_least=True))
    if objectives.drift is not None:
        lines.append(Line("drift of p95", "", objectives.drift, drift))
    return lines


def measure_drift(tally: Tally, from_s: float, to_s: float) -> float | None:
    """p95 of accepted requests in the last third over that in the first; None when a third has none."""
    third = (to_s - from_s) / 3
    first = tally.between(from_s, from_s + third).accepted.percentile_s(95)
    last = tally.between(to_s - third, to_s).accepted.percentile_s(95)
    return last / first if first and last else None
