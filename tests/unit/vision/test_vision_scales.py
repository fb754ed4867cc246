"""At which scales pictures are searched, and what becomes of faces found at several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from serving.packs.catalogue import find_pack
from serving.packs.loading import load_finder
from serving.packs.scrfd_onnx import convert_scrfd
from serving.packs.store import PackStore
from serving.vision.centerface import CenterFace
from serving.vision.detection import Detections, FaceDetector, no_detections
from serving.vision.inference import open_session
from serving.vision.picture import decode_picture
from serving.vision.pipeline import FacePipeline
from serving.vision.scales import HINT_SCORE, ScaledDetector, ScaleMode, ScalePlan, shrink_by

Box = tuple[float, float, float, float]


class ScriptedDetector:
    """Answers from a table: side -> boxes with scores, in pixels of a picture 1280 px wide."""

    max_batch = 4

    def __init__(self, table: dict[int, list[tuple[Box, float]]]) -> None:
        self.table = table
        self.sides: list[int] = []

    def detect(self, pictures: Sequence[np.ndarray], side_px: int) -> list[Detections]:
        self.sides.append(side_px)
        return [self._answer(picture, side_px) for picture in pictures]

    def warm_up(self, side_px: int) -> None:
        self.sides.append(side_px)

    def check(self) -> None:
        raise AssertionError("not asked for")

    def _answer(self, picture: np.ndarray, side_px: int) -> Detections:
        rows = sorted(self.table.get(side_px, []), key=lambda row: -row[1])
        if not rows or not picture.any():
            return no_detections()
        boxes = np.array([box for box, _ in rows], np.float32) * (picture.shape[1] / 1280)
        marks = np.repeat(boxes[:, None, :2], 5, axis=1) + side_px  # tells which scale measured
        return Detections(boxes, marks, np.array([score for _, score in rows], np.float32))


LARGE, SMALL, HUGE = (100.0, 100.0, 400.0, 400.0), (900.0, 500.0, 60.0, 60.0), (0.0, 0.0, 1200.0, 900.0)
MODES: tuple[ScaleMode, ...] = ("auto", "one")
PICTURE = np.full((960, 1280, 3), 9, np.uint8)


@pytest.mark.parametrize(
    ("table", "sides", "faces"),
    [
        pytest.param({320: [(LARGE, 0.9)]}, [320], 1, id="one large face needs no more"),
        pytest.param({320: [(LARGE, 0.9), (SMALL, 0.8)], 640: [(SMALL, 0.8)]}, [320, 640], 2, id="small"),
        pytest.param({320: [(LARGE, 0.9), (SMALL, 0.3)], 640: [(SMALL, 0.8)]}, [320, 640], 2, id="hint"),
        pytest.param({320: [(LARGE, 0.9), (HUGE, 0.3)], 160: [(HUGE, 0.8)]}, [320, 160], 2, id="doubtful"),
        pytest.param({640: [(SMALL, 0.8)]}, [320, 640], 1, id="nothing at first"),
        pytest.param({160: [(HUGE, 0.8)]}, [320, 640, 160], 1, id="only at the lowest"),
        pytest.param({}, [320, 640, 160], 0, id="no face at all"),
    ],
)
def test_auto_goes_on_only_when_asked_to(
    table: dict[int, list[tuple[Box, float]]], sides: list[int], faces: int
) -> None:
    model = ScriptedDetector(table)
    (found,) = ScaledDetector(model, ScalePlan()).detect([PICTURE])
    assert model.sides == sides
    assert len(found) == faces
    assert (found.scores >= 0.45).all()


@pytest.mark.parametrize(
    ("side_px", "mode", "longer_px", "rungs", "lowest_px"),
    [
        (640, "auto", 4000, (320, 640), 160),
        (640, "auto", 400, (320, 640), 160),
        (640, "auto", 399, (640,), 160),
        (640, "auto", 700, (320, 640), 160),
        (640, "auto", 250, (320,), 160),
        (640, "one", 4000, (640,), None),
        (1280, "auto", 4000, (320, 640, 1280), 160),
        (1000, "all", 4000, (500, 1000), 250),
        (64, "auto", 4000, (64,), 32),
    ],
)
def test_ladder(
    side_px: int, mode: ScaleMode, longer_px: int, rungs: tuple[int, ...], lowest_px: int | None
) -> None:
    plan = ScalePlan(side_px=side_px, mode=mode)
    assert plan.lowest_px == lowest_px
    assert plan.rungs_for(longer_px) == rungs


def test_hints_are_asked_for_only_where_they_are_used() -> None:
    assert ScalePlan(mode="one").hint_score == 0.45
    assert ScalePlan().hint_score == HINT_SCORE
    assert ScalePlan(score_threshold=0.1).hint_score == 0.1


def test_every_scale_is_warmed_up() -> None:
    model = ScriptedDetector({})
    ScaledDetector(model, ScalePlan()).warm_up()
    assert model.sides == [160, 320, 640]


def test_a_face_found_twice_counts_once_with_the_better_score_and_measure() -> None:
    """At 320 the face has 100 px, at 640 200: the landmarks are those of 320, the score that of 640."""
    moved = (110.0, 95.0, 400.0, 410.0)
    model = ScriptedDetector({320: [(LARGE, 0.7)], 640: [(moved, 0.9)]})
    (found,) = ScaledDetector(model, ScalePlan(mode="all")).detect([PICTURE])
    assert found.scores.tolist() == pytest.approx([0.9])
    np.testing.assert_allclose(found.boxes, [LARGE])
    np.testing.assert_allclose(found.landmarks[0], np.array(LARGE[:2]) + 320 + np.zeros((5, 2)))


def test_pictures_of_a_batch_do_not_share_their_fate() -> None:
    table = {320: [(LARGE, 0.9), (SMALL, 0.3)], 640: [(SMALL, 0.8)]}
    empty = np.zeros_like(PICTURE)
    pictures = [PICTURE, empty, PICTURE[:, ::2].copy(), PICTURE]
    together = ScaledDetector(ScriptedDetector(table), ScalePlan()).detect(pictures)
    for picture, found in zip(pictures, together, strict=True):
        (alone,) = ScaledDetector(ScriptedDetector(table), ScalePlan()).detect([picture])
        np.testing.assert_array_equal(found.boxes, alone.boxes)
        np.testing.assert_array_equal(found.scores, alone.scores)
    assert [len(found) for found in together] == [2, 0, 2, 2]


def test_no_more_faces_than_asked_for() -> None:
    boxes: list[tuple[Box, float]] = [((100.0 * n, 0.0, 90.0, 90.0), 0.5 + n / 100) for n in range(9)]
    (found,) = ScaledDetector(ScriptedDetector({640: boxes}), ScalePlan(max_faces=3)).detect([PICTURE])
    np.testing.assert_allclose(found.scores, [0.58, 0.57, 0.56], atol=1e-6)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_faces_at_places_that_are_no_numbers_are_none(wrong: float) -> None:
    boxes: list[tuple[Box, float]] = [((wrong, 0.0, 90.0, 90.0), 0.9), (LARGE, 0.8)]
    (found,) = ScaledDetector(ScriptedDetector({320: boxes}), ScalePlan()).detect([PICTURE])
    np.testing.assert_allclose(found.boxes, [LARGE])


def test_a_ribbon_of_a_picture_keeps_its_coordinates() -> None:
    boxes: list[tuple[Box, float]] = [((100.0, 2.0, 20.0, 20.0), 0.9)]
    ribbon = np.ones((32, 50_000, 3), np.uint8)
    (found,) = ScaledDetector(ScriptedDetector({640: boxes}), ScalePlan(mode="one")).detect([ribbon])
    assert found.boxes[0, 0] == pytest.approx(100 / 1280 * 50_000, rel=0.01)


def test_shrinking_averages_and_keeps_the_corner() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (32, 47, 3), np.uint8)
    shrunk = shrink_by(picture, 4)
    expected = picture[:32, :44].reshape(8, 4, 11, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shrunk, expected, atol=1)
    assert shrink_by(picture, 1) is picture
    assert shrink_by(picture[:3], 4).shape == (3, 47, 3)


# On real models and pictures.


@pytest.fixture(scope="module", params=["centerface", "scrfd"])
def model(request: pytest.FixtureRequest, pack_store: PackStore) -> tuple[FaceDetector, float]:
    """A detector that reports hints, and its threshold."""
    if request.param == "centerface":
        prepared = pack_store.prepare(find_pack("starter"))
        return CenterFace(open_session(prepared.detector_path), score_threshold=HINT_SCORE), 0.45
    path = request.getfixturevalue("shared_dir") / "models" / "det_500m.onnx"
    return _load_scrfd(path), 0.5


def _load_scrfd(path: Path) -> FaceDetector:
    from serving.vision.scrfd import Scrfd

    return Scrfd(open_session(convert_scrfd(path.read_bytes())), score_threshold=HINT_SCORE)


@pytest.fixture(scope="module")
def portraits(pipeline: FacePipeline, samples: dict[str, Path]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures with the box of the face in their middle: a portrait, and two of a group."""
    group = decode_picture(samples["group"].read_bytes())
    boxes = [(group, face.box) for face in pipeline.finder.find_decoded([group])[0].faces[:2]]
    portrait = decode_picture(samples["portrait"].read_bytes())
    boxes.append((portrait, pipeline.finder.find_decoded([portrait])[0].faces[0].box))
    return [(picture, np.array(box)) for picture, box in boxes]


def _fill_frame(picture: np.ndarray, box: np.ndarray, margin: float, width: int = 3000) -> np.ndarray:
    """The box with a margin of so much of its sides, enlarged to about 12 megapixels."""
    x, y, w, h = box
    left, top = max(0, round(x - margin * w)), max(0, round(y - margin * h))
    cut = picture[top : round(y + (1 + margin) * h), left : round(x + (1 + margin) * w)]
    return cv2.resize(cut, (width, round(width * cut.shape[0] / cut.shape[1])), interpolation=cv2.INTER_CUBIC)


def _paste(canvas: np.ndarray, picture: np.ndarray, box: np.ndarray, face_px: float, at: Box) -> np.ndarray:
    """Put the face with its surroundings on the canvas, its box face_px wide; where the box is then."""
    x, y, w, h = box
    left, top = max(0, round(x - w / 2)), max(0, round(y - h / 2))
    cut = picture[top : round(y + 1.5 * h), left : round(x + 1.5 * w)]
    scale = face_px / w
    small = cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    across, down = round(at[0]), round(at[1])
    canvas[down : down + small.shape[0], across : across + small.shape[1]] = small
    return np.array([across + (x - left) * scale, down + (y - top) * scale, w * scale, h * scale])


def _is_found(found: Detections, box: np.ndarray) -> bool:
    x, y, w, h = found.boxes.T
    across = np.minimum(x + w, box[0] + box[2]) - np.maximum(x, box[0])
    down = np.minimum(y + h, box[1] + box[3]) - np.maximum(y, box[1])
    overlap = np.clip(across, 0, None) * np.clip(down, 0, None)
    return bool((overlap >= 0.5 * (w * h + box[2] * box[3] - overlap)).any())


@pytest.mark.parametrize("margin", [0.3, 0.1, 0.0, -0.1])
def test_faces_that_fill_the_frame_are_found(
    model: tuple[FaceDetector, float], portraits: list[tuple[np.ndarray, np.ndarray]], margin: float
) -> None:
    """Once, and as large as they are; a margin below 0 cuts all four edges of the face."""
    scaled = ScaledDetector(model[0], ScalePlan(score_threshold=model[1]))
    for picture, box in portraits:
        filled = _fill_frame(picture, box, margin)
        (found,) = scaled.detect([filled])
        assert len(found) == 1
        share = found.boxes[0, 2:].prod() / (filled.shape[0] * filled.shape[1])
        assert 0.5 < share * (1 + 2 * margin) ** 2 < 2


@pytest.mark.parametrize("face_px", [24, 40])
def test_small_faces_beside_one_that_fills_half_of_the_picture(
    model: tuple[FaceDetector, float], portraits: list[tuple[np.ndarray, np.ndarray]], face_px: int
) -> None:
    """Sizes as the largest scale shows them: the picture is six times as wide. Beside the large face `auto`
    finds the small ones that the largest scale alone finds; the weaker model overlooks one of 24 px.
    """
    picture, box = portraits[0]
    canvas = np.full((2880, 3840, 3), 96, np.uint8)
    large = _paste(canvas, picture, box, 1200, (0.0, 0.0, 0, 0))
    others = [
        _paste(canvas, *portraits[1], face_px * 6.0, (3000.0, 200.0, 0, 0)),
        _paste(canvas, *portraits[2], face_px * 6.0, (3000.0, 1900.0, 0, 0)),
    ]
    auto, one = (ScaledDetector(model[0], ScalePlan(mode=mode, score_threshold=model[1])) for mode in MODES)
    (found,), (at_largest,) = auto.detect([canvas]), one.detect([canvas])
    visible = [other for other in others if _is_found(at_largest, other)]
    assert visible
    assert all(_is_found(found, each) for each in (large, *visible))
    assert len(found) == 1 + len(visible)


def test_auto_finds_what_all_scales_find(model: tuple[FaceDetector, float], shared_dir: Path) -> None:
    """In a twentieth of WIDER; `all` is the reference, and twice as dear."""
    paths = sorted((shared_dir / "wider" / "images").glob("*"))[::20]
    plans = [ScalePlan(mode=mode, score_threshold=model[1]) for mode in ("auto", "all")]
    auto, reference = (
        [ScaledDetector(model[0], plan).detect([decode_picture(p.read_bytes())])[0] for p in paths]
        for plan in plans
    )
    assert sum(map(len, auto)) >= 0.98 * sum(map(len, reference)) > 0


def test_batches_take_their_own_paths(
    model: tuple[FaceDetector, float],
    samples: dict[str, Path],
    portraits: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    group = decode_picture(samples["group"].read_bytes())
    pictures = [
        group,
        np.zeros((480, 640, 3), np.uint8),
        _fill_frame(*portraits[0], 0.1, 900),
        group[::2, ::2],
    ]
    scaled = ScaledDetector(model[0], ScalePlan(score_threshold=model[1]))
    for picture, found in zip(pictures, scaled.detect(pictures), strict=True):
        (alone,) = scaled.detect([picture])
        assert len(found) == len(alone)
        np.testing.assert_allclose(found.boxes, alone.boxes, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(found.landmarks, alone.landmarks, rtol=1e-4, atol=1e-2)


def test_finder_takes_the_plan(pack_store: PackStore, samples: dict[str, Path]) -> None:
    prepared = pack_store.prepare(find_pack("starter"))
    group = decode_picture(samples["group"].read_bytes())
    counts = [
        len(load_finder(prepared, scales=mode).find_decoded([group])[0].faces)
        for mode in ("auto", "one", "all")
    ]
    assert counts == [6, 6, 6]
