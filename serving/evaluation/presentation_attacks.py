"""How well presentation attacks are told from living faces: APCER and BPCER of ISO/IEC 30107-3.

A folder holds `live/` and `attacks/<kind>/`, both at any depth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.errors import EvaluationDataError, RollcallError
from serving.evaluation.people_folder import is_picture
from serving.evaluation.resampling import wilson_interval
from serving.vision.picture import Picture, PictureLimits, decode_picture, read_header

ScoreLiveness = Callable[[Sequence[Picture]], Sequence[float | None]]
"""From upright RGB pictures to the score of the central face, 0 (attack) to 1 (live); None without a face."""

CURVE_POINTS = 101


def list_presentations(directory: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """(living faces, attacks by kind).

    Raises:
        EvaluationDataError: either is missing.
    """
    live = _list(directory / "live")
    kinds = sorted(each for each in (directory / "attacks").glob("*") if each.is_dir())
    attacks = {kind.name: _list(kind) for kind in kinds}
    attacks = {kind: files for kind, files in attacks.items() if files}
    if not live or not attacks:
        raise EvaluationDataError(f"{directory} needs pictures in live/ and in attacks/<kind>/")
    return live, attacks


def measure_attacks(
    live: Sequence[float | None], attacks: dict[str, Sequence[float | None]], threshold: float
) -> dict[str, Any]:
    """The section "liveness" of the result, from scores; a score of at least the threshold passes as live.

    APCER of a kind is the share of its attacks that pass, BPCER the share of living faces that do not. A
    picture without a face is no attack that passes, and no living face that does: both go with the refused,
    and are counted. The worst kind stands for all (30107-3, 13.2): an attacker chooses.
    """
    kinds = [
        {
            "kind": kind,
            "no_face": _missing(scores),
            **_rate(scores, lambda s: s is not None and s >= threshold),
        }
        for kind, scores in sorted(attacks.items())
    ]
    worst = max(kinds, key=lambda row: row["value"])
    bona_fide = _rate(live, lambda score: score is None or score < threshold)
    return {
        "threshold": threshold,
        "apcer": kinds,
        "worst_apcer": {"kind": worst["kind"], "value": worst["value"]},
        "bpcer": {"no_face": _missing(live), **bona_fide},
        "acer": round((worst["value"] + bona_fide["value"]) / 2, 6),
        "curve": [
            {
                "threshold": round(float(cut), 4),
                "apcer": max(_share_at_least(scores, float(cut)) for scores in attacks.values()),
                "bpcer": round(1 - _share_at_least(live, float(cut)), 6),
            }
            for cut in np.linspace(0, 1, CURVE_POINTS)
        ],
    }


def _rate(scores: Sequence[float | None], is_error: Callable[[float | None], bool]) -> dict[str, Any]:
    count = sum(is_error(score) for score in scores)
    interval = wilson_interval(count, len(scores))
    return {
        "value": round(count / len(scores), 6),
        "count": count,
        "of": len(scores),
        "interval": interval.to_json() if interval else None,
    }


def _share_at_least(scores: Sequence[float | None], cut: float) -> float:
    return round(sum(score is not None and score >= cut for score in scores) / len(scores), 6)


def _missing(scores: Sequence[float | None]) -> int:
    return sum(score is None for score in scores)


def _list(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if is_picture(path))


def score_files(
    files: Sequence[Path], score_liveness: ScoreLiveness, limits: PictureLimits
) -> list[float | None]:
    """The score of each picture on disk; None also for one that cannot be read."""
    scores: list[float | None] = []
    for file in files:
        try:
            data = file.read_bytes()
            picture = decode_picture(data, read_header(data, limits))
        except RollcallError:
            scores.append(None)
            continue
        except OSError as error:
            raise EvaluationDataError(f"{file} cannot be read: {error}") from error
        scores += score_liveness([picture])
    return scores
