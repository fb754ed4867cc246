"""What the work of a recognition costs without a service around it, stage by stage, beside what it replaced.

    python -m loadtest.work [--rounds 5] [--output bench-results/work.json] [--people DIR] [--crowd FILE]

One thread, one picture after another, with the configured pack. Two ways take turns in one run: `new` as the
service works, and `old`, which decodes every picture whole and searches it at the largest scale alone, with
the starter's fp32 detector. Printed are CPU milliseconds, the median over the rounds, and their ratio; JSON
gets every round with the machine and the versions.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from loadtest.pictures import make_one_face_pictures
from serving.packs.configured import prepare_pack
from serving.packs.loading import load_embedder, load_finder
from serving.packs.samples import prepare_samples
from serving.settings import Settings
from serving.vision import pipeline as pipeline_module
from serving.vision.alignment import align_face
from serving.vision.detection import scale_down
from serving.vision.embedding import FaceEmbedder
from serving.vision.picture import (
    PictureLimits,
    choose_reduction,
    decode_picture,
    decode_reduced,
    read_header,
)
from serving.vision.pipeline import FaceFinder, PictureFaces
from serving.vision.quality import QualityMeter
from serving.vision.scales import ScaledDetector, shrink_by

_WAYS = ("old", "new")
_LARGE = (4000, 3000)
_LIMITS = PictureLimits(max_bytes=64 * 2**20)
_NOISE = 3.0
"""Grey levels of the noise on the enlarged picture: without any it would be smaller than a camera's."""

_DECODINGS = 5
"""Of each way in a round: they are short, so that one alone tells more of its neighbours than of itself."""

Seconds = dict[str, float]


class _Clock:
    """CPU seconds of this process by stage; what is nested counts where it is."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def wrap(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            began_s = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[stage] += time.process_time() - began_s

        return timed

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Time the stages that a finder runs."""
        module = pipeline_module
        with (
            mock.patch.object(module, "decode_reduced", self.wrap("decode", decode_reduced)),
            mock.patch.object(module, "align_face", self.wrap("align", align_face)),
            mock.patch.object(QualityMeter, "measure", _as_method(self, "quality", QualityMeter.measure)),
            mock.patch.object(ScaledDetector, "detect", _as_method(self, "detect", ScaledDetector.detect)),
        ):
            yield


def _as_method(clock: _Clock, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    timed = clock.wrap(stage, function)

    def method(self: object, *arguments: Any, **options: Any) -> Any:
        return timed(self, *arguments, **options)

    return method


def measure_once(finder: FaceFinder, embedder: FaceEmbedder, pictures: list[bytes]) -> Seconds:
    """CPU seconds of one pass over the pictures, by stage and `total`, each divided by their number."""
    clock = _Clock()
    began_s = time.process_time()
    with clock.watching():
        for data in pictures:
            (found,) = finder.find([data])
            assert isinstance(found, PictureFaces), found
            if found.faces:
                chips = np.stack([face.crop for face in found.faces])
                clock.wrap("embed", embedder.embed)(chips)
    total_s = time.process_time() - began_s
    return {stage: spent / len(pictures) for stage, spent in {**clock.seconds, "total": total_s}.items()}


def measure_decoding(data: bytes, side_px: int) -> Seconds:
    """CPU seconds of decoding, and of the way from a file to the detector's input, `whole` and `reduced`."""
    header = read_header(data, _LIMITS)
    seconds: Seconds = {}
    steps = {"whole": 1, "reduced": choose_reduction(header, round(1.5 * side_px))}
    for name, step in steps.items():
        began_s = time.process_time()
        pixels = decode_reduced(data, header, step).pixels
        seconds[f"decode {name}"] = time.process_time() - began_s
        began_s = time.process_time()
        if name == "reduced":
            pixels = shrink_by(pixels, max(1, max(pixels.shape[:2]) // (2 * side_px)))
        scale_down(pixels, side_px)
        seconds[f"to the input, {name}"] = seconds[f"decode {name}"] + time.process_time() - began_s
    return seconds


def make_large_picture(data: bytes) -> bytes:
    """A 12 MP JPEG, quality 90, of the picture in data: enlarged, cut to 4:3, with a camera's noise."""
    picture = decode_picture(data)
    scale = max(_LARGE[0] / picture.shape[1], _LARGE[1] / picture.shape[0])
    enlarged = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    cut = enlarged[: _LARGE[1], : _LARGE[0]].astype(np.float32)
    noise = np.random.default_rng(0).normal(0, _NOISE, (*cut.shape[:2], 1)).astype(np.float32)
    out = io.BytesIO()
    Image.fromarray(np.clip(cut + noise, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


def make_pictures(
    finder: FaceFinder, people: Path | None, crowd: Path | None, *, has_large: bool
) -> dict[str, list[bytes]]:
    """The pictures measured, by name."""
    one_face = make_one_face_pictures(finder)
    with TemporaryDirectory() as directory:
        group = prepare_samples(Path(directory))["group"].read_bytes()
    cases = {
        "one face, 640x480": one_face,
        "six faces, 1280x886": [group],
    }
    if has_large:
        cases["one face, 12 MP"] = [make_large_picture(one_face[0])]
        cases["six faces, 12 MP"] = [make_large_picture(group)]
    if people is not None:
        cases["portraits with their background, 640x480"] = [
            _frame_portrait(path) for path in sorted(people.glob("*/*.jpg"))[::40]
        ]
    if crowd is not None:
        cases["crowd"] = [crowd.read_bytes()]
    return cases


def _frame_portrait(path: Path) -> bytes:
    """A portrait enlarged to 480 px of height, with its edges mirrored to 640 px of width."""
    picture = cv2.resize(decode_picture(path.read_bytes()), (480, 480), interpolation=cv2.INTER_CUBIC)
    wide = cv2.copyMakeBorder(picture, 0, 0, 80, 80, cv2.BORDER_REPLICATE)
    out = io.BytesIO()
    Image.fromarray(wide).save(out, "JPEG", quality=90)
    return out.getvalue()


def describe_machine() -> dict[str, str]:
    """Processor, Python and the libraries that do the work."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    libraries = {name: version(name) for name in ("onnxruntime", "opencv-python-headless", "pillow", "numpy")}
    return {"processor": processor, "python": platform.python_version(), **libraries}


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.work", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="passes of each way over each case")
    parser.add_argument("--output", type=Path, default=Path("bench-results/work.json"))
    parser.add_argument("--without-large", action="store_true", help="no pictures of 12 MP")
    parser.add_argument("--people", type=Path, metavar="DIR", help="folder of folders of portraits (LFW)")
    parser.add_argument("--crowd", type=Path, metavar="FILE", help="a picture of many")
    options = parser.parse_args(arguments)
    settings = Settings()
    prepared = prepare_pack(settings)
    side_px = settings.picture.detection_side_px
    fp32 = prepare_pack(settings, pack_id="starter-fp32")
    finders = {
        "old": load_finder(fp32, max_side_px=side_px, scales="one", limits=_LIMITS, reduces=False),
        "new": load_finder(
            prepared, max_side_px=side_px, scales=settings.picture.detection_scales, limits=_LIMITS
        ),
    }
    embedder = load_embedder(prepared)
    for finder in finders.values():
        finder.warm_up()
    embedder.warm_up()
    has_large = not options.without_large
    cases = make_pictures(finders["old"], options.people, options.crowd, has_large=has_large)
    rounds: dict[str, dict[str, list[Seconds]]] = {case: {way: [] for way in _WAYS} for case in cases}
    decoding: list[Seconds] = []
    for number in range(options.rounds):
        for case, pictures in cases.items():
            for way in _WAYS if number % 2 else reversed(_WAYS):
                rounds[case][way].append(measure_once(finders[way], embedder, pictures))
        if has_large:
            large = cases["one face, 12 MP"][0]
            decoding += [measure_decoding(large, side_px) for _ in range(_DECODINGS)]
    _print(rounds, decoding)
    result = {
        "machine": describe_machine(),
        "pack": prepared.pack.id,
        "seconds": rounds,
        "decoding_seconds": decoding,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def _print(rounds: dict[str, dict[str, list[Seconds]]], decoding: list[Seconds]) -> None:
    table = Table(
        "CPU ms a picture", "way", "decode", "detect", "align", "quality", "embed", "total", "ratio"
    )
    for case, ways in rounds.items():
        for way in _WAYS:
            medians = {stage: _median_ms(ways[way], stage) for stage in ways[way][0]}
            ratio = medians["total"] / _median_ms(ways["old"], "total")
            stages = ("decode", "detect", "align", "quality", "embed", "total")
            table.add_row(case, way, *(f"{medians.get(each, 0):.1f}" for each in stages), f"{ratio:.2f}")
    console = Console(width=130)
    console.print(table)
    for label in ("decode", "to the input,") if decoding else ():
        whole, reduced = (_median_ms(decoding, f"{label} {name}") for name in ("whole", "reduced"))
        what = label.rstrip(",")
        console.print(f"12 MP JPEG, {what}: {whole:.0f} ms, reduced {reduced:.0f} ms, {reduced / whole:.2f}")


def _median_ms(rounds: list[Seconds], stage: str) -> float:
    return statistics.median(each.get(stage, 0.0) for each in rounds) * 1e3


if __name__ == "__main__":
    sys.exit(main())
