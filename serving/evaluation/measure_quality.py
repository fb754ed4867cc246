"""Measures what faces are like, whom the quality gates refuse, and what refusing them is worth.

    python -m serving.evaluation.measure_quality --lfw DIR --wider DIR

DIR of --lfw holds one sub-folder per person, DIR of --wider pictures at any depth. Prints the tables of
docs/quality.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from serving.errors import RollcallError
from serving.evaluation.measuring import FinderOptions
from serving.evaluation.people_folder import list_pictures, pick_central_face
from serving.packs.configured import prepare_pack
from serving.packs.loading import load_embedder
from serving.settings import load_settings
from serving.vision.embedding import FaceEmbedder, Vectors
from serving.vision.picture import Picture, decode_picture, read_header
from serving.vision.pipeline import Face, FaceFinder
from serving.vision.quality import FaceQuality, QualityMeter
from serving.vision.quality_gates import LIMITS, QualityReason, find_faults

_FALSE_MATCH_RATE = 1e-3
_PERCENTILES = (0, 1, 5, 50, 95, 99, 100)
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_LEVELS = tuple(LIMITS)
_BINS: Mapping[str, tuple[float, ...]] = {
    "yaw_degrees": (0, 20, 30, 40, 91),
    "pitch_degrees": (0, 6, 8, 10, 12, 91),
    "roll_degrees": (0, 6, 10, 181),
    "sharpness": (0, 0.62, 0.7, 0.8, 2),
    "detection_score": (0, 0.8, 0.83, 0.86, 0.9, 1),
    "brightness": (0, 80, 100, 120, 256),
}

Damage = Callable[[Picture, float], Picture]
"""From a picture and the width of its face in pixels to a worse picture."""


@dataclass(frozen=True)
class Portraits:
    """The central face of each picture: its file, person, quality and vector."""

    paths: list[Path]
    people: NDArray[np.int64]
    faces: list[FaceQuality]
    vectors: Vectors


def _shrink(face_px: float) -> Damage:
    def damage(picture: Picture, width: float) -> Picture:
        scale = min(1.0, face_px / width)
        return np.asarray(
            cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )

    return damage


def _blur(share: float) -> Damage:
    return lambda picture, width: np.asarray(cv2.GaussianBlur(picture, (0, 0), share * width), np.uint8)


def _shake(share: float) -> Damage:
    return lambda picture, width: np.asarray(cv2.blur(picture, (max(1, round(share * width)), 1)), np.uint8)


def _stretch(gain: float, offset: float) -> Damage:
    return lambda picture, width: np.clip(picture * gain + offset, 0, 255).astype(np.uint8)


DAMAGES: Mapping[str, Damage] = {
    "none": lambda picture, width: picture,
    **{f"face {size} px": _shrink(size) for size in (64, 48, 40, 32, 24, 20)},
    **{f"blur, sigma {share:.1%} of the face": _blur(share) for share in (0.02, 0.03, 0.04, 0.06, 0.08)},
    **{f"shake over {share:.0%} of the face": _shake(share) for share in (0.1, 0.15, 0.25)},
    **{f"light x {gain}": _stretch(gain, 0) for gain in (0.4, 0.2, 0.1, 0.05)},
    **{f"over-exposed x {gain}": _stretch(gain, 0) for gain in (2.0, 3.0)},
    **{f"contrast x {gain}": _stretch(gain, 128 * (1 - gain)) for gain in (0.4, 0.2, 0.1)},
}


def measure_portraits(
    pictures: Sequence[tuple[str, Path]], finder: FaceFinder, embedder: FaceEmbedder
) -> Portraits:
    """The central face of every picture in which one is found."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in pictures))}
    paths, people, faces, chips = [], [], [], []
    for name, path in pictures:
        face = _find_central(_load(path), finder)
        if face is not None:
            paths.append(path)
            people.append(numbers[name])
            faces.append(face.quality)
            chips.append(face.crop)
    return Portraits(paths, np.array(people), faces, embedder.embed(np.stack(chips)))


def miss_rates(portraits: Portraits, threshold: float) -> list[tuple[str, int, float]]:
    """(which pairs, how many, false non-match rate) of all pairs of pictures of the same person.

    By gate, and by the worse picture of the pair in single measures.
    """
    first, second = np.nonzero(np.triu(portraits.people[:, None] == portraits.people[None, :], 1))
    missed = np.einsum("ij,ij->i", portraits.vectors[first], portraits.vectors[second]) < threshold
    rows = [("all", np.ones(len(missed), bool))]
    for level in _LEVELS:
        good = np.array([not find_faults(face, level) for face in portraits.faces])
        both = good[first] & good[second]
        rows += [(f"both pass {level.value}", both), (f"one fails {level.value}", ~both)]
    for name, edges in _BINS.items():
        values = np.array([abs(getattr(face, name)) for face in portraits.faces])
        worse = (np.maximum if name.endswith("degrees") else np.minimum)(values[first], values[second])
        rows += [
            (f"{name} {low:g} to {high:g}", (worse >= low) & (worse < high)) for low, high in pairwise(edges)
        ]
    return [(name, int(chosen.sum()), _share(missed[chosen])) for name, chosen in rows]


def damage_rows(
    portraits: Portraits, count: int, threshold: float, finder: FaceFinder, embedder: FaceEmbedder
) -> Iterable[list[str]]:
    """One row for each kind of damage: what is found, refused and missed, without and with each gate.

    Damaged copies of up to `count` pictures are compared with another, undamaged picture of the same person.
    """
    pairs = _choose_pairs(portraits.people, count)
    for name, damage in DAMAGES.items():
        cosines, passes = [], []
        for probe, reference in pairs:
            worse = damage(_load(portraits.paths[probe]), portraits.faces[probe].face_px)
            face = _find_central(worse, finder)
            if face is not None:
                cosines.append(float(embedder.embed(face.crop[None])[0] @ portraits.vectors[reference]))
                passes.append([not find_faults(face.quality, level) for level in _LEVELS])
        missed = np.array(cosines) < threshold
        good = np.array(passes).reshape(-1, len(_LEVELS))
        row = [name, f"{len(missed) / len(pairs):.3f}", f"{_share(missed):.3f}"]
        for column in range(len(_LEVELS)):
            row += [f"{1 - _share(good[:, column]):.3f}", _show(missed[good[:, column]])]
        yield row


def time_meter(paths: Sequence[Path], finder: FaceFinder, meter: QualityMeter) -> float:
    """CPU milliseconds to measure one face, the best of several rounds over these pictures."""
    cases = []
    for path in paths:
        picture = _load(path)
        height, width = picture.shape[:2]
        cases += [(face, width, height) for face in finder.find_decoded([picture])[0].faces]
    best_s = float("inf")
    for _ in range(10):
        started_s = time.process_time()
        for face, width, height in cases:
            meter.measure(face.crop, face.box, face.landmarks, face.detection_score, width, height)
        best_s = min(best_s, time.process_time() - started_s)
    return best_s / len(cases) * 1e3


def _choose_pairs(people: NDArray[np.int64], count: int) -> list[tuple[int, int]]:
    """Pairs of positions, the first two pictures of each person who has two; evenly over all of them."""
    found = []
    for person in np.unique(people):
        members = np.nonzero(people == person)[0]
        if len(members) > 1:
            found.append((int(members[0]), int(members[1])))
    step = max(1, len(found) // count)
    return found[::step][:count]


def _load(path: Path) -> Picture:
    data = path.read_bytes()
    return decode_picture(data, read_header(data))


def _find_central(picture: Picture, finder: FaceFinder) -> Face | None:
    found = finder.find_decoded([picture])[0]
    return pick_central_face(found) if found.faces else None


def _share(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _show(values: NDArray[np.bool_]) -> str:
    return f"{_share(values):.3f} of {len(values)}" if len(values) else "-"


def _percentile_table(title: str, faces: Sequence[FaceQuality]) -> Table:
    table = Table("measure", *(f"{percentile} %" for percentile in _PERCENTILES), title=title)
    values = np.array([astuple(face) for face in faces])
    for column, field in enumerate(fields(FaceQuality)):
        row = np.percentile(values[:, column], _PERCENTILES)
        table.add_row(field.name, *(f"{value:.2f}" for value in row))
    return table


def _refusal_table(groups: Mapping[str, Sequence[FaceQuality]]) -> Table:
    table = Table("refused for", *(f"{name}, {level.value}" for name in groups for level in _LEVELS))
    found = [
        [{fault.reason for fault in find_faults(face, level)} for face in faces]
        for faces in groups.values()
        for level in _LEVELS
    ]
    table.add_row("anything", *(f"{np.mean([bool(one) for one in faces]):.2%}" for faces in found))
    for reason in QualityReason:
        if reason is not QualityReason.several_faces:
            table.add_row(
                reason.value, *(f"{np.mean([reason in one for one in faces]):.2%}" for faces in found)
            )
    return table


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.evaluation.measure_quality", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--lfw", type=Path, required=True, metavar="DIR", help="folder of folders of portraits"
    )
    parser.add_argument("--wider", type=Path, metavar="DIR", help="pictures of crowds and everyday scenes")
    parser.add_argument("--pack", default="starter", help="pack id")
    parser.add_argument("--damaged", type=int, default=150, help="pictures that are damaged in every way")
    parser.add_argument("--every", type=int, default=1, help="take every n-th person only")
    options = parser.parse_args(arguments)
    console = Console(width=200)
    try:
        settings = load_settings()
        prepared = prepare_pack(settings, pack_id=options.pack)
        finder = FinderOptions.of(settings).load_finder(prepared)
        embedder = load_embedder(prepared, execution=settings.make_execution())
        threshold = prepared.calibration.threshold_for(_FALSE_MATCH_RATE)
        pictures = list_pictures(options.lfw)
        chosen = set(sorted({name for name, _ in pictures})[:: options.every])
        portraits = measure_portraits([each for each in pictures if each[0] in chosen], finder, embedder)
        groups = {"portraits": portraits.faces}
        if options.wider:
            scenes = sorted(path for path in options.wider.rglob("*") if path.suffix.lower() in _SUFFIXES)
            groups["scenes"] = [
                face.quality for path in scenes for face in finder.find_decoded([_load(path)])[0].faces
            ]
        for name, faces in groups.items():
            console.print(_percentile_table(f"{name}: {len(faces)} faces", faces))
        console.print(_refusal_table(groups))
        pairs = Table("pairs of one person", "count", "missed", title=f"cosine below {threshold:.4f}")
        for name, count, rate in miss_rates(portraits, threshold):
            pairs.add_row(name, str(count), f"{rate:.4f}")
        console.print(pairs)
        if options.damaged:
            gates = (head for level in _LEVELS for head in (f"{level.value} refuses", "misses of the rest"))
            damaged = Table("damage", "found", "missed", *gates)
            for row in damage_rows(portraits, options.damaged, threshold, finder, embedder):
                damaged.add_row(*row)
            console.print(damaged)
        spent_ms = time_meter(
            portraits.paths[:100],
            finder,
            QualityMeter(prepared.pack.template, prepared.pack.detector.quality_scale),
        )
        console.print(f"{spent_ms:.3f} CPU ms per face")
    except RollcallError as error:
        Console(stderr=True).print(f"{error.detail}\n{error.cure}", style="red")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
