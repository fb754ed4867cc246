"""How many pictures fail before any comparison, how well faces are found, and what the work costs."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.errors import EvaluationDataError
from serving.evaluation.measuring import Measured
from serving.evaluation.resampling import wilson_interval
from serving.evaluation.result_store import PictureFacts
from serving.evaluation.scores import Integers
from serving.vision.quality import FaceQuality
from serving.vision.quality_gates import QualityLevel, find_faults

MATCH_IOU = 0.5
"""Intersection over union from which a detection is that face: WIDER FACE's own rule (Yang et al., 2016)."""

FALSE_IOU = 0.3
"""A detection that overlaps every marked face by less counts as false."""

SIZES_PX = (16, 32, 64)
_IGNORED_COLUMN = 7


def count_failures(facts: Sequence[PictureFacts], people: Integers | None = None) -> dict[str, Any]:
    """Failure to acquire by reason, and failure to enrol at each quality level.

    A picture fails to enrol when it holds not exactly one face, or that face has a fault at the level: the
    service's own rule for an enrolment of `only` one face. With people, int64 [pictures], a person fails to
    enrol when all the pictures do.
    """
    reasons: Counter[str] = Counter()
    for each in facts:
        if each.error is not None:
            reasons[each.error] += 1
        elif not each.faces:
            reasons["no_face"] += 1
    found: dict[str, Any] = {
        "pictures": len(facts),
        "failed_to_acquire": _share(sum(reasons.values()), len(facts)),
        "reasons": dict(sorted(reasons.items())),
        "several_faces": sum(len(each.faces) > 1 for each in facts),
        "levels": [],
    }
    for level in QualityLevel:
        failed = np.array([bool(list_reasons(each, level)) for each in facts], bool)
        why: Counter[str] = Counter()
        for each in facts:
            why.update(set(list_reasons(each, level)))
        row: dict[str, Any] = {
            "level": level.value,
            "failed_to_enrol": _share(int(failed.sum()), len(facts)),
            "reasons": dict(sorted(why.items())),
        }
        if people is not None and len(people):
            passed = np.zeros(int(people.max()) + 1, bool)
            passed[people[~failed]] = True
            row["people_failed_to_enrol"] = _share(int((~passed).sum()), len(passed))
        found["levels"].append(row)
    return found


def list_reasons(facts: PictureFacts, level: QualityLevel) -> list[str]:
    """Why a picture cannot be enrolled at a level; empty when it can."""
    if facts.error is not None:
        return [facts.error]
    if not facts.faces or facts.quality is None:
        return ["no_face"]
    if len(facts.faces) > 1:
        return ["several_faces"]
    return [fault.reason.value for fault in find_faults(FaceQuality(**facts.quality), level)]


@dataclass(frozen=True)
class MarkedPicture:
    """A picture whose faces are marked: boxes float64 [n, 4] as x, y, width, height; counted: bool [n].

    Faces that do not count (WIDER marks them invalid) are neither to be found nor false when they are.
    """

    path: Path
    boxes: NDArray[np.float64]
    counted: NDArray[np.bool_]


def read_boxes(path: Path, images: Path) -> list[MarkedPicture]:
    """Read WIDER FACE's text format: a path, a count, and a row for each face.

    A row is x, y, width, height and, if there are more numbers, blur, expression, illumination, invalid,
    occlusion, pose. A picture without faces has the count 0 and, in WIDER's own files, one row of zeros.

    Raises:
        EvaluationDataError: the file is not in that format, or names a picture that is not in `images`.
    """
    marked = []
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        at = 0
        while at < len(lines):
            count = int(lines[at + 1])
            if count < 0:
                raise ValueError(f"{count} faces")
            picture = _find_picture(images, lines[at])
            rows = [[float(cell) for cell in line.split()] for line in lines[at + 2 : at + 2 + count]]
            at += 2 + count
            if count == 0 and at < len(lines) and set(lines[at].split()) == {"0"}:
                at += 1
            if any(len(row) < 4 for row in rows):
                raise ValueError(f"a face of {picture.name} has fewer than four numbers")
            boxes = np.array([row[:4] for row in rows], np.float64).reshape(-1, 4)
            counted = [
                (len(row) <= _IGNORED_COLUMN or not row[_IGNORED_COLUMN]) and min(row[2:4]) > 0
                for row in rows
            ]
            marked.append(MarkedPicture(picture, boxes, np.array(counted, bool)))
    except (OSError, ValueError, IndexError) as error:
        raise EvaluationDataError(f"{path} is not in WIDER FACE's text format: {error}") from error
    if not marked:
        raise EvaluationDataError(f"{path} names no pictures")
    return marked


def _find_picture(images: Path, name: str) -> Path:
    """A picture by its path below images, or by its file name alone where the folders were flattened."""
    for path in (images / name, images / Path(name).name):
        if path.is_file():
            return path
    raise EvaluationDataError(f"there is no picture {name} in {images}")


def measure_detection(marked: Sequence[MarkedPicture], facts: Sequence[PictureFacts]) -> dict[str, Any]:
    """Recall by size of the face and false detections.

    Each detection, best first, takes the free marked face that it overlaps most, from `MATCH_IOU` on. The
    size of a face is the square root of its box's area.
    """
    hits: list[NDArray[np.bool_]] = []
    sizes: list[NDArray[np.float64]] = []
    false = 0
    for picture, found in zip(marked, facts, strict=True):
        boxes = np.array([face[:4] for face in found.faces], np.float64).reshape(-1, 4)
        overlaps = intersection_over_union(boxes, picture.boxes)
        taken = np.zeros(len(picture.boxes), bool)
        for row in overlaps:
            free = np.where(taken, -1.0, row)
            if len(free) and free.max() >= MATCH_IOU:
                taken[int(free.argmax())] = True
        is_large = np.sqrt(boxes[:, 2] * boxes[:, 3]) >= SIZES_PX[0]
        is_false = overlaps.max(axis=1) < FALSE_IOU if len(picture.boxes) else np.ones(len(boxes), bool)
        false += int((is_large & is_false).sum())
        hits.append(taken[picture.counted])
        sizes.append(np.sqrt(picture.boxes[picture.counted, 2] * picture.boxes[picture.counted, 3]))
    hit, size = np.concatenate(hits), np.concatenate(sizes)
    return {
        "pictures": len(marked),
        "faces": len(hit),
        "iou": MATCH_IOU,
        "recall": [
            {"min_px": limit, **_share(int(hit[size >= limit].sum()), int((size >= limit).sum()))}
            for limit in SIZES_PX
        ],
        "false_detections": false,
        "false_per_picture": round(false / len(marked), 4),
        "failed_pictures": sum(each.error is not None for each in facts),
    }


def intersection_over_union(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, m] of boxes [n, 4] and [m, 4] as x, y, width, height; 0 where both are empty."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    union = np.prod(first[:, 2:], axis=1)[:, None] + np.prod(second[:, 2:], axis=1)[None] - shared
    overlap: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def measure_speed(measured: Measured) -> dict[str, Any]:
    """CPU milliseconds of each stage on this machine, one thread; medians, because other work disturbs."""
    searched = [each for each in measured.facts if each.error is None]
    return {
        "find_ms_per_picture": _summarise([each.find_ms for each in searched]),
        "embed_ms_per_face": _summarise(measured.embed_ms.tolist()),
        "faces_per_picture": round(float(np.mean([len(each.faces) for each in searched] or [0])), 3),
    }


def describe_machine() -> Mapping[str, Any]:
    """What the times were measured on."""
    return {
        "processor": _name_processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _name_processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _summarise(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    median, high = np.quantile(values, [0.5, 0.9])
    return {"median": round(float(median), 3), "p90": round(float(high), 3)}


def _share(count: int, total: int) -> dict[str, Any]:
    interval = wilson_interval(count, total)
    return {
        "value": round(count / total, 6) if total else None,
        "count": count,
        "of": total,
        "interval": interval.to_json() if interval else None,
    }
