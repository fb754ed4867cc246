"""The search for the highest rate that holds an objective, by bisection, with the result repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Trial:
    """One rate, offered for a while: whether it held, and as a repetition of a result or as a step to it."""

    rate_per_s: float
    is_held: bool
    is_repeat: bool


class RateSearch:
    """Ask `next_rate` what to offer, offer it, `tell` whether it held; until `next_rate` is None.

    First the rate doubles until it misses; then the interval is halved until its ends are within `precision`
    of each other. The result is offered `repeats` times more: when fewer than half of them hold, or more than
    half miss, it is lowered by the precision and repeated again.

    Args:
        first_per_s: where to begin, above 0.
        precision: relative width at which bisection ends.
        repeats: trials that confirm a result; 0 takes the first that held.
        most_per_s: never offer more.
    """

    LEAST_SHARE = 1 / 64
    """Of `first_per_s`: below it the search gives up."""

    def __init__(
        self, first_per_s: float, *, precision: float = 0.05, repeats: int = 3, most_per_s: float = 1e5
    ) -> None:
        if not 0 < first_per_s <= most_per_s or not 0 < precision < 1:
            raise ValueError("a search begins above 0 and no higher than most_per_s, and 0 < precision < 1")
        self._least_per_s = first_per_s * self.LEAST_SHARE
        self._most_per_s = most_per_s
        self._precision = precision
        self._repeats = repeats
        self._low: float | None = None
        self._high: float | None = None
        self._next: float | None = first_per_s
        self._confirming: list[bool] | None = None
        self.trials: list[Trial] = []
        self.result_per_s: float | None = None
        self.confidence: tuple[int, int] = (0, 0)

    def next_rate(self) -> float | None:
        """What to offer now; None when the search has ended."""
        return self._next

    def tell(self, is_held: bool) -> None:
        """How it went at `next_rate`."""
        rate = self._next
        assert rate is not None, "the search has ended"
        self.trials.append(Trial(rate, is_held, self._confirming is not None))
        if self._confirming is not None:
            self._confirming.append(is_held)
            self._confirm(rate)
        elif is_held:
            self._low = rate
            self._step()
        else:
            self._high = rate
            self._step()

    def dump(self) -> dict[str, Any]:
        """For the report."""
        return {
            "result_per_s": self.result_per_s,
            "held": self.confidence[0],
            "repeats": self.confidence[1],
            "precision": self._precision,
            "lowest_missed_per_s": min(
                (trial.rate_per_s for trial in self.trials if not trial.is_held), default=None
            ),
            "trials": [
                {"rate_per_s": trial.rate_per_s, "is_held": trial.is_held, "is_repeat": trial.is_repeat}
                for trial in self.trials
            ],
        }

    def _step(self) -> None:
        low, high = self._low, self._high
        if high is None:
            assert low is not None
            if low >= self._most_per_s:
                self._begin_confirming(low)
            else:
                self._next = min(2 * low, self._most_per_s)
        elif low is None:
            self._next = high / 2 if high / 2 >= self._least_per_s else None
        elif high / low - 1 <= self._precision:
            self._begin_confirming(low)
        else:
            # The geometric mean: what is even in a search over ratios.
            self._next = (low * high) ** 0.5

    def _begin_confirming(self, rate: float) -> None:
        if rate < self._least_per_s:
            self._next = None
            return
        self._next = rate
        self._confirming = []
        self._confirm(rate)

    def _confirm(self, rate: float) -> None:
        assert self._confirming is not None
        held, done = sum(self._confirming), len(self._confirming)
        if 2 * (done - held) > self._repeats:
            self._begin_confirming(rate / (1 + self._precision))
        elif done == self._repeats:
            self.result_per_s = rate
            self.confidence = (held, done)
            self._next = None
