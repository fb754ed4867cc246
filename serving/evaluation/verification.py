"""Are two pictures of one person? Accuracy over folds, TMR at FMR, error curves, and what thresholds cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.evaluation.pairs import PairList
from serving.evaluation.resampling import Interval, Rate, Resampled, resample_rates
from serving.evaluation.scores import BINS, Integers, Scores, score_all_pairs
from serving.vision.embedding import Vectors

FOLDS = 10
"""Folds of LFW's protocol; a file with fewer is cut into this many parts."""

CURVE_POINTS = 160
HISTOGRAM_BINS = 80


@dataclass(frozen=True)
class FoldAccuracy:
    """Mean share of right decisions over folds, each with the threshold that is best on the others.

    standard_error: of the mean, from the spread of the folds, as LFW's tables give it.
    """

    mean: float
    standard_error: float
    folds: int
    pairs: int
    thresholds: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "mean": round(self.mean, 6),
            "standard_error": round(self.standard_error, 6),
            "folds": self.folds,
            "pairs": self.pairs,
            "thresholds": [round(cut, 6) for cut in self.thresholds],
        }


def measure_accuracy(pairs: PairList, vectors: Vectors) -> FoldAccuracy:
    """LFW's protocol (Huang et al., UMass TR 07-49): ten folds, or ten even parts of fewer."""
    cosines = np.einsum("ij,ij->i", vectors[pairs.first], vectors[pairs.second])
    folds = pairs.fold
    if len(np.unique(folds)) < FOLDS:
        folds = np.empty(len(cosines), np.int64)
        for kind in (True, False):
            members = np.nonzero(pairs.same == kind)[0]
            folds[members] = np.arange(len(members)) * FOLDS // max(1, len(members))
    shares, thresholds = [], []
    for number in np.unique(folds):
        rest = folds != number
        threshold = choose_threshold(cosines[rest], pairs.same[rest])
        shares.append(float(((cosines[~rest] >= threshold) == pairs.same[~rest]).mean()))
        thresholds.append(threshold)
    error = float(np.std(shares, ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else float("nan")
    return FoldAccuracy(float(np.mean(shares)), error, len(shares), len(cosines), tuple(thresholds))


def choose_threshold(cosines: NDArray[np.floating], same: NDArray[np.bool_]) -> float:
    """The cosine that separates best: the one that maximises right decisions."""
    order = np.argsort(cosines)
    ordered, is_same = cosines[order], same[order]
    right = np.cumsum(~is_same)[:-1] + is_same.sum() - np.cumsum(is_same)[:-1]
    best = int(np.argmax(right))
    return float((ordered[best] + ordered[best + 1]) / 2)


@dataclass(frozen=True)
class OperatingPoint:
    """The true match rate at a false match rate; `rate` is None where the data do not support a number."""

    false_match_rate: float
    threshold: float | None
    rate: Rate | None

    def to_json(self) -> dict[str, Any]:
        """JSON-able form; "supported" says whether there is a number."""
        return {
            "false_match_rate": self.false_match_rate,
            "supported": self.rate is not None,
            "threshold": None if self.threshold is None else round(self.threshold, 7),
            "true_match_rate": self.rate.to_json() if self.rate else None,
        }


def measure_operating_points(
    scores: Scores, rates: Sequence[float], thresholds: Sequence[float] = (), replicates: int | None = None
) -> tuple[list[OperatingPoint], Resampled]:
    """TMR at each FMR, and the intervals at further fixed thresholds from the same draws."""
    supported = [rate for rate in rates if scores.supports(rate) and scores.genuine_pairs]
    extra = {} if replicates is None else {"replicates": replicates}
    found = resample_rates(scores, supported, thresholds, **extra)
    intervals = dict(zip(supported, found.at_rates, strict=True))
    points = []
    for rate in rates:
        if rate not in intervals:
            points.append(OperatingPoint(rate, None, None))
            continue
        threshold = scores.threshold_at(rate)
        value = Rate(scores.true_match_rate(threshold), scores.genuine_pairs, intervals[rate])
        points.append(OperatingPoint(rate, threshold, value))
    return points, found


def equal_error_rate(scores: Scores) -> tuple[float, float] | None:
    """(rate, threshold) where FMR and FNMR meet; None without pairs of either kind."""
    if not scores.genuine_pairs or not scores.impostor_pairs:
        return None
    low, high = -1.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if scores.false_match_rate(middle) > 1 - scores.true_match_rate(middle):
            low = middle
        else:
            high = middle
    rate = (scores.false_match_rate(high) + 1 - scores.true_match_rate(high)) / 2
    return rate, high


def trace_curve(scores: Scores) -> list[tuple[float, float, float]]:
    """(threshold, FMR, TMR), threshold falling: even in the logarithm of FMR, and where genuine scores lie.

    Begins where `MIN_ERRORS` false matches were seen; what lies beyond is chance.
    """
    if not scores.genuine_pairs or not scores.impostor_pairs:
        return []
    floor = min(1.0, scores.floor)
    ranks = np.geomspace(floor, 1.0, CURVE_POINTS) * scores.impostor_pairs
    cuts = {scores.cosine_at(int(rank)) for rank in np.unique(ranks.round().astype(np.int64)) if rank >= 1}
    top = max(cuts)
    quantiles = np.quantile(scores.genuine, np.linspace(0, 1, CURVE_POINTS // 2))
    cuts |= {float(cut) for cut in quantiles if cut <= top}
    rows = [(cut, scores.false_match_rate(cut), scores.true_match_rate(cut)) for cut in sorted(cuts)[::-1]]
    return [row for row in rows if row[1] >= floor * (1 - 1e-9)]


def histogram(scores: Scores) -> dict[str, list[float]]:
    """Shares of genuine and impostor scores in even bins over all that occur, and the edges of the bins."""
    occupied = np.nonzero(scores.counts)[0]
    low = min([*((occupied[:1] / BINS) * 2 - 1), *scores.genuine[-1:]], default=-1.0)
    low = float(np.floor(low * 50) / 50)
    edges = np.linspace(low, 1.0, HISTOGRAM_BINS + 1)
    genuine, _ = np.histogram(np.minimum(scores.genuine, 1.0), edges)
    centres = (np.arange(BINS) + 0.5) / BINS * 2 - 1
    impostor, _ = np.histogram(np.clip(centres, low, 1.0), edges, weights=scores.counts)
    return {
        "edges": [round(float(edge), 5) for edge in edges],
        "genuine": _shares(genuine),
        "impostor": _shares(impostor),
    }


def rates_by_group(
    people: Integers,
    vectors: Vectors,
    groups: Sequence[str],
    threshold: float,
) -> list[dict[str, Any]]:
    """FMR among the people of each group and FNMR of its people, at one threshold.

    groups: of each picture. Pairs across groups count for neither: strangers of one's own group are the hard
    ones, and the ones that differ between groups (NISTIR 8280).
    """
    named = np.array(groups)
    rows = []
    for name in sorted(set(groups)):
        chosen = named == name
        scores = score_all_pairs(people[chosen], vectors[chosen])
        found = resample_rates(scores, [], [threshold])
        rows.append(
            {
                "group": name,
                "people": scores.people,
                "pictures": int(chosen.sum()),
                "false_match_rate": _describe(
                    scores.false_match_rate(threshold), scores.impostor_pairs, found.false_matches[0]
                ),
                "false_non_match_rate": _describe(
                    1 - scores.true_match_rate(threshold), scores.genuine_pairs, turn(found.true_matches[0])
                ),
            }
        )
    return rows


def turn(interval: Interval | None) -> Interval | None:
    """The interval of 1 - x from that of x."""
    return None if interval is None else Interval(1 - interval.high, 1 - interval.low)


def _describe(value: float, count: int, interval: Interval | None) -> dict[str, Any] | None:
    return Rate(value, count, interval).to_json() if count else None


def _shares(counts: NDArray[Any]) -> list[float]:
    total = counts.sum()
    return [round(float(count), 7) for count in counts / total] if total else [0.0] * len(counts)
