"""Measures what the packs store: score calibrations, and the activation ranges behind the int8 models.

    python -m serving.packs.calibrate --lfw DIR --pack starter --precision int8 --mirrored
    python -m serving.packs.calibrate --lfw DIR --ranges

DIR holds one sub-folder per person. Results go to serving/packs/data, next to the code that reads them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from serving.errors import PackError, RollcallError
from serving.packs.calibration import Band, Calibration, Provenance
from serving.packs.catalogue import find_pack
from serving.packs.loading import load_embedder, load_finder
from serving.packs.manifest import Pack
from serving.evaluation.people_folder import ChipSet, collect_chips
from serving.packs.store import PackStore, PreparedFiles
from serving.vision.embedding import FaceEmbedder, Vectors

DATA_DIRECTORY = Path(__file__).parent / "data"
DEFAULT_FALSE_MATCH_RATE = 1e-3
"""The rate at which face verification is customarily compared (NIST FRTE uses 1e-3 and below).

On LFW the starter pack accepts about nine genuine pairs in ten there and only three in four at 1e-4, so a
stricter default would lose more guests than it spares confusions; a large event can ask for a lower rate.
"""

BAND_RATES: dict[Band, float] = {"high": 2e-5, "medium": 1e-3, "low": 1e-2}
"""False match rate at which each band begins, best first.

`medium` is the default decision; `high` stands fifty times further from chance and is the smallest round rate
that the data support; `low` is worth a look by a person, no more.
"""
_CURVE_POINTS = 64
_MIN_ERRORS = 30
_DIGITS = 7


def fit_calibration(
    pack_id: str, people: NDArray[np.int64], vectors: Vectors, *, data: str, command: str
) -> Calibration:
    """Fit the score scale of a pack from unit vectors with known people, using all cross pairs.

    The floor is the rate at which 30 errors were seen: below that the 90 % interval of an observed rate is
    wider than +-30 % (the "rule of 30", Doddington et al., Speech Communication 31, 2000).

    Args:
        people: int [n], equal for pictures of the same person.
        vectors: float32 [n, dimension].

    Raises:
        PackError: there are too few people or pictures.
    """
    impostor, genuine = split_scores(people, vectors)
    if len(impostor) < 100 * _MIN_ERRORS or len(genuine) == 0:
        raise PackError(
            f"{len(impostor)} pairs of different and {len(genuine)} of the same people are too few"
        )
    cosines, rates = fit_curve(impostor)
    draft = Calibration(
        pack=pack_id,
        cosines=cosines,
        rates=rates,
        default_threshold=cosines[-1],
        bands={},
        true_match_rates={},
        provenance=Provenance(
            data=data,
            people=len(np.unique(people)),
            pictures=len(people),
            impostor_pairs=len(impostor),
            genuine_pairs=len(genuine),
            command=command,
        ),
    )
    supported = [rate for rate in (1e-2, 1e-3, 1e-4, 2e-5) if rate >= draft.floor]
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
            f"{rate:g}": round(float((genuine >= draft.threshold_for(rate)).mean()), 4) for rate in supported
        },
        provenance=draft.provenance,
    )


def split_scores(
    people: NDArray[np.int64], vectors: Vectors
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines of all pairs of different people, falling, and of all pairs of the same person."""
    first, second = np.triu_indices(len(vectors), k=1)
    cosines = (vectors @ vectors.T)[first, second]
    same = people[first] == people[second]
    return np.sort(cosines[~same])[::-1], cosines[same]


def fit_curve(impostor: NDArray[np.float32]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(cosines, rates) of the empirical tail: rank k of the falling impostor scores has the rate k / n."""
    ranks = np.unique(np.geomspace(_MIN_ERRORS, len(impostor), _CURVE_POINTS).round().astype(int))[::-1]
    points: list[tuple[float, float]] = []
    for rank in ranks:
        cosine = round(float(impostor[rank - 1]), _DIGITS)
        if points and cosine <= points[-1][0]:
            continue
        points.append((cosine, float(f"{rank / len(impostor):.6g}")))
    return tuple(cosine for cosine, _ in points), tuple(rate for _, rate in points)


def calibrate_pack(
    pack: Pack, chips: ChipSet, embedder: FaceEmbedder, *, data: str, command: str
) -> Calibration:
    """Embed the chips and fit the pack's calibration."""
    return fit_calibration(pack.id, chips.people, embedder.embed(chips.chips), data=data, command=command)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.packs.calibrate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--lfw", type=Path, required=True, metavar="DIR", help="folder of folders of pictures"
    )
    parser.add_argument("--pack", default="starter")
    parser.add_argument("--precision", choices=["fp32", "int8"])
    parser.add_argument("--mirrored", action=argparse.BooleanOptionalAction)
    parser.add_argument("--ranges", action="store_true", help="measure the activation ranges instead")
    parser.add_argument(
        "--data", default="LFW deep-funneled, folds 1-3", help="name of the data, for the record"
    )
    parser.add_argument(
        "--cache-dir", type=Path, default=Path(os.environ.get("ROLLCALL_CACHE_DIR", "~/.cache/rollcall"))
    )
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        precision = "fp32" if options.ranges else options.precision
        pack = find_pack(options.pack, precision, options.mirrored)
        files = PackStore(options.cache_dir).prepare_files(pack, lambda step, _: console.print(step))
        with _show_progress(console) as advance:
            chips = collect_chips(options.lfw, load_finder(files), advance)
        console.print(f"{len(chips.chips)} chips, {chips.skipped} pictures without a face; measuring")
        if options.ranges:
            _write_ranges(files, chips)
        else:
            command = f"python -m serving.packs.calibrate --lfw DIR --pack {pack.id}"
            fitted = calibrate_pack(pack, chips, load_embedder(files), data=options.data, command=command)
            _write_json(DATA_DIRECTORY / (pack.calibration_file or f"{pack.id}.json"), fitted.to_json())
            console.print(f"{pack.id}: threshold {fitted.default_threshold}, {fitted.true_match_rates}")
    except RollcallError as error:
        console.print(f"{error.detail}\n{error.cure}", style="red")
        return 1
    return 0


def _write_ranges(files: PreparedFiles, chips: ChipSet) -> None:
    from serving.packs.quantise import RANGES_FILE, measure_ranges

    step = max(1, len(chips.chips) // 500)
    ranges = measure_ranges(files.embedder_path.read_bytes(), chips.chips[::step])
    _write_json(DATA_DIRECTORY / RANGES_FILE, ranges)


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[\s+(\S+),\s+(\S+)\s+\]", r"[\1, \2]", text)  # one pair of numbers a line
    path.write_text(text + "\n", encoding="utf-8")


@contextmanager
def _show_progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    with Progress(console=console) as bar:
        task = bar.add_task("finding faces", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


if __name__ == "__main__":
    sys.exit(main())
