"""What a liveness pack costs, and how many live faces it refuses: the numbers of docs/liveness.md.

For attacks, and for both rates at a threshold, there is `rollcall evaluate --attacks`.

    python -m serving.evaluation.measure_liveness --models models --bona-fide lfw/images --samples samples

`--models` holds the files of the pack as published. `--bona-fide` are pictures of people before a camera: the
share refused of them is the BPCER of ISO/IEC 30107-3. `--samples` are pictures to print the scores of.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from serving.errors import RollcallError
from serving.evaluation.measuring import FinderOptions
from serving.evaluation.people_folder import is_picture
from serving.evaluation.presentation_attacks import score_files
from serving.packs.configured import prepare_pack
from serving.packs.conversions import find_conversion
from serving.packs.liveness import LivenessPack, find_liveness_pack, load_scorer
from serving.packs.loading import load_embedder
from serving.packs.manifest import Artefact
from serving.settings import load_settings
from serving.vision.embedding import FaceEmbedder
from serving.vision.liveness import LivenessChecker, LivenessScorer
from serving.vision.picture import Picture, decode_picture, read_header
from serving.vision.pipeline import FaceFinder

_THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_BATCHES = (1, 4, 16)


def list_pictures(folder: Path, every: int = 1) -> list[Path]:
    """The pictures below a folder in order, each `every`-th of them."""
    return sorted(path for path in folder.rglob("*") if is_picture(path))[::every]


def time_scorer(scorer: LivenessScorer, pack: LivenessPack, batch: int, runs: int) -> float:
    """CPU milliseconds of this process per face, at a batch size."""
    random = np.random.default_rng(0)
    sides = [model.cut.size_px for model in pack.models]
    crops = [random.integers(0, 256, (batch, side, side, 3), dtype=np.uint8) for side in sides]
    scorer.score(crops)
    start_s = time.process_time()
    for _ in range(runs):
        scorer.score(crops)
    return (time.process_time() - start_s) * 1000 / (runs * batch)


def time_cutting(files: list[Path], finder: FaceFinder, pack: LivenessPack) -> float:
    """CPU milliseconds of cutting the crops of one face."""
    cropper, spent_s, faces = pack.make_cropper(), 0.0, 0
    for file in files:
        picture = _load(file)
        found = finder.find_decoded([picture])[0].faces
        start_s = time.process_time()
        for face in found:
            for _ in range(20):  # one takes too little for the clock
                cropper.cut(picture, face.box, face.landmarks)
        spent_s += time.process_time() - start_s
        faces += 20 * len(found)
    return spent_s * 1000 / max(faces, 1)


def time_recognition(
    files: list[Path],
    finder: FaceFinder,
    embedder: FaceEmbedder,
    pack: LivenessPack,
    scorer: LivenessScorer,
    rounds: int = 5,
) -> tuple[float, float]:
    """CPU milliseconds of decoding, detecting and embedding a picture: without liveness, and with it."""
    pictures = [file.read_bytes() for file in files]
    finder.liveness_cropper = pack.make_cropper()
    spent_ms: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds + 1):
        for checks in (False, True):
            start_s = time.process_time()
            for found in finder.find(pictures, None, [checks] * len(pictures)):
                if isinstance(found, RollcallError) or not found.faces:
                    continue
                embedder.embed(np.stack([face.crop for face in found.faces]))
                cut = [face.liveness_crops for face in found.faces if face.liveness_crops is not None]
                if cut:
                    scorer.score([np.stack(each) for each in zip(*cut, strict=True)])
            spent_ms[checks].append((time.process_time() - start_s) * 1000 / len(pictures))
    off, on = (float(np.median(spent_ms[checks][1:])) for checks in (False, True))  # the first warms up
    return off, on


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.evaluation.measure_liveness", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--models", type=Path, required=True, metavar="DIR", help="the files of the pack")
    parser.add_argument("--pack", default="minifasnet", help="id of the liveness pack")
    parser.add_argument("--detector", default="starter", help="id of the pack whose detector finds the faces")
    parser.add_argument("--bona-fide", type=Path, metavar="DIR", help="pictures of live people")
    parser.add_argument("--samples", type=Path, metavar="DIR", help="pictures to print the scores of")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture only")
    options = parser.parse_args(arguments)
    console = Console(width=120)
    try:
        pack = find_liveness_pack(options.pack)
        settings = load_settings()
        prepared = prepare_pack(settings, pack_id=options.detector)
        finder, embedder = FinderOptions.of(settings).load_finder(prepared), load_embedder(prepared)
        before_mib = _resident_mib()
        scorer = load_scorer(pack, [_convert(artefact, options.models) for artefact in pack.artefacts])
        costs = Table("faces in a run", "CPU ms per face", title=f"{pack.id}, one thread")
        for batch in _BATCHES:
            costs.add_row(str(batch), f"{time_scorer(scorer, pack, batch, 320 // batch):.2f}")
        console.print(costs)
        console.print(f"peak resident memory grew by {_resident_mib() - before_mib:.0f} MiB")
        checker = LivenessChecker(finder, pack.make_cropper(), scorer)
        if options.samples:
            files = list_pictures(options.samples)
            console.print(f"cutting: {time_cutting(files, finder, pack):.3f} CPU ms per face")
            off, on = time_recognition(files, finder, embedder, pack, scorer)
            console.print(
                f"a picture: {off:.1f} CPU ms without liveness, {on:.1f} with it, {on / off:.2f} times"
            )
            for file, score in zip(
                files, score_files(files, checker.score_liveness, settings.picture.limits), strict=True
            ):
                console.print(f"{file.name}: {'no score' if score is None else f'{score:.4f}'}")
        if options.bona_fide:
            files = list_pictures(options.bona_fide, options.every)
            found = score_files(files, checker.score_liveness, settings.picture.limits)
            scores = [score for score in found if score is not None]
            console.print(f"{len(scores)} of {len(files)} pictures have a score")
            table = Table("threshold", "BPCER", title="bona fide")
            for threshold in _THRESHOLDS:
                table.add_row(f"{threshold:.1f}", f"{np.mean(np.array(scores) < threshold):.3f}")
            console.print(table)
    except RollcallError as error:
        Console(stderr=True).print(f"{error.detail}\n{error.cure}", style="red")
        return 1
    return 0


def _convert(artefact: Artefact, folder: Path) -> bytes:
    return find_conversion(artefact.conversion).convert((folder / artefact.source.name).read_bytes())


def _load(file: Path) -> Picture:
    data = file.read_bytes()
    return decode_picture(data, read_header(data))


def _resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
