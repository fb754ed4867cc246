"""Measures how a detector's pitch and score compare with the starter's, on which the quality limits rest.

    python -m serving.evaluation.measure_quality_scale --people DIR --pack ID

DIR holds one sub-folder of portraits per person. Prints `detector.quality_scale` for the pack's manifest, and
whom the levels refuse with it and without.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from serving.errors import RollcallError
from serving.evaluation.measuring import FinderOptions
from serving.evaluation.people_folder import list_pictures, pick_central_face
from serving.packs.configured import find_configured_pack, open_store
from serving.packs.manifest import Pack
from serving.packs.store import PackStore
from serving.settings import load_settings
from serving.vision.pipeline import PictureFaces
from serving.vision.quality import STARTER_SCALE, FaceQuality, QualityScale
from serving.vision.quality_gates import LIMITS, find_faults

_REFERENCE = "starter"
_PERCENTILES = (1, 5, 95, 99)
"""In the tails, where the limits are; beyond them single faces decide."""


def fit_quality_scale(faces: Sequence[FaceQuality], reference: Sequence[FaceQuality]) -> QualityScale:
    """The scale that brings the tails of pitch and score of some faces to those of the reference.

    Least squares over the percentiles: of the pitch on itself, of the logarithm of the score through 0.

    Args:
        faces: measured with `STARTER_SCALE`.
        reference: the faces of the same pictures by the starter's detector.
    """
    pitch, wanted = (_percentiles([face.pitch_degrees for face in each]) for each in (faces, reference))
    gain, shift = np.polyfit(pitch, wanted, 1)
    score, sure = (
        np.log(_percentiles([face.detection_score for face in each])) for each in (faces, reference)
    )
    return QualityScale(
        pitch_centre_degrees=round(float(-shift / gain), 1),
        pitch_gain=round(float(gain), 2),
        score_exponent=round(float(score @ sure / (score @ score)), 2),
    )


def apply_quality_scale(scale: QualityScale, face: FaceQuality) -> FaceQuality:
    """A face measured with `STARTER_SCALE` as it would have been measured with this one."""
    return replace(
        face,
        pitch_degrees=scale.convert_pitch(face.pitch_degrees),
        detection_score=scale.convert_score(face.detection_score),
    )


def measure_faces(paths: Sequence[Path], store: PackStore, pack: Pack) -> list[FaceQuality]:
    """The quality of the central face of every picture that has one, as the pack's detector finds it."""
    plain = replace(pack, detector=replace(pack.detector, quality_scale=STARTER_SCALE))
    finder = FinderOptions.of(load_settings()).load_finder(store.prepare_files(plain))
    found = []
    for path in paths:
        (faces,) = finder.find([path.read_bytes()])
        if isinstance(faces, PictureFaces) and faces.faces:
            found.append(pick_central_face(faces).quality)
    return found


def _percentiles(values: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(np.percentile(values, _PERCENTILES), np.float64)


def _refusals(faces: Sequence[FaceQuality]) -> list[str]:
    return [f"{np.mean([bool(find_faults(face, level)) for face in faces]):.1%}" for level in LIMITS]


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.evaluation.measure_quality_scale",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument(
        "--people", type=Path, required=True, metavar="DIR", help="folder of folders of portraits"
    )
    parser.add_argument("--pack", required=True, metavar="ID", help="pack whose detector is measured")
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False)
    try:
        settings = load_settings()
        store = open_store(settings)
        paths = [path for _, path in list_pictures(options.people)]
        faces, reference = (
            measure_faces(paths, store, find_configured_pack(settings, pack))
            for pack in (options.pack, _REFERENCE)
        )
    except RollcallError as error:
        Console(stderr=True).print(f"{error.detail}\n{error.cure}", style="red")
        return 1
    scale = fit_quality_scale(faces, reference)
    console.print(
        "  quality_scale:\n"
        f"    pitch_centre_degrees: {scale.pitch_centre_degrees}\n"
        f"    pitch_gain: {scale.pitch_gain}\n"
        f"    score_exponent: {scale.score_exponent}\n"
    )
    table = Table("refused", *(level.value for level in LIMITS))
    table.add_row(_REFERENCE, *_refusals(reference))
    table.add_row(f"{options.pack} as its detector says", *_refusals(faces))
    table.add_row(
        f"{options.pack} with this scale", *_refusals([apply_quality_scale(scale, f) for f in faces])
    )
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
