"""How FaceFinder goes through many pictures: memory and deadlines. The detector is a fake."""

from __future__ import annotations

import io
import math
import weakref
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from serving.errors import DeadlineExceeded, NotAnImage
from serving.packs.catalogue import find_pack
from serving.vision import pipeline as pipeline_module
from serving.vision.detection import Detections, no_detections
from serving.vision.picture import PictureHeader, ReducedPicture
from serving.vision.pipeline import FaceFinder, PictureFaces

TEMPLATE = find_pack("starter").template


class FakeDetector:
    """Finds nothing, and takes `cost_s` of the fake clock for each picture."""

    side_px = 640

    def __init__(self, clock: FakeClock, max_batch: int = 1, cost_s: float = 1.0) -> None:
        self.max_batch = max_batch
        self.runs: list[int] = []
        self._clock = clock
        self._cost_s = cost_s

    def detect(self, pictures: Sequence[np.ndarray]) -> list[Detections]:
        self.runs.append(len(pictures))
        self._clock.now_s += self._cost_s * len(pictures)
        return [no_detections() for _ in pictures]


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


class Decoded:
    """Counts decoded pictures, and how many of them were alive at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = self.alive = self.most_alive = 0
        self._decode = pipeline_module.decode_reduced
        monkeypatch.setattr(pipeline_module, "decode_reduced", self)

    def __call__(self, data: bytes, header: PictureHeader, reduction: int) -> ReducedPicture:
        picture = self._decode(data, header, reduction)
        self.count += 1
        self.alive += 1
        self.most_alive = max(self.most_alive, self.alive)
        weakref.finalize(picture.pixels, self._forget)
        return picture

    def _forget(self) -> None:
        self.alive -= 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(pipeline_module, "time", clock)
    return clock


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    return Decoded(monkeypatch)


def _png(width: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, 40)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(("max_batch", "runs"), [(1, [1] * 7), (3, [3, 3, 1]), (16, [7])])
def test_only_one_run_of_pictures_is_decoded_at_once(
    clock: FakeClock, decoded: Decoded, max_batch: int, runs: list[int]
) -> None:
    detector = FakeDetector(clock, max_batch)
    found = FaceFinder(detector, TEMPLATE).find([_png(40 + place) for place in range(7)])
    assert [each.width for each in found if isinstance(each, PictureFaces)] == list(range(40, 47))
    assert detector.runs == runs
    assert decoded.most_alive == max(runs)
    assert decoded.alive == 0


def test_a_picture_whose_time_is_up_at_its_turn_is_not_decoded(clock: FakeClock, decoded: Decoded) -> None:
    finder = FaceFinder(FakeDetector(clock, cost_s=1.0), TEMPLATE)
    start_s = clock.now_s
    found = finder.find(
        [_png(40), _png(41), b"junk", _png(42), _png(43)],
        [math.inf, start_s + 0.5, start_s + 60, start_s + 1.5, start_s],
    )
    kinds = [type(each) for each in found]
    assert kinds == [PictureFaces, DeadlineExceeded, NotAnImage, PictureFaces, DeadlineExceeded]
    assert decoded.count == 2


def test_every_picture_needs_its_deadline(clock: FakeClock) -> None:
    with pytest.raises(ValueError, match="zip"):
        FaceFinder(FakeDetector(clock), TEMPLATE).find([_png(40), _png(40)], [math.inf])
