"""What liveness models see of a face, and what they say of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from serving.errors import InternalError, PackError
from serving.packs.conversions import find_conversion
from serving.packs.liveness import find_liveness_pack, load_scorer
from serving.vision.inference import open_session
from serving.vision.liveness import (
    LivenessChecker,
    LivenessInput,
    LivenessModel,
    LivenessScorer,
)
from serving.vision.liveness_crops import AlignedCut, BoxCut, place_cut
from serving.vision.liveness_modes import LivenessStatus, judge_liveness
from serving.vision.picture import decode_picture, read_header
from serving.vision.pipeline import FacePipeline

PACK = find_liveness_pack("minifasnet")
PROBABILITIES = LivenessInput("rgb", (0.0, 0.0, 0.0), 1 / 255, "probabilities", 1)
ARCFACE_LIKE = ((30.0, 35.0), (50.0, 35.0), (40.0, 46.0), (32.0, 56.0), (48.0, 56.0))


@pytest.fixture(scope="module")
def models(shared_dir: Path) -> Path:
    """Where the MiniFASNet files are."""
    return shared_dir / "models"


@pytest.fixture(scope="module")
def scorer(models: Path) -> LivenessScorer:
    published = [(models / artefact.source.name).read_bytes() for artefact in PACK.artefacts]
    return load_scorer(PACK, [find_conversion("split-prelu").convert(each) for each in published])


@pytest.fixture(scope="module")
def checker(scorer: LivenessScorer, pipeline: FacePipeline) -> LivenessChecker:
    return LivenessChecker(pipeline.finder, PACK.make_cropper(), scorer)


def load(file: Path) -> np.ndarray:
    data = file.read_bytes()
    return decode_picture(data, read_header(data))


class FakeSession:
    """Answers with `answer(batch)`; notes the batches."""

    def __init__(self, answer: Callable[[np.ndarray], np.ndarray], batch: int | str = "n", side: int = 8):
        self.batches: list[np.ndarray] = []
        self._answer = answer
        self._shape = [batch, 3, side, side]

    def get_inputs(self) -> list[Any]:
        return [type("Input", (), {"name": "crop", "shape": self._shape, "type": "tensor(float)"})]

    def run(self, outputs: None, fed: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.batches.append(fed["crop"])
        return [self._answer(fed["crop"])]


def make_crops(*values: int) -> np.ndarray:
    """Crops 8 x 8 whose red is the value, green 1 and blue 2."""
    crops = np.zeros((len(values), 8, 8, 3), np.uint8)
    crops[..., 0] = np.array(values, np.uint8)[:, None, None]
    crops[..., 1:] = (1, 2)
    return crops


@pytest.mark.parametrize(
    ("box", "scale", "expected"),
    [
        ((80, 90, 20, 40), 2.0, (70, 70, 111, 151)),  # well inside: twice the box around its centre
        ((0, 90, 20, 40), 2.0, (0, 70, 41, 151)),  # over the left edge: moved in, as large
        ((-30, -30, 20, 40), 2.0, (0, 0, 41, 81)),  # the face itself is outside
        ((190, 290, 20, 40), 2.0, (159, 219, 200, 300)),  # over the right and the lower edge
        ((50, 50, 100, 200), 4.0, (25, 0, 175, 300)),  # larger than the picture: 1.495 times, both ways alike
        ((0, 0, 400, 900), 2.7, (66, 0, 200, 300)),  # the face alone is larger than the picture
        ((10, 10, 0, 0), 2.0, (9, 9, 12, 12)),  # a box of no size is one pixel
    ],
)
def test_a_cut_is_moved_into_the_picture_or_made_smaller(
    box: tuple[float, float, float, float], scale: float, expected: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = place_cut(box, scale, 200, 300)
    assert 0 <= left < right <= 200
    assert 0 <= top < bottom <= 300
    np.testing.assert_allclose((left, top, right, bottom), expected, atol=1)


def test_cuts_at_random_stay_inside_and_keep_their_shape() -> None:
    random = np.random.default_rng(3)
    for _ in range(500):
        width, height = random.integers(32, 900, 2)
        box = (*random.uniform(-50, 900, 2), *random.uniform(2, 600, 2))
        scale = random.uniform(1, 4)
        left, top, right, bottom = place_cut(box, scale, int(width), int(height))
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        fitted = min(scale, (width - 1) / box[2], (height - 1) / box[3])
        assert abs((right - left) - box[2] * fitted) <= 2
        assert abs((bottom - top) - box[3] * fitted) <= 2


def test_a_box_cut_shows_that_part_of_the_picture() -> None:
    picture = np.zeros((120, 100, 3), np.uint8)
    picture[40:80, 30:70] = (255, 0, 0)
    crop = BoxCut(80, 2.0).cut(picture, (40.0, 50.0, 20.0, 20.0), np.zeros((5, 2), np.float32))
    assert crop.shape == (80, 80, 3)
    assert (crop[4:-4, 4:-4] == (255, 0, 0)).all()


def test_an_aligned_cut_puts_the_landmarks_where_the_model_wants_them() -> None:
    picture = np.zeros((400, 400, 3), np.uint8)
    landmarks = np.array(ARCFACE_LIKE, np.float32) @ np.array([[0, 2], [-2, 0]], np.float32) + (300, 100)
    for channel, (x, y) in enumerate(landmarks[:3]):
        picture[round(y) - 6 : round(y) + 7, round(x) - 6 : round(x) + 7, channel] = 255
    crop = AlignedCut(80, ARCFACE_LIKE, 0.3).cut(picture, (0.0, 0.0, 1.0, 1.0), landmarks)
    assert crop is not None
    for channel, (x, y) in enumerate(ARCFACE_LIKE[:3]):
        seen_y, seen_x = np.nonzero(crop[..., channel] > 127)
        np.testing.assert_allclose((seen_x.mean(), seen_y.mean()), (x, y), atol=0.6)


@pytest.mark.parametrize(("shift", "is_cut"), [(0, True), (-20, True), (-30, False), (-200, False)])
def test_an_aligned_cut_that_lies_outside_is_none(shift: int, is_cut: bool) -> None:
    picture = np.full((80, 80, 3), 9, np.uint8)
    landmarks = (np.array(ARCFACE_LIKE) + np.array((shift, 0))).astype(np.float32)
    crop = AlignedCut(80, ARCFACE_LIKE, 0.3).cut(picture, (0.0, 0.0, 1.0, 1.0), landmarks)
    assert (crop is not None) == is_cut
    if crop is not None:
        assert (crop == 9).all()  # what is outside repeats the edge


@pytest.mark.parametrize(("channels", "expected"), [("rgb", (7, 1, 2)), ("bgr", (2, 1, 7))])
def test_a_model_gets_its_channels_in_its_order_and_scale(
    channels: Any, expected: tuple[int, int, int]
) -> None:
    session = FakeSession(lambda batch: np.full((len(batch), 2), 0.5, np.float32))
    fed = LivenessInput(channels, (1.0, 1.0, 1.0), 0.5, "probabilities", 1)
    LivenessModel(session, size_px=8, fed=fed).score(make_crops(7))
    np.testing.assert_allclose(session.batches[0][0, :, 3, 3], (np.array(expected) - 1) * 0.5)


@pytest.mark.parametrize(
    ("output", "answer", "expected"),
    [
        ("logits", [[0.0, np.log(3.0), -np.inf]], 0.75),
        ("logits", [[-1000.0, 1000.0, 0.0]], 1.0),
        ("probabilities", [[0.1, 0.7, 0.2]], 0.7),
        ("live_probability", [0.3], 0.3),
        ("live_probability", [[0.3]], 0.3),
    ],
)
def test_the_score_is_the_probability_of_being_live(output: Any, answer: list[Any], expected: float) -> None:
    session = FakeSession(lambda batch: np.array(answer, np.float32))
    model = LivenessModel(session, size_px=8, fed=LivenessInput("rgb", (0.0, 0.0, 0.0), 1.0, output, 1))
    np.testing.assert_allclose(model.score(make_crops(1)), [expected], atol=1e-6)


@pytest.mark.parametrize("answer", [[[0.5, np.nan]], [[0.5, 1.5]], [[0.5]], [[-0.1, -0.1]]])
def test_what_is_no_probability_is_an_error(answer: list[Any]) -> None:
    model = LivenessModel(
        FakeSession(lambda batch: np.array(answer, np.float32)), size_px=8, fed=PROBABILITIES
    )
    with pytest.raises(InternalError, match="liveness model"):
        model.score(make_crops(1))


@pytest.mark.parametrize(("batch", "sizes"), [("n", [4, 4, 1]), (1, [1] * 9)])
def test_faces_go_through_a_model_in_batches_it_can_take(batch: int | str, sizes: list[int]) -> None:
    session = FakeSession(lambda given: np.stack([given[:, 0, 0, 0]] * 2, axis=1), batch)
    model = LivenessModel(session, size_px=8, fed=PROBABILITIES, max_batch=4)
    values = list(range(0, 90, 10))
    np.testing.assert_allclose(model.score(make_crops(*values)), np.array(values) / 255, atol=1e-6)
    assert [len(each) for each in session.batches] == sizes
    assert len(model.score(make_crops())) == 0


def test_a_model_of_another_size_is_refused() -> None:
    with pytest.raises(PackError, match="not floats"):
        LivenessModel(FakeSession(lambda batch: batch, side=9), size_px=8, fed=PROBABILITIES)


def test_several_models_are_averaged_and_their_crops_checked() -> None:
    halves = [
        LivenessModel(
            FakeSession(lambda batch, value=value: np.full((len(batch), 2), value, np.float32)),
            size_px=8,
            fed=PROBABILITIES,
        )
        for value in (0.2, 0.6)
    ]
    scorer = LivenessScorer(halves)
    np.testing.assert_allclose(scorer.score([make_crops(1, 2), make_crops(3, 4)]), [0.4, 0.4], atol=1e-6)
    for wrong in ([make_crops(1)], [make_crops(1), make_crops(1, 2)], [make_crops(1)[:, :4], make_crops(1)]):
        with pytest.raises(InternalError):
            scorer.score(wrong)


def test_the_health_check_sees_a_model_that_answers_otherwise_than_before() -> None:
    values = iter([0.5, 0.5, 0.5, 0.5, 0.6])
    session = FakeSession(lambda batch: np.full((len(batch), 2), next(values), np.float32))
    scorer = LivenessScorer([LivenessModel(session, size_px=8, fed=PROBABILITIES)])
    scorer.warm_up()
    assert [len(batch) for batch in session.batches] == [1, 16, 1]
    scorer.check()
    with pytest.raises(InternalError, match="changed"):
        scorer.check()


def test_a_threshold_itself_counts_as_live() -> None:
    assert judge_liveness(0.5, 0.5).status is LivenessStatus.live
    assert judge_liveness(0.4999, 0.5).status is LivenessStatus.spoof
    assert judge_liveness(None, 0.5).status is LivenessStatus.not_checked


def test_the_real_models_know_the_real_samples(checker: LivenessChecker, models: Path) -> None:
    """Three pictures show that crops, channels and classes are right; they measure nothing."""
    names = ("image_T1.jpg", "image_F1.jpg", "image_F2.jpg")
    pictures = [load(models / "antispoof_samples" / name) for name in names]
    live, *spoofs = checker.score_liveness(pictures)
    assert live is not None
    assert live > 0.95
    assert all(score is not None and score < PACK.threshold for score in spoofs), spoofs


def test_what_has_no_face_has_no_score(checker: LivenessChecker, models: Path) -> None:
    pictures = [np.zeros((100, 100, 3), np.uint8), load(models / "antispoof_samples" / "image_T1.jpg")]
    assert [score is None for score in checker.score_liveness(pictures)] == [True, False]
    assert checker.score_liveness([]) == []


def test_a_score_does_not_depend_on_batch_mates(
    scorer: LivenessScorer, pipeline: FacePipeline, models: Path, shared_dir: Path
) -> None:
    files = sorted((models / "antispoof_samples").glob("*.jpg"))
    files += sorted((shared_dir / "lfw").rglob("*.jpg"))[:17]
    cropper = PACK.make_cropper()
    cuts = []
    for file in files:
        picture = load(file)
        face = pipeline.finder.find_decoded([picture])[0].faces[0]
        cut = cropper.cut(picture, face.box, face.landmarks)
        assert cut is not None
        cuts.append(cut)
    crops = [np.stack(each) for each in zip(*cuts, strict=True)]
    together = scorer.score(crops)
    alone = [scorer.score([each[place : place + 1] for each in crops])[0] for place in range(len(cuts))]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    order = np.random.default_rng(1).permutation(len(cuts))
    np.testing.assert_allclose(scorer.score([each[order] for each in crops]), together[order], atol=1e-5)


def test_a_random_graph_of_the_shape_of_the_insightface_add_on_is_served_by_its_manifest(
    tmp_path: Path,
) -> None:
    """The add-on's weights are not at hand: this graph has its input and output, and no meaning."""
    pack = find_liveness_pack("insightface-liveness")
    side = pack.models[0].cut.size_px
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Sigmoid", ["mean"], ["live"]),
        ],
        "add-on",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("live", TensorProto.FLOAT, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / pack.artefacts[0].name
    path.write_bytes(model.SerializeToString())
    assert open_session(path).get_inputs()[0].shape[0] == "n"
    scorer = load_scorer(pack, [path])
    scorer.warm_up()
    picture = np.full((160, 160, 3), 51, np.uint8)
    landmarks = np.array(pack.models[0].cut.points, np.float32) + 40
    cut = pack.make_cropper().cut(picture, (60.0, 60.0, 40.0, 40.0), landmarks)
    assert cut is not None
    score = scorer.score([np.stack([each]) for each in cut])
    np.testing.assert_allclose(score, 1 / (1 + np.exp(-0.2)), atol=1e-4)  # RGB in 0..1, and no softmax on top
    assert pack.make_cropper().cut(picture, (0.0, 0.0, 1.0, 1.0), landmarks - 80) is None
