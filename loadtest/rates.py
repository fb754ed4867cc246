"""How the offered rate changes over time: steady, ramp, spike, soak, or steps of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RAMP_FROM = 0.1
"""Where a ramp begins, as a share of its end."""

SOAK_RAMP_S = 60.0


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time in which the rate goes evenly from one value to another."""

    name: str
    seconds: float
    from_per_s: float
    to_per_s: float


class RatePlan:
    """Phases, one after the other."""

    def __init__(self, phases: list[Phase]) -> None:
        if not phases or any(
            phase.seconds <= 0 or min(phase.from_per_s, phase.to_per_s) < 0 for phase in phases
        ):
            raise ValueError("a plan needs phases that last, with rates of 0 or more")
        self.phases = phases

    @property
    def seconds(self) -> float:
        """How long all phases take."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def highest_per_s(self) -> float:
        """The highest rate in it."""
        return max(max(phase.from_per_s, phase.to_per_s) for phase in self.phases)

    def rate_at(self, at_s: float) -> float | None:
        """Requests a second at a time; None once it is over."""
        for phase in self.phases:
            if at_s < phase.seconds:
                return phase.from_per_s + (phase.to_per_s - phase.from_per_s) * max(0.0, at_s) / phase.seconds
            at_s -= phase.seconds
        return None

    def dump(self) -> list[dict[str, Any]]:
        """For the report: each phase with when it begins and ends."""
        rows, at_s = [], 0.0
        for phase in self.phases:
            rows.append(
                {
                    "name": phase.name,
                    "from_s": at_s,
                    "to_s": at_s + phase.seconds,
                    "from_per_s": phase.from_per_s,
                    "to_per_s": phase.to_per_s,
                }
            )
            at_s += phase.seconds
        return rows


def make_plan(shape: str, rate_per_s: float, seconds: float, *, spike_per_s: float | None = None) -> RatePlan:
    """The plan of a named shape.

    steady: one rate. ramp: from a tenth of the rate up to it. spike: a third of the time at the rate, a third
    at `spike_per_s` (three times the rate by default), a third at the rate again. soak: up within a minute
    (a tenth of the time, if that is shorter), and then the rate.

    Raises:
        ValueError: no such shape, or a rate or time that is none.
    """
    if shape == "steady":
        return RatePlan([Phase("steady", seconds, rate_per_s, rate_per_s)])
    if shape == "ramp":
        return RatePlan([Phase("ramp", seconds, RAMP_FROM * rate_per_s, rate_per_s)])
    if shape == "spike":
        high = 3 * rate_per_s if spike_per_s is None else spike_per_s
        third = seconds / 3
        rates = (("before", rate_per_s), ("spike", high), ("after", rate_per_s))
        return RatePlan([Phase(name, third, rate, rate) for name, rate in rates])
    if shape == "soak":
        up_s = min(SOAK_RAMP_S, seconds / 10)
        return RatePlan(
            [
                Phase("up", up_s, RAMP_FROM * rate_per_s, rate_per_s),
                Phase("soak", seconds - up_s, rate_per_s, rate_per_s),
            ]
        )
    raise ValueError(f"there is no shape {shape!r}")


def read_steps(text: str) -> RatePlan:
    """A plan from `RATE:SECONDS,RATE:SECONDS`, such as `10:30,60:30,10:60`.

    Raises:
        ValueError: text is not that.
    """
    phases = []
    for number, part in enumerate(text.split(","), start=1):
        rate, _, seconds = part.partition(":")
        phases.append(Phase(f"step {number}", float(seconds), float(rate), float(rate)))
    return RatePlan(phases)
