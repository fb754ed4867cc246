"""The measures of a face, on real pictures changed in one respect at a time."""

from __future__ import annotations

import dataclasses
import math
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serving.evaluation.people_folder import pick_central_face
from serving.packs.catalogue import find_pack, starter_ids
from serving.vision.alignment import AlignmentTemplate, align_face
from serving.vision.picture import decode_picture
from serving.vision.pipeline import Face, FacePipeline
from serving.vision.quality import (
    STARTER_SCALE,
    UNKNOWN_POSE,
    FaceQuality,
    QualityMeter,
    QualityScale,
    estimate_pose,
    measure_cut,
)

TEMPLATE = find_pack("starter").template
FRONTAL = np.array([[-3.15, -2.6], [3.15, -2.6], [0.0, 1.3], [-2.46, 4.3], [2.46, 4.3]])
SHAPE = np.column_stack([FRONTAL, [-3.47, -3.47, -7.48, -4.28, -4.28]])
"""A head in cm: x right, y down, z away from the viewer."""


@pytest.fixture(scope="module")
def portrait(samples: dict[str, Path]) -> np.ndarray:
    return decode_picture(samples["portrait"].read_bytes())


@pytest.fixture(scope="module")
def people(samples: dict[str, Path], pipeline: FacePipeline) -> list[np.ndarray]:
    """Pictures with one face in the middle each: a guest, and the faces of a group cut out widely."""
    group = decode_picture(samples["group"].read_bytes())
    cuts = [decode_picture(samples["guest"].read_bytes())]
    for face in pipeline.finder.find_decoded([group])[0].faces:
        x, y, w, h = (round(value) for value in face.box)
        left, top = max(0, x - w // 2), max(0, y - h // 2)
        cuts.append(np.ascontiguousarray(group[top : y + h * 3 // 2, left : x + w * 3 // 2]))
    return cuts


def _face(picture: np.ndarray, pipeline: FacePipeline) -> Face:
    return pick_central_face(pipeline.finder.find_decoded([picture])[0])


def _quality(picture: np.ndarray, pipeline: FacePipeline) -> FaceQuality:
    return _face(picture, pipeline).quality


def _angles(quality: FaceQuality) -> tuple[float, float, float]:
    return quality.yaw_degrees, quality.pitch_degrees, quality.roll_degrees


def _turn(picture: np.ndarray, degrees: float) -> np.ndarray:
    """Clockwise about the middle."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def test_every_face_carries_its_quality(portrait: np.ndarray, pipeline: FacePipeline) -> None:
    face = _face(portrait, pipeline)
    assert face.quality.face_px == pytest.approx(min(face.box[2:]))
    assert face.quality.detection_score == face.detection_score
    assert face.quality.cut_fraction == pytest.approx(measure_cut(face.box, *portrait.shape[1::-1]))
    assert all(type(value) is float for value in dataclasses.astuple(face.quality))
    assert pickle.loads(pickle.dumps(face.quality)) == face.quality
    assert len(pickle.dumps(face.quality)) < 400


def test_the_finder_knows_where_the_picture_ends(people: list[np.ndarray], pipeline: FacePipeline) -> None:
    cut = 0
    for picture in people:
        x, _, w, _ = _face(picture, pipeline).box
        part = np.ascontiguousarray(picture[:, : round(x + 0.8 * w)])
        for face in pipeline.finder.find_decoded([part])[0].faces:
            height, width = part.shape[:2]
            assert face.quality.cut_fraction == pytest.approx(measure_cut(face.box, width, height))
            cut += face.quality.cut_fraction > 0.03
    assert cut


def test_blur_lowers_sharpness_step_by_step(people: list[np.ndarray], pipeline: FacePipeline) -> None:
    for picture in people:
        width = _quality(picture, pipeline).face_px
        values = [_quality(picture, pipeline).sharpness] + [
            _quality(cv2.GaussianBlur(picture, (0, 0), width * share), pipeline).sharpness
            for share in (0.02, 0.03, 0.05)
        ]
        assert values == sorted(values, reverse=True)
        assert values[2] < 0.75 * values[0]
        assert values[3] < 0.5 * values[0]


def test_shaking_along_either_axis_lowers_sharpness(people: list[np.ndarray], pipeline: FacePipeline) -> None:
    for picture in people:
        before = _quality(picture, pipeline)
        length = round(before.face_px * 0.15)
        for kernel in ((length, 1), (1, length)):
            assert _quality(cv2.blur(picture, kernel), pipeline).sharpness < 0.75 * before.sharpness


def test_sharpness_follows_neither_contrast_nor_size(
    people: list[np.ndarray], pipeline: FacePipeline
) -> None:
    for picture in people:
        before = _quality(picture, pipeline)
        faint = _quality((picture * 0.5 + 60).astype(np.uint8), pipeline)
        assert faint.sharpness == pytest.approx(before.sharpness, rel=0.1)
        for size, kept in ((96, 0.7), (64, 0.7), (40, 0.85)):
            scale = size / before.face_px
            if scale < 1:
                small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                assert _quality(small, pipeline).sharpness > kept * before.sharpness


def test_light_and_contrast_follow_the_picture(people: list[np.ndarray], pipeline: FacePipeline) -> None:
    for picture in people:
        before = _quality(picture, pipeline)
        for gain in (0.6, 0.3):
            after = _quality((picture * gain).astype(np.uint8), pipeline)
            assert after.brightness == pytest.approx(before.brightness * gain, rel=0.05, abs=1)
            assert after.contrast == pytest.approx(before.contrast * gain, rel=0.1, abs=2)
        pale = _quality((picture * 0.4 + 128).astype(np.uint8), pipeline)
        assert pale.brightness == pytest.approx(before.brightness * 0.4 + 128, abs=3)


@pytest.mark.parametrize("degrees", [-20, 20])
def test_turning_the_picture_changes_the_roll(
    people: list[np.ndarray], pipeline: FacePipeline, degrees: float
) -> None:
    """In the median; the landmarks of single faces move by some degrees against each other."""
    changes = []
    for picture in people:
        before, after = _quality(picture, pipeline), _quality(_turn(picture, degrees), pipeline)
        changes.append(np.subtract(_angles(after), _angles(before)))
    yaw, pitch, roll = np.median(changes, axis=0)
    assert roll == pytest.approx(degrees, abs=5)
    assert yaw == pytest.approx(0, abs=5)
    assert pitch == pytest.approx(0, abs=5)


@settings(max_examples=50, deadline=None)
@given(st.floats(-180, 180), arrays(np.float64, (5, 2), elements=st.floats(-0.8, 0.8)))
def test_turning_the_landmarks_changes_the_roll_alone(degrees: float, shift: np.ndarray) -> None:
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    before, after = estimate_pose(FRONTAL + shift), estimate_pose((FRONTAL + shift) @ turn)
    assert after.yaw_degrees == pytest.approx(before.yaw_degrees, abs=1e-3)
    assert after.pitch_degrees == pytest.approx(before.pitch_degrees, abs=1e-3)
    assert math.remainder(after.roll_degrees - before.roll_degrees - degrees, 360) == pytest.approx(
        0, abs=1e-3
    )


def test_mirroring_changes_the_signs_of_yaw_and_roll(
    people: list[np.ndarray], pipeline: FacePipeline
) -> None:
    changes = []
    for picture in people:
        before, after = _quality(picture, pipeline), _quality(picture[:, ::-1].copy(), pipeline)
        changes.append(np.add(_angles(after), np.multiply(_angles(before), (1, -1, 1))))
        if abs(before.yaw_degrees) > 10:
            assert before.yaw_degrees * after.yaw_degrees < 0
    np.testing.assert_allclose(np.median(changes, axis=0), 0, atol=3)


def test_cutting_the_face_raises_the_cut_fraction(people: list[np.ndarray], pipeline: FacePipeline) -> None:
    meter = QualityMeter(TEMPLATE)
    for picture in people:
        face = _face(picture, pipeline)
        x, y, w, h = face.box
        fractions = []
        for share in (0.05, 0.1, 0.3, 0.6, 1.2):
            cut = round(x + share * w)
            part = np.ascontiguousarray(picture[:, cut:])
            landmarks = face.landmarks - np.array([cut, 0], np.float32)
            crop = align_face(part, landmarks, TEMPLATE)
            quality = meter.measure(crop, (x - cut, y, w, h), landmarks, 0.9, part.shape[1], part.shape[0])
            fractions.append(quality.cut_fraction)
            assert quality.cut_fraction == pytest.approx(min(1.0, share), abs=0.02)
            if share <= 0.3:
                # The black beyond the edge is neither dark skin nor a sharp contour.
                assert quality.brightness == pytest.approx(face.quality.brightness, rel=0.15)
                assert quality.sharpness == pytest.approx(face.quality.sharpness, rel=0.3)
        assert fractions == sorted(fractions)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 10, 20, 20), 0.0),
        ((-10, 10, 20, 20), 0.5),
        ((90, 90, 20, 20), 0.75),
        ((200, 10, 20, 20), 1.0),
        ((10, 10, 0, 20), 1.0),
        ((10, 10, math.nan, 20), 1.0),
        ((-50, -50, 200, 200), 0.75),
    ],
)
def test_cut_fraction_of_boxes(box: tuple[float, float, float, float], expected: float) -> None:
    assert measure_cut(box, 100, 100) == pytest.approx(expected)


@pytest.mark.parametrize("yaw", [-60, -25, 0, 10, 60])
@pytest.mark.parametrize("pitch", [-30, 0, 15])
@pytest.mark.parametrize("roll", [-100, 0, 30])
def test_pose_of_a_turned_head_is_recovered(yaw: float, pitch: float, roll: float) -> None:
    """The head is turned with OpenCV's rotation vectors, so that signs are held against another's."""
    turn = np.eye(3)
    # About y (down): the nose goes right where the angle is negative; about x (right): up where positive.
    for axis, degrees in (((0, 1, 0), -yaw), ((1, 0, 0), -pitch), ((0, 0, 1), roll)):
        turn = cv2.Rodrigues(np.radians(degrees) * np.array(axis, np.float64))[0] @ turn
    points = (SHAPE @ turn.T)[:, :2] * 12.5 + (310, 200)
    pose = estimate_pose(points.astype(np.float32))
    assert pose.yaw_degrees == pytest.approx(yaw, abs=1.5)
    assert pose.pitch_degrees == pytest.approx(pitch, abs=1.5)
    assert pose.roll_degrees == pytest.approx(roll, abs=1.5)


def test_signs_of_the_pose() -> None:
    moved = [FRONTAL.copy() for _ in range(3)]
    moved[0][2, 0] += 1  # the nose goes right in the picture
    moved[1][2, 1] -= 1  # the nose goes up
    moved[2] = moved[2] @ np.array([[math.cos(0.3), math.sin(0.3)], [-math.sin(0.3), math.cos(0.3)]])
    assert estimate_pose(moved[0]).yaw_degrees > 8
    assert estimate_pose(moved[1]).pitch_degrees > 8
    assert moved[2][1, 1] > moved[2][0, 1]  # the eye on the right is the lower one: turned clockwise
    assert estimate_pose(moved[2]).roll_degrees == pytest.approx(math.degrees(0.3), abs=1)


@pytest.mark.parametrize(
    ("name", "measure", "low", "high"),
    [
        ("left_face.jpeg", "yaw_degrees", -90, -40),
        ("right_face.png", "yaw_degrees", 35, 90),
        ("left_wryneck.png", "roll_degrees", -75, -30),
        ("right_wryneck.png", "roll_degrees", 25, 60),
        ("rise_face.jpeg", "pitch_degrees", 4, 45),
    ],
)
def test_known_poses(
    shared_dir: Path, pipeline: FacePipeline, name: str, measure: str, low: float, high: float
) -> None:
    picture = decode_picture((shared_dir / "hostile" / "faces" / "pose" / name).read_bytes())
    assert low < getattr(_quality(picture, pipeline), measure) < high


COORDINATES = st.one_of(
    st.floats(-1e4, 1e4, width=32),
    st.floats(width=32),
    st.sampled_from([0.0, 1.0, 1e-30, 3e38, -3e38, math.nan, math.inf]),
)


@settings(max_examples=400, deadline=None)
@given(
    arrays(np.float32, (5, 2), elements=COORDINATES),
    st.tuples(*[st.floats(width=32)] * 4),
    st.floats(),
    st.integers(0, 255),
    st.integers(1, 4000),
    st.integers(1, 4000),
)
def test_any_landmarks_give_finite_measures(
    landmarks: np.ndarray,
    box: tuple[float, float, float, float],
    score: float,
    grey: int,
    width: int,
    height: int,
) -> None:
    crop = np.full((150, 150, 3), grey, np.uint8)
    quality = QualityMeter(TEMPLATE).measure(crop, box, landmarks, score, width, height)
    assert all(math.isfinite(value) for value in dataclasses.astuple(quality))
    assert 0 <= quality.cut_fraction <= 1
    assert 0 <= quality.contrast <= 255
    assert 0 <= quality.brightness <= 255
    assert abs(quality.pitch_degrees) <= 90
    assert abs(quality.yaw_degrees) <= 180


@pytest.mark.parametrize(
    "landmarks",
    [np.zeros((5, 2)), np.full((5, 2), np.nan), np.full((5, 2), np.inf), np.outer(np.arange(5), [1.0, 2.0])],
)
def test_points_that_make_no_face_have_no_frontal_pose(landmarks: np.ndarray) -> None:
    assert estimate_pose(landmarks) == UNKNOWN_POSE


def test_a_flat_chip_has_no_sharpness() -> None:
    crop = np.full((150, 150, 3), 200, np.uint8)
    landmarks = (TEMPLATE.points + 100).astype(np.float32)
    quality = QualityMeter(TEMPLATE).measure(crop, (120, 120, 90, 110), landmarks, 0.9, 400, 400)
    assert (quality.sharpness, quality.contrast, round(quality.brightness)) == (0, 0, 200)


def test_another_template_gives_the_same_measures(people: list[np.ndarray], pipeline: FacePipeline) -> None:
    """The chip of another pack is smaller and closer; what is measured is the face."""
    arc = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])
    other = AlignmentTemplate(arc, np.ones(5), 112)
    for picture in people:
        face = _face(picture, pipeline)
        height, width = picture.shape[:2]
        crop = align_face(picture, face.landmarks, other)
        again = QualityMeter(other).measure(crop, face.box, face.landmarks, 0.9, width, height)
        assert again.sharpness == pytest.approx(face.quality.sharpness, rel=0.25)
        assert again.brightness == pytest.approx(face.quality.brightness, rel=0.1)
        assert again.contrast == pytest.approx(face.quality.contrast, rel=0.25)
        assert again.yaw_degrees == face.quality.yaw_degrees


def test_the_starters_measures_are_not_touched() -> None:
    for pack_id in starter_ids():
        assert find_pack(pack_id).detector.quality_scale == STARTER_SCALE
    for score in np.linspace(0, 1, 1001, dtype=np.float32):
        assert STARTER_SCALE.convert_score(float(score)) == float(score)
    for degrees in np.random.default_rng(3).uniform(-90, 90, 1000):
        assert STARTER_SCALE.convert_pitch(float(degrees)) == degrees


def test_a_scale_changes_pitch_and_score_alone(portrait: np.ndarray, pipeline: FacePipeline) -> None:
    face, (height, width) = _face(portrait, pipeline), portrait.shape[:2]
    meter = QualityMeter(TEMPLATE, QualityScale(-2.0, 0.5, 0.5))
    measured = meter.measure(face.crop, face.box, face.landmarks, face.detection_score, width, height)
    assert measured == dataclasses.replace(
        face.quality,
        pitch_degrees=(face.quality.pitch_degrees + 2) * 0.5,
        detection_score=face.detection_score**0.5,
    )


@given(st.floats(), st.floats(-45, 45), st.floats(0.01, 10))
def test_scaled_measures_stay_in_their_ranges(value: float, centre: float, factor: float) -> None:
    scale = QualityScale(centre, factor, factor)
    assert 0 <= scale.convert_score(value) <= 1
    if math.isfinite(value):
        assert -90 <= scale.convert_pitch(value) <= 90
