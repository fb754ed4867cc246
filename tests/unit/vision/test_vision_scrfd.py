"""SCRFD: decoding against anchors worked out by hand, batches against singles, recall on WIDER FACE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from serving.errors import InternalError, PackError
from serving.evaluation.acquisition import intersection_over_union, read_boxes
from serving.packs.scrfd_onnx import convert_scrfd
from serving.vision.detection import suppress_overlaps
from serving.vision.inference import open_session
from serving.vision.picture import Picture, decode_picture
from serving.vision.scrfd import Scrfd, list_shapes

_MODELS = ("det_500m", "det_2.5g")


@dataclass
class _Tensor:
    name: str
    shape: list[int | str]
    type: str = "tensor(float)"


class _Session:
    """A model whose answers are written down: an instrument for decoding, not a stand-in for a detector."""

    def __init__(self, strides: tuple[int, ...], anchors: int, sizes: tuple[int, ...] = (1, 4, 10)) -> None:
        self.strides, self.anchors, self.sizes = strides, anchors, sizes
        self.takes = "tensor(uint8)"
        self.seen: list[tuple[int, ...]] = []
        self.faces: list[tuple[int, int, int, int, int, float]] = []
        self.fill: float = 0.0

    def get_inputs(self) -> list[_Tensor]:
        return [_Tensor("whatever", ["n", "h", "w", 3], self.takes)]

    def get_outputs(self) -> list[_Tensor]:
        # Stride by stride, unlike the real exports: the order of kinds must not matter.
        return [_Tensor(f"{s}-{size}", ["n", "m", size]) for s in self.strides for size in self.sizes]

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        count, height, width, _ = feed["whatever"].shape
        self.seen.append((count, height, width))
        outputs = {}
        for stride in self.strides:
            cells = (height // stride) * (width // stride)
            for size in self.sizes:
                outputs[f"{stride}-{size}"] = np.zeros((count, cells * self.anchors, size), np.float32)
            outputs[f"{stride}-1"] += np.float32(self.fill)
        for picture, stride, row, column, anchor, score in self.faces:
            place = (row * (width // stride) + column) * self.anchors + anchor
            outputs[f"{stride}-1"][picture, place] = score
            outputs[f"{stride}-4"][picture, place] = (1, 2, 3, 4)
            outputs[f"{stride}-10"][picture, place] = np.arange(10) / 4
        return [outputs[name] for name in names]


@pytest.mark.parametrize(
    ("strides", "anchors"), [((8, 16, 32), 2), ((8, 16, 32), 1), ((8, 16, 32, 64, 128), 1)]
)
def test_anchors_are_decoded_where_they_stand(strides: tuple[int, ...], anchors: int) -> None:
    session = _Session(strides, anchors)
    session.faces = [(0, s, 1, 2, anchors - 1, 0.6 + s / 1000) for s in strides if s <= 64]
    picture = np.zeros((640, 1280, 3), np.uint8)  # searched at half its size
    found = Scrfd(session, nms_iou=0.99).detect([picture], 640)[0]
    expected = sorted((s for s in strides if s <= 64), reverse=True)
    np.testing.assert_allclose(found.scores, [0.6 + s / 1000 for s in expected], rtol=1e-6)
    for face, stride in enumerate(expected):
        x, y = 2 * stride, stride
        box = np.array([x - stride, y - 2 * stride, 4 * stride, 6 * stride]) * 2
        np.testing.assert_allclose(found.boxes[face], box)
        points = (np.arange(10).reshape(5, 2) / 4 * stride + (x, y)) * 2
        np.testing.assert_allclose(found.landmarks[face], points)


def test_faces_of_a_batch_go_to_their_own_pictures() -> None:
    session = _Session((8, 16, 32), 2)
    session.faces = [
        (0, 8, 3, 3, 0, 0.7),
        (2, 16, 5, 5, 1, 0.8),
        (2, 32, 9, 9, 0, 0.9),
        (3, 8, 1, 1, 0, 0.99),
    ]
    found = Scrfd(session, max_batch=4).detect([np.zeros((640, 640, 3), np.uint8)] * 3, 640)
    assert session.seen == [(4, 640, 640)], "three pictures are padded to a batch of four"
    assert [[round(float(score), 2) for score in faces.scores] for faces in found] == [[0.7], [], [0.9, 0.8]]


def test_only_a_few_shapes_reach_the_model() -> None:
    rng = np.random.default_rng(5)
    session = _Session((8, 16, 32), 2)
    detector = Scrfd(session, max_batch=6)
    assert detector.max_batch == 4
    sizes = [(int(h), int(w)) for h, w in rng.integers(1, 1400, (40, 2))] + [
        (1, 4000),
        (4000, 1),
        (640, 640),
    ]
    detector.detect([np.zeros((*size, 3), np.uint8) for size in sizes], 640)
    shapes = set(list_shapes(640))
    assert {shape[1:] for shape in session.seen} <= shapes
    assert {shape[0] for shape in session.seen} <= {1, 2, 4}
    assert len(shapes) == 9
    assert all(height % 32 == width % 32 == 0 for height, width in shapes)
    session.seen.clear()
    detector.warm_up(640)
    assert set(session.seen) >= {(count, *shape) for count in (1, 2, 4) for shape in shapes}


def test_a_picture_that_lights_up_every_anchor_is_bounded() -> None:
    session = _Session((8, 16, 32), 2)
    session.fill = 0.9
    for faces in Scrfd(session, max_faces=7).detect([np.zeros((640, 640, 3), np.uint8)] * 2, 640):
        assert len(faces) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda session: setattr(session, "sizes", (1, 4)), "landmarks"),
        (lambda session: setattr(session, "strides", (8, 16)), "3 or 5 strides"),
        (lambda session: setattr(session, "takes", "tensor(float)"), "conversion"),
    ],
)
def test_models_that_are_no_scrfd_are_refused(change: Callable[[_Session], None], message: str) -> None:
    session = _Session((8, 16, 32), 2)
    change(session)
    with pytest.raises(PackError, match=message):
        Scrfd(session)


def test_anchors_that_do_not_fit_the_picture_are_an_error() -> None:
    with pytest.raises(InternalError, match="stride 8"):
        Scrfd(_Session((8, 16, 32), 3)).detect([np.zeros((64, 64, 3), np.uint8)], 640)


def test_health_check_sees_a_changed_model() -> None:
    session = _Session((8, 16, 32), 2)
    detector = Scrfd(session)
    detector.check()
    session.fill = 0.1
    with pytest.raises(InternalError, match="changed"):
        detector.check()
    session.fill = float("nan")
    with pytest.raises(InternalError, match="finite"):
        detector.check()


def test_suppression_of_many_pictures_is_that_of_each() -> None:
    rng = np.random.default_rng(1)
    corners, sizes = rng.uniform(0, 300, (400, 2)), rng.uniform(20, 90, (400, 2))
    boxes = np.concatenate([corners, sizes], axis=1).astype(np.float32)
    scores, owners = rng.uniform(0, 1, 400).astype(np.float32), rng.integers(0, 5, 400)
    kept = suppress_overlaps(boxes, scores, 0.3, owners)
    alone = []
    for owner in range(5):
        mine = np.nonzero(owners == owner)[0]
        alone.append(mine[suppress_overlaps(boxes[mine], scores[mine], 0.3)])
    assert kept.tolist() == np.concatenate(alone).tolist()
    first = suppress_overlaps(boxes, scores, 0.3, owners, max_kept=1)
    assert first.tolist() == [int(mine[0]) for mine in alone]
    overlaps = intersection_over_union(boxes[alone[0]].astype(float), boxes[alone[0]].astype(float))
    assert (overlaps - np.eye(len(overlaps))).max() <= 0.3 + 1e-6


@pytest.fixture(scope="module", params=_MODELS)
def model(request: pytest.FixtureRequest, shared_dir: Path) -> tuple[str, Scrfd]:
    source = (shared_dir / "models" / f"{request.param}.onnx").read_bytes()
    return request.param, Scrfd(open_session(convert_scrfd(source)), max_batch=4)


@pytest.fixture(scope="module")
def pictures(shared_dir: Path) -> list[Picture]:
    files = [
        *sorted((shared_dir / "groups").glob("*.*g"))[1:],
        *sorted((shared_dir / "lfw" / "images").glob("*/*.jpg"))[:6],
        *sorted((shared_dir / "wider" / "images").rglob("*.jpg"))[:5],
    ]
    return [decode_picture(file.read_bytes()) for file in files]


def test_batch_equals_singles_on_real_pictures(model: tuple[str, Scrfd], pictures: list[Picture]) -> None:
    _, detector = model
    for whole, picture in zip(detector.detect(pictures, 640), pictures, strict=True):
        single = detector.detect([picture], 640)[0]
        assert len(whole) == len(single)
        np.testing.assert_allclose(whole.boxes, single.boxes, atol=1e-4)
        np.testing.assert_allclose(whole.landmarks, single.landmarks, atol=1e-4)
        np.testing.assert_allclose(whole.scores, single.scores, atol=1e-4)


def test_faces_of_a_known_group_are_found(model: tuple[str, Scrfd], shared_dir: Path) -> None:
    _, detector = model
    group = decode_picture((shared_dir / "groups" / "cospectrum_solvay_conference_1927.png").read_bytes())
    found = detector.detect([group], 640)[0]
    assert len(found) == 29
    left_eye, right_eye, nose, left_mouth, right_mouth = found.landmarks.transpose(1, 0, 2)
    assert (left_eye[:, 0] < right_eye[:, 0]).all()
    assert (left_mouth[:, 0] < right_mouth[:, 0]).mean() > 0.9
    assert (nose[:, 1] > (left_eye[:, 1] + right_eye[:, 1]) / 2).all()


def test_colours_are_not_swapped(model: tuple[str, Scrfd], pictures: list[Picture]) -> None:
    """Skin in the right channels scores higher: the sum over many faces tells RGB from BGR."""
    _, detector = model
    right = sum(float(faces.scores.sum()) for faces in detector.detect(pictures, 320))
    swapped = [np.ascontiguousarray(picture[:, :, ::-1]) for picture in pictures]
    assert right > sum(float(faces.scores.sum()) for faces in detector.detect(swapped, 320))


@pytest.mark.parametrize("frame", [1.2, 1.0])
def test_faces_that_fill_the_frame_are_found_at_half_the_side(
    model: tuple[str, Scrfd], pictures: list[Picture], frame: float
) -> None:
    """The largest anchors are 512 px, so larger faces need a smaller scale."""
    _, detector = model
    close_ups = []
    for picture in [one for one in pictures if one.shape[:2] == (250, 250)]:
        faces = detector.detect([picture], 320)[0]
        x, y, width, height = faces.boxes[0]
        half = max(width, height) * frame / 2
        left, top = max(0, int(x + width / 2 - half)), max(0, int(y + height / 2 - half))
        face = picture[top : int(top + 2 * half), left : int(left + 2 * half)]
        close_ups.append(np.asarray(cv2.resize(face, (1000, 1000)), np.uint8))
    assert len(close_ups) == 6
    assert all(len(faces) == 1 for faces in detector.detect(close_ups, 320))


def test_recall_on_wider(model: tuple[str, Scrfd], shared_dir: Path) -> None:
    """At least what was measured with this model at 640 on 394 pictures of the same set."""
    name, detector = model
    marked = read_boxes(shared_dir / "wider" / "ground_truth.txt", shared_dir / "wider" / "images")
    expected = {
        "det_500m": {16: 0.771, 32: 0.898, 64: 0.947},
        "det_2.5g": {16: 0.842, 32: 0.931, 64: 0.965},
    }[name]
    found, faces = dict.fromkeys(expected, 0), dict.fromkeys(expected, 0)
    for one in marked[:: 1 if name == "det_500m" else 2]:
        detections = detector.detect([decode_picture(one.path.read_bytes())], 640)[0]
        overlaps = intersection_over_union(one.boxes, detections.boxes.astype(float))
        hit = (overlaps >= 0.5).any(axis=1) if len(detections) else np.zeros(len(one.boxes), bool)
        for side in expected:
            wanted = one.counted & (one.boxes[:, 2:].min(axis=1) >= side)
            found[side] += int((hit & wanted).sum())
            faces[side] += int(wanted.sum())
    assert faces[64] > 50
    for side, recall in expected.items():
        assert found[side] / faces[side] >= recall, (side, found, faces)
