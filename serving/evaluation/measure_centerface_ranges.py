"""Measures the activation ranges behind the int8 form of CenterFace, for maintainers.

    python -m serving.evaluation.measure_centerface_ranges --pictures DIR [--pictures DIR ...]

Of each picture the lowest and the highest value of every tensor; of these over all pictures the 10th and the
90th percentile, because the few pictures beyond would widen the steps for all others. The result goes to
serving/packs/data; it makes another int8 model, whose SHA-256 then belongs in the manifests.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from rich.console import Console

from serving.errors import PackError
from serving.evaluation.measured_data import store_measured
from serving.packs.catalogue import find_pack
from serving.packs.centerface_int8 import RANGES_FILE, list_stored_tensors
from serving.packs.centerface_onnx import INPUT_NAME, convert_centerface
from serving.packs.configured import open_store
from serving.settings import load_settings
from serving.vision.detection import scale_down
from serving.vision.inference import open_session
from serving.vision.picture import Picture, decode_picture

_SIDE_PX = 640
_SIZE_MULTIPLE = 32
_PERCENTILES = (10, 90)
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def measure_centerface_ranges(data: bytes, pictures: Iterable[Picture]) -> dict[str, tuple[float, float]]:
    """Tensor name -> (lowest, highest) value, over upright RGB pictures uint8 [h, w, 3].

    Args:
        data: the model file as shipped.

    Raises:
        PackError: data is not the shipped model, or there are no pictures.
    """
    names = list_stored_tensors(data)
    model = onnx.load_model_from_string(convert_centerface(data))
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = open_session(model.SerializeToString())
    extremes = []
    for picture in pictures:
        scaled = scale_down(picture, _SIDE_PX)
        padding = [(0, -side % _SIZE_MULTIPLE) for side in scaled.shape[:2]]
        batch = np.pad(scaled, [*padding, (0, 0)])[None]
        values = session.run(names, {INPUT_NAME: batch})
        extremes.append([(float(one.min()), float(one.max())) for one in values])
    if not extremes:
        raise PackError("there are no pictures to measure")
    lows = np.percentile(extremes, _PERCENTILES[0], axis=0)[:, 0]
    highs = np.percentile(extremes, _PERCENTILES[1], axis=0)[:, 1]
    return {
        name: (round(min(0.0, float(low)), 5), round(float(high), 5))
        for name, low, high in zip(names, lows, highs, strict=True)
    }


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.evaluation.measure_centerface_ranges",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("--pictures", type=Path, required=True, action="append", metavar="DIR")
    parser.add_argument("--per-folder", type=int, default=60, help="pictures taken of each, evenly")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    paths: list[Path] = []
    for directory in options.pictures:
        found = sorted(path for path in directory.rglob("*") if path.suffix.lower() in _SUFFIXES)
        paths += found[:: max(1, len(found) // options.per_folder)]

    def measure() -> object:
        store = open_store(load_settings())
        pack = find_pack("starter", "fp32")
        store.prepare_files(pack)
        source = store.sources.path_of(pack.detector.artefact.source)
        if source is None:
            raise PackError("the detector's file is not in the model cache")
        console.print(f"measuring over {len(paths)} pictures")
        return measure_centerface_ranges(
            source.read_bytes(), (decode_picture(path.read_bytes()) for path in paths)
        )

    return store_measured(RANGES_FILE, measure, console)


if __name__ == "__main__":
    sys.exit(main())
