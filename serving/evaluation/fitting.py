"""Fits what a pack's scores mean: from cosines of strangers to false match rates and bands."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

import numpy as np

import serving
from serving.errors import EvaluationDataError
from serving.evaluation.pairs import PairList
from serving.evaluation.scores import MIN_ERRORS, Integers, Scores, score_all_pairs
from serving.packs.calibration import Band, Calibration, Provenance
from serving.packs.store import PreparedFiles
from serving.vision.embedding import Vectors

DEFAULT_FALSE_MATCH_RATE = 1e-3
"""The rate at which face verification is customarily compared (NIST FRTE uses 1e-3 and below).

On LFW the starter pack accepts about nine genuine pairs in ten there and only three in four at 1e-4, so a
stricter default would lose more guests than it spares confusions; a large event can ask for a lower rate.
"""

BAND_RATES: dict[Band, float] = {"high": 2e-5, "medium": 1e-3, "low": 1e-2}
"""False match rate at which each band begins, best first.

`medium` is the default decision; `high` stands fifty times further from chance and is the smallest round rate
that the shipped data support; `low` is worth a look by a person, no more.
"""

STATED_RATES = (1e-2, 1e-3, 1e-4, 2e-5)
"""Rates at which a calibration says what share of genuine pairs is accepted."""

_CURVE_POINTS = 64
_MIN_IMPOSTORS = 100 * MIN_ERRORS
_DIGITS = 7


def fit_calibration(pack_id: str, scores: Scores, provenance: Provenance) -> Calibration:
    """Fit the score scale of a pack.

    The floor is the rate at which `MIN_ERRORS` errors were seen: below that the data support no statement. A
    threshold or band whose rate lies below the floor stands at the floor.

    Raises:
        EvaluationDataError: there are too few pairs.
    """
    if scores.impostor_pairs < _MIN_IMPOSTORS or not scores.genuine_pairs:
        raise EvaluationDataError(
            f"{scores.impostor_pairs} pairs of different and {scores.genuine_pairs} of the same people are "
            f"too few: {_MIN_IMPOSTORS} and 1 are needed"
        )
    cosines, rates = fit_curve(scores)
    draft = Calibration(pack_id, cosines, rates, cosines[-1], {}, {}, provenance)
    supported = [rate for rate in STATED_RATES if rate >= draft.floor]
    return Calibration(
        pack=pack_id,
        cosines=cosines,
        rates=rates,
        default_threshold=round(draft.threshold_for(max(DEFAULT_FALSE_MATCH_RATE, draft.floor)), _DIGITS),
        bands={
            name: round(draft.threshold_for(max(rate, draft.floor)), _DIGITS)
            for name, rate in BAND_RATES.items()
        },
        true_match_rates={
            f"{rate:g}": round(scores.true_match_rate(draft.threshold_for(rate)), 4) for rate in supported
        },
        provenance=provenance,
    )


def fit_curve(scores: Scores) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(cosines, rates) of the empirical tail: rank k of the falling impostor scores has the rate k / n."""
    count = scores.impostor_pairs
    ranks = np.unique(np.geomspace(MIN_ERRORS, count, _CURVE_POINTS).round().astype(int))[::-1]
    points: list[tuple[float, float]] = []
    for rank in ranks:
        cosine = round(scores.cosine_at(int(rank)), _DIGITS)
        if points and cosine <= points[-1][0]:
            continue
        points.append((cosine, float(f"{rank / count:.6g}")))
    return tuple(cosine for cosine, _ in points), tuple(rate for _, rate in points)


def describe_provenance(
    files: PreparedFiles, scores: Scores, pictures: int, people: int, *, data: str, command: str
) -> Provenance:
    """Where a calibration of this pack made here and now comes from."""
    return Provenance(
        data=data,
        people=people,
        pictures=pictures,
        impostor_pairs=scores.impostor_pairs,
        genuine_pairs=scores.genuine_pairs,
        command=command,
        made_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=list_versions(),
        models=hash_models(files),
    )


def list_versions() -> dict[str, str]:
    """Versions of whatever has a say in a score."""
    found = {"rollcall": serving.__version__, "python": platform.python_version()}
    for name in (
        "onnxruntime",
        "onnxruntime-gpu",
        "onnxruntime-openvino",
        "numpy",
        "opencv-python-headless",
        "pillow",
    ):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = str(version)
    return found


def hash_models(files: PreparedFiles) -> dict[str, str]:
    """SHA-256 of each model file of the pack, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (files.detector_path, files.embedder_path)
    }


def check_held_out(
    people: Integers, vectors: Vectors, folds: Integers, rates: tuple[float, ...] = (1e-2, 1e-3)
) -> list[dict[str, Any]]:
    """For each fold and rate: fit on the people of the other folds, measure on this fold's people.

    Args:
        folds: fold of each picture, -1 for those to leave out. No person may be in two.

    Returns:
        fold, predicted and measured false match rate, their ratio, and the threshold. Folds with too few
        pairs are left out.
    """
    rows: list[dict[str, Any]] = []
    nowhere = Provenance("other folds", 0, 0, 0, 0, "")
    for fold in sorted(set(folds.tolist()) - {-1}):
        rest = (folds != fold) & (folds >= 0)
        held_out = score_all_pairs(people[folds == fold], vectors[folds == fold])
        try:
            fitted = fit_calibration("held out", score_all_pairs(people[rest], vectors[rest]), nowhere)
        except EvaluationDataError:
            continue
        for rate in rates:
            if rate < fitted.floor or not held_out.supports(rate):
                continue
            threshold = fitted.threshold_for(rate)
            measured = held_out.false_match_rate(threshold)
            rows.append(
                {
                    "fold": int(fold),
                    "predicted": rate,
                    "measured": round(measured, 8),
                    "ratio": round(measured / rate, 4),
                    "threshold": round(threshold, _DIGITS),
                }
            )
    return rows


def folds_of_pictures(pairs: PairList, people: Integers) -> Integers:
    """The fold of each picture's person, -1 for people whom no pair names."""
    return pairs.fold_of_people(people)[people]


def compare_calibrations(before: Calibration | None, after: Calibration) -> list[Mapping[str, Any]]:
    """Thresholds before and after, for each stated rate that either supports."""
    rows: list[Mapping[str, Any]] = []
    for rate in STATED_RATES:
        known = [
            each.threshold_for(rate) if each and rate >= each.floor else None for each in (before, after)
        ]
        if any(threshold is not None for threshold in known):
            rows.append({"false_match_rate": rate, "before": known[0], "after": known[1]})
    return rows
