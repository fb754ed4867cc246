"""Confidence intervals that respect that pairs are dependent: a bootstrap over people.

A picture takes part in thousands of pairs, so pairs are far from independent, and intervals over pairs are
too narrow. Whole people are drawn instead, with replacement: a person drawn w times gives each of the own
pairs the weight w, and a pair of people drawn v and w times the weight v * w; pairs between copies of one
person are left out. This is the subset bootstrap of Bolle, Ratha and Pankanti (CVIU 93, 2004) with people as
subsets, on both sides of a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from serving.evaluation.scores import Floats, Scores

REPLICATES = 1000
CONFIDENCE = 0.95
SEED = 20_240_229
MIN_PEOPLE = 10
"""Below this a bootstrap over people means nothing, and no interval is given."""

_TAIL_REACH = 4.0


@dataclass(frozen=True, slots=True)
class Interval:
    """Lower and upper end, at `CONFIDENCE`."""

    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """JSON-able form."""
        return {"low": round(self.low, 7), "high": round(self.high, 7)}


@dataclass(frozen=True, slots=True)
class Rate:
    """A measured share, of how many, and its interval, None where too few people give none."""

    value: float
    count: int
    interval: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        found = asdict(self)
        found["value"] = round(self.value, 7)
        found["interval"] = self.interval.to_json() if self.interval else None
        return found


def draw_weights(people: int, replicates: int = REPLICATES, seed: int = SEED) -> Iterator[Floats]:
    """How often each of the people was drawn, float64 [people], for each replicate; the same for one seed."""
    rng = np.random.default_rng(seed)
    even = np.full(people, 1 / people)
    for _ in range(replicates):
        yield rng.multinomial(people, even).astype(np.float64)


def percentile_interval(values: Sequence[float] | Floats) -> Interval | None:
    """The percentile interval of bootstrap replicates; those that are not numbers are left out."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if len(finite) < 0.9 * len(values) or not len(finite):
        return None
    side = (1 - CONFIDENCE) / 2
    low, high = np.quantile(finite, [side, 1 - side])
    return Interval(float(low), float(high))


def wilson_interval(errors: float, trials: int) -> Interval | None:
    """Wilson's interval of a share of independent trials (JASA 22, 1927)."""
    if trials == 0:
        return None
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = errors / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    spread = z / (1 + z * z / trials) * float(np.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)))
    return Interval(max(0.0, middle - spread), min(1.0, middle + spread))


@dataclass(frozen=True, slots=True)
class Resampled:
    """Intervals of several numbers at once, from the same draws of people.

    at_rates: of the true match rate at each false match rate, the threshold being found anew each time.
    true_matches, false_matches: of both rates at each fixed threshold.
    """

    at_rates: list[Interval | None]
    true_matches: list[Interval | None]
    false_matches: list[Interval | None]


def resample_rates(
    scores: Scores,
    rates: Sequence[float],
    thresholds: Sequence[float],
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> Resampled:
    """Bootstrap the true match rate at false match rates, and both rates at fixed thresholds.

    Only the impostor tail down to four times the largest rate is looked at; a replicate that would need more
    counts as none.
    """
    if scores.people < MIN_PEOPLE or not scores.genuine_pairs or not scores.impostor_pairs:
        return Resampled([None] * len(rates), [None] * len(thresholds), [None] * len(thresholds))
    deepest = max([*rates, *(scores.false_match_rate(cut) for cut in thresholds)], default=0.0)
    reach = min(len(scores.tail), int(_TAIL_REACH * deepest * scores.impostor_pairs) + 100)
    tail, pairs = scores.tail[:reach], scores.tail_people[:reach]
    rising, rising_genuine = -tail, -scores.genuine
    found_at_rates = np.full((replicates, len(rates)), np.nan)
    true_matches = np.full((replicates, len(thresholds)), np.nan)
    false_matches = np.full((replicates, len(thresholds)), np.nan)
    tail_places = np.searchsorted(rising, -np.asarray(thresholds, np.float32), "right")
    genuine_places = np.searchsorted(rising_genuine, -np.asarray(thresholds, np.float32), "right")
    for number, weights in enumerate(draw_weights(scores.people, replicates, seed)):
        total = scores.impostor_weight(weights)
        reached = np.concatenate([[0.0], np.cumsum(weights[pairs[:, 0]] * weights[pairs[:, 1]])])
        accepted = np.concatenate([[0.0], np.cumsum(weights[scores.genuine_people])])
        if total <= 0 or accepted[-1] <= 0:
            continue
        for column, rate in enumerate(rates):
            allowed = int(np.searchsorted(reached, rate * total, "right")) - 1
            if allowed < reach or reach == scores.impostor_pairs:
                cut = tail[max(allowed, 1) - 1]
                place = int(np.searchsorted(rising_genuine, -cut, "right"))
                found_at_rates[number, column] = accepted[place] / accepted[-1]
        true_matches[number] = accepted[genuine_places] / accepted[-1]
        false_matches[number] = reached[tail_places] / total
    return Resampled(
        [percentile_interval(column) for column in found_at_rates.T],
        [percentile_interval(column) for column in true_matches.T],
        [percentile_interval(column) for column in false_matches.T],
    )
