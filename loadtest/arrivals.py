"""When requests are due: open-loop arrivals, which do not wait for answers."""

from __future__ import annotations

import random
from collections.abc import Mapping


class PoissonArrivals:
    """Instants of a Poisson process: independent visitors, so many a second on average.

    Many such processes together are one with the sum of their rates, so each simulated user may have one, and
    the number of users sets the rate.

    Args:
        rate_per_s: above 0.
        began_s: on any clock; the first arrival comes after it.
        rng: what draws the gaps.
    """

    def __init__(self, rate_per_s: float, began_s: float, rng: random.Random) -> None:
        if rate_per_s <= 0:
            raise ValueError(f"a rate of {rate_per_s} per second never arrives")
        self._rate_per_s = rate_per_s
        self._rng = rng
        self._due_s = began_s

    def next_s(self) -> float:
        """When the next one is due, on the clock of `began_s`; it may have passed already."""
        self._due_s += self._rng.expovariate(self._rate_per_s)
        return self._due_s


class KindDraw:
    """Draws what kind of request comes next, by weight."""

    def __init__(self, weights: Mapping[str, float], rng: random.Random) -> None:
        self._kinds = tuple(weights)
        self._weights = tuple(weights.values())
        self._rng = rng

    def draw(self) -> str:
        """One of the kinds."""
        return self._rng.choices(self._kinds, self._weights)[0]
