"""Detection, alignment and embedding with the real starter models."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from serving.errors import InternalError, NotAnImage, PackError
from serving.packs.catalogue import find_pack
from serving.packs.loading import load_embedder, load_finder
from serving.packs.store import PackStore
from serving.vision.alignment import AlignmentTemplate, align_face, fit_similarity
from serving.vision.centerface import CenterFace
from serving.vision.detection import suppress_overlaps
from serving.vision.execution import Execution
from serving.vision.inference import open_session
from serving.vision.picture import decode_picture
from serving.vision.pipeline import FacePipeline, PictureFaces

TEMPLATE = find_pack("starter").template


@pytest.fixture(scope="module")
def group(samples: dict[str, Path]) -> np.ndarray:
    return decode_picture(samples["group"].read_bytes())


@pytest.fixture(scope="module")
def chips(pipeline: FacePipeline, group: np.ndarray) -> np.ndarray:
    return np.stack([face.crop for face in pipeline.finder.find_decoded([group])[0].faces])


def test_detector_batch_equals_singles(pack_store: PackStore, group: np.ndarray) -> None:
    prepared = pack_store.prepare(find_pack("starter"))
    detector = CenterFace(open_session(prepared.detector_path), max_batch=4)
    pictures = [group, group[:, ::-1].copy(), group[:500, :700], group[100:, 300:], group, group[::2, ::2]]
    for whole, picture in zip(detector.detect(pictures, 640), pictures, strict=True):
        single = detector.detect([picture], 640)[0]
        assert len(whole) == len(single) > 0
        np.testing.assert_allclose(whole.boxes, single.boxes, atol=1e-4, rtol=1e-6)
        np.testing.assert_allclose(whole.landmarks, single.landmarks, atol=1e-4, rtol=1e-6)
        np.testing.assert_allclose(whole.scores, single.scores, atol=1e-4)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("int8", 1e-5)])
def test_embedder_batch_equals_singles(
    pipelines: dict[str, FacePipeline], chips: np.ndarray, precision: str, tolerance: float
) -> None:
    embedder = pipelines[precision].embedder
    many = np.concatenate([chips] * 4)
    singles = np.concatenate([embedder.embed(chip[None]) for chip in many])
    np.testing.assert_allclose(embedder.embed(many), singles, atol=tolerance)


def test_int8_vectors_stay_close_to_fp32(pipelines: dict[str, FacePipeline], chips: np.ndarray) -> None:
    cosines = (pipelines["fp32"].embedder.embed(chips) * pipelines["int8"].embedder.embed(chips)).sum(axis=1)
    assert cosines.min() > 0.985


def test_vectors_are_unit_and_empty_input_works(pipeline: FacePipeline, chips: np.ndarray) -> None:
    vectors = pipeline.embedder.embed(chips)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert pipeline.embedder.embed(chips[:0]).shape == (0, 128)


def test_mirrored_vectors_do_not_change_under_mirroring(pack_store: PackStore, chips: np.ndarray) -> None:
    embedder = load_embedder(pack_store.prepare(find_pack("starter", "fp32", True)))
    flipped = np.ascontiguousarray(chips[:, :, ::-1])
    np.testing.assert_allclose(embedder.embed(chips), embedder.embed(flipped), atol=1e-5)


def test_wrong_chips_are_refused(pipeline: FacePipeline) -> None:
    with pytest.raises(InternalError):
        pipeline.embedder.embed(np.zeros((1, 112, 112, 3), np.uint8))


def test_health_checks_pass_and_are_repeatable(pack_store: PackStore) -> None:
    prepared = pack_store.prepare(find_pack("starter"))
    for stage in (load_finder(prepared, max_side_px=320), load_embedder(prepared, max_batch=2)):
        stage.warm_up()
        stage.check()


def test_opencv_has_as_many_threads_as_the_models(pack_store: PackStore) -> None:
    prepared = pack_store.prepare(find_pack("starter"))
    try:
        for threads in (2, 1):
            load_finder(prepared, execution=Execution(intra_op_threads=threads))
            assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(1)


def test_check_notices_a_changed_model(pack_store: PackStore) -> None:
    prepared = pack_store.prepare(find_pack("starter"))
    embedder, finder = load_embedder(prepared), load_finder(prepared)
    embedder.check()
    finder.check()
    embedder._check_chip = 255 - embedder._check_chip  # stands for a model that answers otherwise
    with pytest.raises(InternalError):
        embedder.check()
    model = finder._detector._detector
    model._check_values = model._check_values + 1
    with pytest.raises(InternalError):
        finder.check()


def test_one_bad_picture_harms_no_other(pipeline: FacePipeline, samples: dict[str, Path]) -> None:
    group, portrait = samples["group"].read_bytes(), samples["portrait"].read_bytes()
    found = pipeline.finder.find([group, b"junk", portrait, group[:1000]])
    assert isinstance(found[0], PictureFaces)
    assert len(found[0].faces) == 6
    assert isinstance(found[1], NotAnImage)
    assert isinstance(found[2], PictureFaces)
    assert len(found[2].faces) == 1
    assert getattr(found[3], "code", None) == "truncated_picture"


def test_recognise_keeps_faces_and_vectors_together(pipeline: FacePipeline, samples: dict[str, Path]) -> None:
    group, guest = (samples[name].read_bytes() for name in ("group", "guest"))
    results = pipeline.recognise([guest, b"", group])
    assert isinstance(results[1], NotAnImage)
    alone = pipeline.recognise([group])[0]
    assert isinstance(alone, list)
    assert isinstance(results[2], list)
    for (_, together), (_, single) in zip(results[2], alone, strict=True):
        np.testing.assert_allclose(together, single, atol=1e-5)


def test_orientations_give_the_same_vector(pipeline: FacePipeline, samples: dict[str, Path]) -> None:
    picture = decode_picture(samples["portrait"].read_bytes())
    inverse = {6: 8, 8: 6}
    vectors = []
    for orientation in range(1, 9):
        stored = _turn(picture, inverse.get(orientation, orientation))
        exif = Image.Exif()
        exif[0x0112] = orientation
        out = io.BytesIO()
        Image.fromarray(stored).save(out, "PNG", exif=exif)
        ((_, vector),) = pipeline.recognise([out.getvalue()])[0]
        vectors.append(vector)
    for vector in vectors[1:]:
        np.testing.assert_array_equal(vector, vectors[0])


def _turn(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Pillow's own operations, so that the product's table is held against another's."""
    operations = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    image = Image.fromarray(picture)
    return np.asarray(image.transpose(operations[orientation]) if orientation in operations else image)


def test_similarity_is_recovered_exactly() -> None:
    rng = np.random.default_rng(1)
    source = rng.uniform(0, 100, (5, 2))
    angle, scale, shift = 0.4, 1.7, np.array([12.0, -5.0])
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    fitted = fit_similarity(source, source @ rotation.T + shift, np.array([3.0, 3, 2, 1, 1]))
    np.testing.assert_allclose(fitted, np.column_stack([rotation, shift]), atol=1e-9)


def test_cropping_first_changes_no_chip_pixel() -> None:
    """The region that alignment cuts out gives the same chip as halving the whole picture."""
    rng = np.random.default_rng(2)
    picture = cv2.GaussianBlur(rng.integers(0, 255, (1500, 1800, 3), np.uint8), (0, 0), 6)
    landmarks = (TEMPLATE.points * 4.6 + (631.3, 402.7)).astype(np.float32)
    small, shrunk = picture, landmarks.astype(np.float64)
    for _ in range(2):
        small, shrunk = cv2.pyrDown(small), shrunk / 2
    matrix = fit_similarity(shrunk, TEMPLATE.points, TEMPLATE.weights)
    expected = cv2.warpAffine(small, matrix, (150, 150), flags=cv2.INTER_LINEAR)
    difference = np.abs(align_face(picture, landmarks, TEMPLATE).astype(int) - expected)
    assert difference.max() <= 1


@pytest.mark.parametrize(
    "landmarks",
    [
        np.zeros((5, 2)),
        np.full((5, 2), np.nan),
        TEMPLATE.points + 1e6,
        TEMPLATE.points * 1e-3,
        TEMPLATE.points - 140,
    ],
)
def test_odd_landmarks_still_give_a_chip(landmarks: np.ndarray) -> None:
    chip = align_face(np.full((64, 64, 3), 9, np.uint8), landmarks.astype(np.float32), TEMPLATE)
    assert chip.shape == (150, 150, 3)
    assert chip.dtype == np.uint8


def test_suppression_keeps_the_best_of_each_cluster() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 10, 10], [50, 50, 10, 10], [0, 0, 10, 10.5]], np.float32)
    kept = suppress_overlaps(boxes, np.array([0.6, 0.9, 0.5, 0.7], np.float32), 0.3)
    assert kept.tolist() == [1, 2]
    assert len(suppress_overlaps(boxes[:0], np.zeros(0, np.float32), 0.3)) == 0


def test_detection_survives_extreme_shapes(pipeline: FacePipeline) -> None:
    shapes = [(1, 1), (1, 5000), (5000, 2), (31, 33)]
    found = pipeline.finder.find_decoded([np.zeros((*shape, 3), np.uint8) for shape in shapes])
    assert [len(one.faces) for one in found] == [0, 0, 0, 0]
    assert pipeline.finder.find_decoded([]) == []


def test_damaged_model_is_a_pack_error() -> None:
    with pytest.raises(PackError):
        open_session(b"not a model")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_faces_are_found_in_wider(
    shared_dir: Path, pipelines: dict[str, FacePipeline], precision: str
) -> None:
    """Recall of faces of at least 32 px in every fourth WIDER picture, IoU 0.5; see docs/accuracy.md."""
    lines = (shared_dir / "wider" / "ground_truth.txt").read_text().splitlines()
    at, hits, total, number = 0, 0, 0, 0
    while at < len(lines) and lines[at].strip():
        name, count = lines[at].split("/")[-1], max(1, int(lines[at + 1]))
        truth = np.array([[float(v) for v in line.split()] for line in lines[at + 2 : at + 2 + count]])
        at, number = at + 2 + count, number + 1
        truth = truth[(np.sqrt(truth[:, 2] * truth[:, 3]) >= 32) & (truth[:, 7] == 0), :4]
        if number % 4 or len(truth) == 0:
            continue
        found = pipelines[precision].finder.find([(shared_dir / "wider" / "images" / name).read_bytes()])[0]
        assert isinstance(found, PictureFaces)
        boxes = np.array([face.box for face in found.faces]).reshape(-1, 4)
        hits += sum(bool(len(boxes)) and _best_iou(one, boxes) >= 0.5 for one in truth)
        total += len(truth)
    assert total > 40
    assert hits / total >= 0.92


def _best_iou(one: np.ndarray, boxes: np.ndarray) -> float:
    x = np.minimum(one[0] + one[2], boxes[:, 0] + boxes[:, 2]) - np.maximum(one[0], boxes[:, 0])
    y = np.minimum(one[1] + one[3], boxes[:, 1] + boxes[:, 3]) - np.maximum(one[1], boxes[:, 1])
    overlap = np.clip(x, 0, None) * np.clip(y, 0, None)
    return float((overlap / (one[2] * one[3] + boxes[:, 2] * boxes[:, 3] - overlap)).max())


def test_template_is_plain_data() -> None:
    assert isinstance(TEMPLATE, AlignmentTemplate)
    assert TEMPLATE.points.shape == (5, 2)
