"""Open-set identification: who of a gallery is this, if anybody?

Terms of ISO/IEC 19795-1 and NIST's FRTE 1:N: a search of somebody enrolled fails (FNIR) unless the right
person comes first and at or above the threshold; a search of a stranger fails (FPIR) when anybody does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.evaluation.resampling import (
    MIN_PEOPLE,
    REPLICATES,
    SEED,
    Interval,
    draw_weights,
    percentile_interval,
)
from serving.evaluation.scores import MIN_ERRORS, Floats, Integers, Scores
from serving.vision.embedding import Vectors

SPLITS = 20
"""Random halves of the people. The pictures are the same, so this steadies the mean; it adds no people."""

FALSE_POSITIVE_RATE = 0.01
"""The rate at which open-set identification is stated."""

GALLERY_SIZES = (100, 1_000, 10_000)
_CURVE_POINTS = 60
_MIN_ALARMS = 10
"""Strangers found in one split on average; with fewer its threshold is the score of one or two faces."""

_INTERVAL_REPLICATES = 300


@dataclass(frozen=True)
class Split:
    """One division into enrolled people, their further pictures, and strangers.

    mated_best: float32 [m], best cosine of each search of somebody enrolled; mated_right: bool [m], whether
    it is the right person's; mated_people: who searched. strangers_best: float32 [s]; strangers: who.
    """

    gallery: int
    mated_best: NDArray[np.float32]
    mated_right: NDArray[np.bool_]
    mated_people: Integers
    strangers_best: NDArray[np.float32]
    strangers: Integers


def split_people(
    people: Integers, vectors: Vectors, gallery: int | None = None, splits: int = SPLITS, seed: int = SEED
) -> list[Split]:
    """Enrol one picture of each of a random half of the people, or of `gallery`, and search the rest."""
    rng = np.random.default_rng(seed)
    names, numbers = np.unique(people, return_inverse=True)
    size = len(names) // 2 if gallery is None else min(gallery, len(names) - 1)
    found = []
    for _ in range(splits):
        is_enrolled = np.zeros(len(names), bool)
        is_enrolled[rng.permutation(len(names))[:size]] = True
        shuffled = rng.permutation(len(numbers))
        _, first = np.unique(numbers[shuffled], return_index=True)
        templates = shuffled[first]  # one random picture of each person, by person
        is_template = np.zeros(len(numbers), bool)
        is_template[templates] = True
        enrolled = templates[is_enrolled]
        mated = np.nonzero(is_enrolled[numbers] & ~is_template)[0]
        strangers = np.nonzero(~is_enrolled[numbers])[0]
        best, nearest = _search(vectors[mated], vectors[enrolled])
        stranger_best, _ = _search(vectors[strangers], vectors[enrolled])
        right = numbers[enrolled][nearest] == numbers[mated]
        found.append(Split(size, best, right, numbers[mated], stranger_best, numbers[strangers]))
    return found


def _search(probes: Vectors, gallery: Vectors) -> tuple[NDArray[np.float32], Integers]:
    if not len(probes) or not len(gallery):
        return np.zeros(0, np.float32), np.zeros(0, np.int64)
    cosines = probes @ gallery.T
    nearest = cosines.argmax(axis=1)
    return cosines[np.arange(len(probes)), nearest], nearest


def measure_rates(split: Split, threshold: float) -> tuple[float, float]:
    """(FNIR, FPIR) at a threshold."""
    missed = ~(split.mated_right & (split.mated_best >= threshold))
    return float(missed.mean()), float((split.strangers_best >= threshold).mean())


def find_threshold(split: Split, false_positive_rate: float, weights: Floats | None = None) -> float:
    """The lowest cosine at which at most this share of strangers finds anybody.

    weights: how much each of the strangers' searches counts; None means all the same.
    """
    order = np.argsort(-split.strangers_best, kind="stable")
    falling = split.strangers_best[order]
    shares = np.ones(len(falling)) if weights is None else weights[order]
    reached = np.cumsum(shares)
    place = int(np.searchsorted(reached, false_positive_rate * reached[-1] * (1 + 1e-12), "right"))
    if place >= len(falling):
        return float(falling[-1])
    # Just above the first one that must be kept out.
    return float(np.nextafter(falling[place], np.float32(2)))


def measure_identification(
    people: Integers,
    vectors: Vectors,
    scores: Scores,
    default_threshold: float | None,
    gallery: int | None = None,
    replicates: int = _INTERVAL_REPLICATES,
) -> dict[str, Any] | None:
    """The section "identification" of the result; None where the pictures allow no search.

    scores: of all pairs of the same pictures, for the projection.
    """
    splits = split_people(people, vectors, gallery)
    if not splits or not all(len(s.mated_best) and len(s.strangers_best) for s in splits):
        return None
    searches = int(np.median([len(split.strangers_best) for split in splits]))
    mated = int(np.median([len(split.mated_best) for split in splits]))
    alarms = FALSE_POSITIVE_RATE * searches
    is_supported = alarms >= _MIN_ALARMS and alarms * len(splits) >= MIN_ERRORS
    found: dict[str, Any] = {
        "gallery": splits[0].gallery,
        "splits": len(splits),
        "mated_searches": mated,
        "stranger_searches": searches,
        "rank_1_rate": _mean([float(split.mated_right.mean()) for split in splits]),
        "false_positive_rate": FALSE_POSITIVE_RATE,
        "supported": is_supported,
        "threshold": None,
        "false_negative_rate": None,
        "at_default_threshold": None,
        "curve": _trace(splits),
        "projected": project(scores, GALLERY_SIZES),
    }
    if is_supported:
        thresholds = [find_threshold(split, FALSE_POSITIVE_RATE) for split in splits]
        values = [measure_rates(s, t)[0] for s, t in zip(splits, thresholds, strict=True)]
        interval = resample_identification(splits, len(np.unique(people)), FALSE_POSITIVE_RATE, replicates)
        found["threshold"] = _mean(thresholds)
        found["false_negative_rate"] = {
            "value": _mean(values),
            "count": mated,
            "interval": interval.to_json() if interval else None,
        }
    if default_threshold is not None:
        both = [measure_rates(split, default_threshold) for split in splits]
        expected = 1 - (1 - scores.false_match_rate(default_threshold)) ** splits[0].gallery
        found["at_default_threshold"] = {
            "threshold": round(default_threshold, 7),
            "false_negative_rate": _mean([miss for miss, _ in both]),
            "false_positive_rate": _mean([alarm for _, alarm in both]),
            "false_positive_rate_if_independent": round(expected, 6),
        }
    return found


def resample_identification(
    splits: Sequence[Split],
    people: int,
    false_positive_rate: float,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> Interval | None:
    """Interval of the mean FNIR over the splits, people drawn with replacement, galleries as they are."""
    if people < MIN_PEOPLE:
        return None
    values = []
    for weights in draw_weights(people, replicates, seed):
        rates = []
        for split in splits:
            counted = weights[split.mated_people]
            strangers = weights[split.strangers]
            if counted.sum() <= 0 or strangers.sum() <= 0:
                continue
            threshold = find_threshold(split, false_positive_rate, strangers)
            missed = ~(split.mated_right & (split.mated_best >= threshold))
            rates.append(float((counted * missed).sum() / counted.sum()))
        values.append(float(np.mean(rates)) if rates else float("nan"))
    return percentile_interval(values)


def project(scores: Scores, galleries: Sequence[int]) -> list[dict[str, Any]]:
    """FNIR at FPIR 1 % for other gallery sizes, if comparisons were independent.

    A stranger finds nobody of N with the probability (1 - FMR)^N, so FPIR = 1 - (1 - FMR)^N; FNIR is taken to
    be FNMR there. Strangers that come before the right person are left out of account, and lookalikes make
    comparisons dependent, so this is a projection and no measurement.
    """
    rows: list[dict[str, Any]] = []
    for size in galleries:
        rate = 1 - (1 - FALSE_POSITIVE_RATE) ** (1 / size)
        row: dict[str, Any] = {"gallery": size, "false_match_rate": float(f"{rate:.4g}"), "supported": False}
        if scores.genuine_pairs and scores.supports(rate):
            threshold = scores.threshold_at(rate)
            row |= {
                "supported": True,
                "threshold": round(threshold, 7),
                "false_negative_rate": round(1 - scores.true_match_rate(threshold), 6),
            }
        rows.append(row)
    return rows


def _trace(splits: Sequence[Split]) -> list[dict[str, float]]:
    """FNIR over FPIR, averaged over the splits, from the lowest rate that they support."""
    fewest = min(len(split.strangers_best) for split in splits)
    floor = min(1.0, _MIN_ALARMS / fewest)
    rows = []
    for rate in np.geomspace(floor, 1.0, _CURVE_POINTS):
        values = [measure_rates(split, find_threshold(split, float(rate)))[0] for split in splits]
        rows.append({"false_positive_rate": round(float(rate), 6), "false_negative_rate": _mean(values)})
    return rows


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 7)
