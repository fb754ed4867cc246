"""Several pictures of one person compared at once, as the service does it: the mean of their cosines.

The calibration is fitted on single pictures. The mean of several cosines varies less, so at the same
threshold strangers should pass more rarely, and the person be missed more rarely; here both are measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.evaluation.resampling import SEED, wilson_interval
from serving.evaluation.scores import MIN_ERRORS, Integers
from serving.vision.embedding import Vectors

PICTURES = (1, 2, 3, 5)


def measure_fusion(
    people: Integers,
    vectors: Vectors,
    thresholds: Sequence[tuple[float, float]],
    counts: Sequence[int] = PICTURES,
    seed: int = SEED,
) -> list[dict[str, Any]]:
    """Rates of probes of 1, 2, 3, 5 pictures against one enrolled picture, at thresholds for single pictures.

    The same people are measured for every number of pictures: those with one picture more than the largest
    number that at least 20 people allow. Each enrols one picture and is probed with n others, and is compared
    with everybody else's enrolled picture too.

    Args:
        thresholds: (predicted false match rate, cosine) of the single-picture calibration.
    """
    rng = np.random.default_rng(seed)
    names, sizes = np.unique(people, return_counts=True)
    possible = [count for count in counts if (sizes > count).sum() >= 20]
    if not possible or possible == [1]:
        return []
    chosen = names[sizes > max(possible)]
    shuffled = [rng.permutation(np.nonzero(people == name)[0]) for name in chosen]
    _, first = np.unique(people, return_index=True)
    enrolled = vectors[[order[0] for order in shuffled]]
    # Strangers come from everybody: more pairs, and none of them the probes' own.
    others = vectors[first]
    is_own = names[None, :] == chosen[:, None]
    rows: list[dict[str, Any]] = []
    for count in possible:
        probes = np.stack([vectors[order[1 : 1 + count]].mean(axis=0) for order in shuffled])
        genuine = np.einsum("ij,ij->i", probes, enrolled)
        impostor = (probes @ others.T)[~is_own]
        for rate, threshold in thresholds:
            alarms, misses = int((impostor >= threshold).sum()), int((genuine < threshold).sum())
            interval = wilson_interval(misses, len(genuine))
            rows.append(
                {
                    "pictures": count,
                    "people": len(chosen),
                    "threshold": round(threshold, 7),
                    "predicted_false_match_rate": rate,
                    "impostor_pairs": len(impostor),
                    "false_matches": alarms,
                    "false_match_rate": round(alarms / len(impostor), 8),
                    "supported": rate * len(impostor) >= MIN_ERRORS,
                    "false_non_match_rate": round(misses / len(genuine), 6),
                    "false_non_match_interval": interval.to_json() if interval else None,
                }
            )
    return rows
