"""A folder of people: one sub-folder of pictures each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.errors import EvaluationDataError, RollcallError
from serving.vision.embedding import Chips
from serving.vision.pipeline import Face, FaceFinder, PictureFaces

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"}
    | {".avif", ".heic", ".heif", ".gif", ".bmp", ".tif", ".tiff"}
)
"""What is taken for a picture. Some of these the service refuses; they count as failures, by reason."""

_CHUNK = 16


@dataclass(frozen=True)
class ChipSet:
    """One aligned chip per picture in which a face was found.

    chips: uint8 [n, S, S, 3]. people: person number per chip, int [n]. paths: the pictures, in this order.
    skipped: pictures without a usable face.
    """

    chips: Chips
    people: NDArray[np.int64]
    paths: tuple[Path, ...]
    skipped: int


def list_pictures(directory: Path) -> list[tuple[str, Path]]:
    """(person, picture) of every picture, in a fixed order.

    Raises:
        EvaluationDataError: directory holds no pictures in sub-folders.
    """
    found = sorted((path.parent.name, path) for path in directory.glob("*/*") if is_picture(path))
    if not found:
        raise EvaluationDataError(f"{directory} holds no sub-folders with pictures")
    return found


def is_picture(path: Path) -> bool:
    """Whether a file is taken for a picture, by its name."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def number_people(names: Sequence[str]) -> NDArray[np.int64]:
    """The names as numbers from 0, in order of first appearance, int64 [n]."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def collect_chips(
    directory: Path, finder: FaceFinder, on_progress: Callable[[int, int], None] | None = None
) -> ChipSet:
    """Cut the most central face out of every picture; on_progress gets pictures done and in all."""
    pictures = list_pictures(directory)
    numbers = number_people([name for name, _ in pictures])
    chips, people, paths = [], [], []
    for start in range(0, len(pictures), _CHUNK):
        chunk = pictures[start : start + _CHUNK]
        found_faces = finder.find([path.read_bytes() for _, path in chunk])
        for place, found in enumerate(found_faces, start):
            if isinstance(found, RollcallError) or not found.faces:
                continue
            chips.append(pick_central_face(found).crop)
            people.append(numbers[place])
            paths.append(pictures[place][1])
        if on_progress:
            on_progress(min(start + _CHUNK, len(pictures)), len(pictures))
    if not chips:
        raise EvaluationDataError(f"no face was found in {directory}")
    return ChipSet(np.stack(chips), np.array(people), tuple(paths), len(pictures) - len(chips))


def pick_central_face(found: PictureFaces) -> Face:
    """The face whose box centre is nearest to the middle: the subject, in collections of portraits."""

    def squared_distance(face: Face) -> float:
        x, y, width, height = face.box
        return (x + width / 2 - found.width / 2) ** 2 + (y + height / 2 - found.height / 2) ** 2

    return min(found.faces, key=squared_distance)
