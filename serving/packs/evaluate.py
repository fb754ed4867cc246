"""Measures what a pack is worth: verification accuracy, speed, and whether its calibration keeps its promise.

    python -m serving.packs.evaluate --lfw DIR --pairs FILE --pack starter-int8-mirror

DIR holds one sub-folder per person, FILE has the format of LFW's pairs.txt. Without --pack all are measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from serving.errors import PackError, RollcallError
from serving.packs.calibrate import fit_calibration, split_scores
from serving.packs.catalogue import PACKS, find_pack
from serving.packs.loading import load_embedder, load_finder
from serving.evaluation.people_folder import ChipSet, collect_chips
from serving.packs.store import PackStore
from serving.vision.embedding import Vectors

_PARTS = 10


@dataclass(frozen=True)
class Pairs:
    """Verification pairs as positions in a ChipSet.

    first, second: int [n]. same: bool [n]. fold_of_person: person number -> fold that names this person.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    fold_of_person: dict[int, int]


@dataclass(frozen=True)
class RateCheck:
    """A false match rate as predicted from other people, and as measured."""

    predicted: float
    measured: float
    threshold: float

    @property
    def ratio(self) -> float:
        """Measured over predicted; 1 is perfect."""
        return self.measured / self.predicted


def read_pairs(path: Path, chips: ChipSet) -> Pairs:
    """Read LFW's pairs.txt: `folds pairs`, then per fold that many genuine and as many impostor pairs.

    Pairs with a picture in which no face was found are left out.

    Raises:
        PackError: the file is not in that format.
    """
    place = {(p.parent.name, int(p.stem.rpartition("_")[2])): i for i, p in enumerate(chips.paths)}
    rows: list[tuple[int, int, bool]] = []
    folds: dict[int, int] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        per_fold = 2 * int(lines[0].split()[1])
        for number, line in enumerate(filter(None, lines[1:])):
            cells = line.split("\t")
            other = cells[0] if len(cells) == 3 else cells[2]
            first, second = place.get((cells[0], int(cells[1]))), place.get((other, int(cells[-1])))
            if first is None or second is None:
                continue
            rows.append((first, second, len(cells) == 3))
            for position in (first, second):
                folds[int(chips.people[position])] = number // per_fold
    except (OSError, ValueError, IndexError) as error:
        raise PackError(f"{path} is not in the format of LFW's pairs.txt: {error}") from error
    table = np.array(rows, np.int64).reshape(-1, 3)
    return Pairs(table[:, 0], table[:, 1], table[:, 2].astype(bool), folds)


def measure_accuracy(pairs: Pairs, vectors: Vectors, parts: int = _PARTS) -> float:
    """Mean share of right decisions over the parts, each with the threshold that is best on the others."""
    cosines = np.einsum("ij,ij->i", vectors[pairs.first], vectors[pairs.second])
    part = np.empty(len(cosines), int)
    for kind in (True, False):
        members = np.nonzero(pairs.same == kind)[0]
        part[members] = np.arange(len(members)) * parts // len(members)
    shares = []
    for number in range(parts):
        rest = part != number
        threshold = _choose_threshold(cosines[rest], pairs.same[rest])
        shares.append(((cosines[~rest] >= threshold) == pairs.same[~rest]).mean())
    return float(np.mean(shares))


def check_false_match_rates(
    pairs: Pairs, chips: ChipSet, vectors: Vectors, rates: tuple[float, ...] = (1e-2, 1e-3)
) -> list[RateCheck]:
    """For each fold and rate: fit on the people of the other folds, measure on this fold's people."""
    folds = np.array([pairs.fold_of_person.get(int(person), -1) for person in chips.people])
    checks = []
    for fold in sorted(set(folds) - {-1}):
        fitted_on = (folds != fold) & (folds >= 0)
        fitted = fit_calibration(
            "check", chips.people[fitted_on], vectors[fitted_on], data="other folds", command=""
        )
        impostor, _ = split_scores(chips.people[folds == fold], vectors[folds == fold])
        for rate in rates:
            threshold = fitted.threshold_for(rate)
            checks.append(RateCheck(rate, float((impostor >= threshold).mean()), threshold))
    return checks


def _choose_threshold(cosines: NDArray[np.float32], same: NDArray[np.bool_]) -> float:
    """The cosine that separates best: the one that maximises right decisions."""
    order = np.argsort(cosines)
    ordered, is_same = cosines[order], same[order]
    right = np.cumsum(~is_same)[:-1] + is_same.sum() - np.cumsum(is_same)[:-1]
    best = int(np.argmax(right))
    return float((ordered[best] + ordered[best + 1]) / 2)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.packs.evaluate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--lfw", type=Path, required=True, metavar="DIR", help="folder of folders of pictures"
    )
    parser.add_argument("--pairs", type=Path, required=True, metavar="FILE", help="LFW's pairs.txt")
    parser.add_argument("--pack", action="append", help="pack id; may be repeated")
    parser.add_argument(
        "--cache-dir", type=Path, default=Path(os.environ.get("ROLLCALL_CACHE_DIR", "~/.cache/rollcall"))
    )
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        packs = [find_pack(name) for name in options.pack or sorted(PACKS)]
        store = PackStore(options.cache_dir)
        with Progress(console=console) as bar:
            task = bar.add_task("finding faces", total=None)
            finder = load_finder(store.prepare(packs[0]))
            chips = collect_chips(
                options.lfw, finder, lambda done, total: bar.update(task, completed=done, total=total)
            )
        pairs = read_pairs(options.pairs, chips)
        table = Table("pack", "accuracy %", "TMR at 1e-3", "FMR ratio", "ms/face")
        table.caption = "FMR ratio: measured over predicted, on people the prediction was not fitted on"
        for pack in packs:
            prepared = store.prepare(pack)
            embedder = load_embedder(prepared)
            embedder.warm_up()
            started_s = time.perf_counter()
            vectors = embedder.embed(chips.chips)
            per_face_ms = (time.perf_counter() - started_s) / len(vectors) * 1e3
            _, genuine = split_scores(chips.people, vectors)
            accepted = float((genuine >= prepared.calibration.threshold_for(1e-3)).mean())
            ratios = [check.ratio for check in check_false_match_rates(pairs, chips, vectors)]
            table.add_row(
                pack.id,
                f"{100 * measure_accuracy(pairs, vectors):.2f}",
                f"{accepted:.4f}",
                f"{min(ratios):.2f}..{max(ratios):.2f}",
                f"{per_face_ms:.2f}",
            )
        Console().print(table)
    except RollcallError as error:
        console.print(f"{error.detail}\n{error.cure}", style="red")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
