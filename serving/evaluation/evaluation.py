"""`rollcall evaluate` without its terminal: from pictures to the result, a JSON-able document.

serving/evaluation/schema.json describes the document; docs/evaluation.md explains it.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.errors import EvaluationDataError
from serving.evaluation.acquisition import (
    count_failures,
    describe_machine,
    measure_detection,
    measure_speed,
    read_boxes,
)
from serving.evaluation.advice import advise
from serving.evaluation.fitting import check_held_out, folds_of_pictures, hash_models, list_versions
from serving.evaluation.fusion import measure_fusion
from serving.evaluation.identification import measure_identification
from serving.evaluation.measuring import FinderOptions, Measured, Progress, measure_pictures
from serving.evaluation.pairs import (
    PairList,
    draw_pairs,
    people_of_pairs,
    read_csv_pairs,
    read_lfw_pairs,
)
from serving.evaluation.people_folder import list_pictures, number_people
from serving.evaluation.resampling import CONFIDENCE, REPLICATES, SEED, Rate
from serving.evaluation.result_store import ResultStore
from serving.evaluation.scores import Integers, Scores, score_all_pairs, score_pairs
from serving.evaluation.verification import (
    FOLDS,
    equal_error_rate,
    histogram,
    measure_accuracy,
    measure_operating_points,
    rates_by_group,
    trace_curve,
    turn,
)
from serving.packs.calibration import Calibration
from serving.packs.store import PreparedFiles
from serving.vision.embedding import Vectors

SCHEMA = "rollcall-evaluation/1"
RATES = (1e-2, 1e-3, 1e-4)
_HELD_OUT_FOLDS = 3


@dataclass(frozen=True)
class Subjects:
    """The pictures to compare, who is on them, and the pairs, if a list names them.

    people: int64 [pictures]. drawn: whether the pairs were drawn here. all_pairs: whether every picture may
    be compared with every other, because it is known who is who.
    """

    pictures: list[Path]
    people: Integers
    names: list[str]
    pairs: PairList
    drawn: bool
    all_pairs: bool


@dataclass(frozen=True)
class Candidate:
    """A pack to measure, and its calibration, None where it has none yet."""

    files: PreparedFiles
    calibration: Calibration | None


@dataclass(frozen=True)
class Question:
    """What is asked of every pack.

    groups: group of each person by name. boxes: WIDER format file and the folder of its pictures.
    """

    subjects: Subjects
    groups: dict[str, str] | None = None
    boxes: tuple[Path, Path] | None = None
    gallery: int | None = None
    replicates: int = REPLICATES


def read_subjects(folder: Path | None, pairs: Path | None) -> Subjects:
    """Read a folder of people, a list of pairs (`.csv`, or else LFW's format, which needs a folder), or both.

    Raises:
        EvaluationDataError: neither is given, or one is not in its format.
    """
    if folder is not None and (pairs is None or pairs.suffix.lower() != ".csv"):
        listed = list_pictures(folder)
        names = [name for name, _ in listed]
        people = number_people(names)
        found = draw_pairs(people, FOLDS) if pairs is None else read_lfw_pairs(pairs, listed)
        return Subjects([path for _, path in listed], people, names, found, pairs is None, True)
    if pairs is None:
        raise EvaluationDataError("neither a folder of people nor a list of pairs is given")
    if pairs.suffix.lower() != ".csv":
        raise EvaluationDataError(f"{pairs} names people and numbers: say which folder holds their pictures")
    found, pictures = read_csv_pairs(pairs, folder)
    people = people_of_pairs(found, len(pictures))
    return Subjects(pictures, people, [path.parent.name for path in pictures], found, False, False)


def read_groups(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Read a CSV with the header `person,group`.

    Raises:
        EvaluationDataError: it is not such a file, or names nobody of the people measured.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream)
            if list(table.fieldnames or ())[:2] != ["person", "group"]:
                raise EvaluationDataError(f"{path} does not begin with person,group")
            groups = {(row["person"] or "").strip(): (row["group"] or "").strip() for row in table}
    except (OSError, ValueError, csv.Error) as error:
        raise EvaluationDataError(f"{path} is not a CSV of groups: {error}") from error
    if not set(groups) & set(names):
        raise EvaluationDataError(f"{path} names nobody whose pictures are measured")
    return groups


def evaluate(
    question: Question,
    candidates: Sequence[Candidate],
    options: FinderOptions,
    results: ResultStore,
    *,
    workers: int = 1,
    command: str = "",
    on_progress: Progress | None = None,
    on_step: Progress | None = None,
) -> dict[str, Any]:
    """Measure every pack and return the document.

    on_progress: pictures done and in all, while faces are found and embedded. on_step: packs done and in all,
    while the numbers are worked out.
    """
    files = [candidate.files for candidate in candidates]
    report = on_progress or (lambda done, total: None)
    pictures = question.subjects.pictures
    marked = read_boxes(*question.boxes) if question.boxes else []
    # One count over both sets, so that the bar goes from left to right once.
    finders = len({repr((each.pack.detector, each.pack.template)) for each in files})
    extra = finders * len(marked)
    measured = measure_pictures(
        pictures,
        files,
        options,
        results,
        workers=workers,
        on_progress=lambda done, total: report(done, total + extra),
    )
    scenes: dict[str, Measured] = {}
    if marked:
        scenes = measure_pictures(
            [each.path for each in marked],
            files,
            options,
            results,
            workers=workers,
            embed=False,
            on_progress=lambda done, total: report(
                done + finders * len(pictures), total + finders * len(pictures)
            ),
        )
    sections = []
    for number, candidate in enumerate(candidates):
        if on_step:
            on_step(number, len(candidates))
        pack = candidate.files.pack
        section = _describe_pack(candidate) | measure_pack(question, measured[pack.id], candidate.calibration)
        section["detection"] = measure_detection(marked, scenes[pack.id].facts) if marked else None
        sections.append(section)
    if on_step:
        on_step(len(candidates), len(candidates))
    return {
        "schema": SCHEMA,
        "made_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "versions": list_versions(),
        "machine": dict(describe_machine()),
        "statistics": {
            "confidence": CONFIDENCE,
            "method": "percentile bootstrap over people",
            "replicates": question.replicates,
            "seed": SEED,
        },
        "data": {
            "pictures": len(pictures),
            "people": len(set(question.subjects.people.tolist())),
            "pairs": len(question.subjects.pairs),
            "pairs_are_drawn": question.subjects.drawn,
            "compared": "all pairs" if question.subjects.all_pairs else "listed pairs",
        },
        "packs": sections,
        "liveness": None,
    }


def measure_pack(question: Question, measured: Measured, calibration: Calibration | None) -> dict[str, Any]:
    """All sections of one pack that come from its facts and vectors.

    Raises:
        EvaluationDataError: no picture can be compared.
    """
    subjects = question.subjects
    if not measured.usable.any():
        raise EvaluationDataError("no face was found in any picture")
    people = _usable_people(subjects, measured)
    vectors = measured.vectors
    pairs = subjects.pairs.keep(measured.usable)
    scores = score_subjects(subjects, measured)
    verification, checks = _verify(question, scores, pairs, vectors, calibration)
    default = calibration.default_threshold if calibration else None
    section: dict[str, Any] = {
        "acquisition": count_failures(measured.facts, subjects.people if subjects.all_pairs else None),
        "verification": verification,
        "calibration": _check_calibration(scores, calibration, checks),
        "held_out": [],
        "identification": None,
        "fusion": [],
        "groups": None,
        "advice": advise(scores),
        "speed": measure_speed(measured),
    }
    if subjects.all_pairs:
        folds = _choose_folds(subjects, pairs, people)
        section["held_out"] = check_held_out(people, vectors, folds)
        section["identification"] = measure_identification(
            people, vectors, scores, default, question.gallery, max(50, question.replicates // 4)
        )
        single = [(rate, scores.threshold_at(rate)) for rate in RATES[:2] if scores.supports(rate)]
        section["fusion"] = measure_fusion(people, vectors, single)
        if question.groups is not None:
            section["groups"] = _by_group(
                question.groups, subjects, measured.usable, people, vectors, default
            )
    return section


def score_subjects(subjects: Subjects, measured: Measured) -> Scores:
    """The cosines of all pairs where it is known who is who, else of the listed ones."""
    people = _usable_people(subjects, measured)
    if subjects.all_pairs:
        return score_all_pairs(people, measured.vectors)
    pairs = subjects.pairs.keep(measured.usable)
    return score_pairs(people, measured.vectors, pairs.first, pairs.second, pairs.same)


def _usable_people(subjects: Subjects, measured: Measured) -> Integers:
    """The people of the pictures that have a vector, numbered from 0 without gaps."""
    return number_people([str(each) for each in subjects.people[measured.usable].tolist()])


def _verify(
    question: Question,
    scores: Scores,
    pairs: PairList,
    vectors: Vectors,
    calibration: Calibration | None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The section "verification", and what its draws say of the calibration's thresholds."""
    predicted = [
        (rate, calibration.threshold_for(rate)) for rate in RATES if calibration and rate >= calibration.floor
    ]
    points, found = measure_operating_points(
        scores, RATES, [threshold for _, threshold in predicted], question.replicates
    )
    accuracy = None
    if len(pairs) >= 2 * FOLDS and pairs.same.any() and not pairs.same.all():
        accuracy = measure_accuracy(pairs, vectors).to_json()
    equal = equal_error_rate(scores)
    checks = []
    for place, (rate, threshold) in enumerate(predicted):
        is_supported = scores.supports(rate)
        false = Rate(scores.false_match_rate(threshold), scores.impostor_pairs, found.false_matches[place])
        true = Rate(
            1 - scores.true_match_rate(threshold), scores.genuine_pairs, turn(found.true_matches[place])
        )
        checks.append(
            {
                "predicted": rate,
                "threshold": round(threshold, 7),
                "supported": is_supported,
                "measured": false.to_json() if is_supported else None,
                "ratio": round(false.value / rate, 4) if is_supported else None,
                "false_non_match_rate": true.to_json() if scores.genuine_pairs else None,
            }
        )
    section = {
        "genuine_pairs": scores.genuine_pairs,
        "impostor_pairs": scores.impostor_pairs,
        "smallest_supported_rate": float(f"{scores.floor:.3g}"),
        "accuracy": accuracy,
        "equal_error_rate": None if equal is None else {"rate": equal[0], "threshold": equal[1]},
        "true_match_rates": [point.to_json() for point in points],
        "curve": [
            {"threshold": round(cut, 6), "fmr": float(f"{fmr:.6g}"), "fnmr": float(f"{1 - tmr:.6g}")}
            for cut, fmr, tmr in trace_curve(scores)
        ],
        "histogram": histogram(scores),
    }
    return section, checks


def _check_calibration(
    scores: Scores, calibration: Calibration | None, checks: list[dict[str, Any]]
) -> dict[str, Any] | None:
    if calibration is None:
        return None
    return {
        "data": calibration.provenance.data,
        "made_at": calibration.provenance.made_at or None,
        "default_threshold": calibration.default_threshold,
        "bands": dict(calibration.bands),
        "floor": calibration.floor,
        "at_default_threshold": {
            "false_match_rate": scores.false_match_rate(calibration.default_threshold),
            "false_non_match_rate": 1 - scores.true_match_rate(calibration.default_threshold),
        },
        "checks": checks,
    }


def _choose_folds(subjects: Subjects, pairs: PairList, people: Integers) -> Integers:
    """The folds of the list, where it has some; else people dealt out to three."""
    if not subjects.drawn and len(np.unique(pairs.fold)) > 1:
        return folds_of_pictures(pairs, people)
    return people % _HELD_OUT_FOLDS


def _by_group(
    groups: dict[str, str],
    subjects: Subjects,
    usable: NDArray[np.bool_],
    people: Integers,
    vectors: Vectors,
    threshold: float | None,
) -> dict[str, Any] | None:
    if threshold is None:
        return None
    names = [name for name, use in zip(subjects.names, usable, strict=True) if use]
    known = np.array([name in groups for name in names], bool)
    listed = [groups[name] for name in names if name in groups]
    return {
        "threshold": round(threshold, 7),
        "pictures_without_group": int((~known).sum()),
        "groups": rates_by_group(people[known], vectors[known], listed, threshold),
    }


def _describe_pack(candidate: Candidate) -> dict[str, Any]:
    pack = candidate.files.pack
    return {
        "pack": pack.id,
        "title": pack.title,
        "dimension": pack.dimension,
        "precision": pack.precision,
        "models": hash_models(candidate.files),
    }
