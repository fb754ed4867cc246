"""The gates: each limit refuses for its own reason, and the levels are worth their name on real pictures."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.evaluation.people_folder import list_pictures, pick_central_face
from serving.vision.liveness_modes import Liveness, LivenessStatus, judge_liveness
from serving.vision.picture import decode_picture
from serving.vision.pipeline import Face, FacePipeline
from serving.vision.quality import FaceQuality
from serving.vision.quality_gates import (
    HINTS,
    LIMITS,
    QualityLevel,
    QualityLimits,
    QualityReason,
    find_attack,
    find_crowd,
    find_faults,
)

GOOD = FaceQuality(200.0, 0.95, 1.0, 128.0, 120.0, 0.0, 0.0, 0.0, 0.0)
GATES = [level for level in QualityLevel if level is not QualityLevel.off]

# reason, measure, limit, the side on which values are refused
CASES = [
    (QualityReason.face_too_small, "face_px", "min_face_px", -1),
    (QualityReason.low_detection_score, "detection_score", "min_detection_score", -1),
    (QualityReason.blurred, "sharpness", "min_sharpness", -1),
    (QualityReason.too_dark, "brightness", "min_brightness", -1),
    (QualityReason.too_bright, "brightness", "max_brightness", 1),
    (QualityReason.low_contrast, "contrast", "min_contrast", -1),
    (QualityReason.turned_sideways, "yaw_degrees", "max_yaw_degrees", 1),
    (QualityReason.looking_up_or_down, "pitch_degrees", "max_pitch_degrees", 1),
    (QualityReason.tilted, "roll_degrees", "max_roll_degrees", 1),
    (QualityReason.cut_by_edge, "cut_fraction", "max_cut_fraction", 1),
]


@pytest.mark.parametrize("level", GATES)
@pytest.mark.parametrize(("reason", "measure", "limit_name", "side"), CASES)
def test_each_limit_refuses_for_its_own_reason(
    reason: QualityReason, measure: str, limit_name: str, side: int, level: QualityLevel
) -> None:
    limit = getattr(LIMITS[level], limit_name)
    signs = (1, -1) if measure.endswith("degrees") else (1,)
    for sign in signs:
        at_limit = dataclasses.replace(GOOD, **{measure: sign * limit})
        beyond = dataclasses.replace(GOOD, **{measure: sign * (limit + side * 0.001)})
        assert find_faults(at_limit, level) == []
        (fault,) = find_faults(beyond, level)
        assert (fault.reason, fault.limit, fault.hint) == (reason, limit, HINTS[reason])
        assert fault.value == pytest.approx(limit + side * 0.001)
        assert find_faults(beyond, QualityLevel.off) == []


NOT_MEASURED = {
    QualityReason.several_faces,
    QualityReason.presentation_attack,
    QualityReason.liveness_unknown,
}
"""Reasons that no measure of the face itself gives."""


def test_every_limit_and_reason_is_tested() -> None:
    assert {case[2] for case in CASES} == {field.name for field in dataclasses.fields(QualityLimits)}
    assert {case[0] for case in CASES} == set(QualityReason) - NOT_MEASURED
    assert set(HINTS) == set(QualityReason)
    assert set(LIMITS) == set(GATES)


def test_all_faults_are_found_in_a_fixed_order() -> None:
    bad = FaceQuality(5.0, 0.1, 0.1, 5.0, 5.0, -80.0, 60.0, 120.0, 0.9)
    reasons = [fault.reason for fault in find_faults(bad, QualityLevel.standard)]
    missing = {QualityReason.too_bright, *NOT_MEASURED}
    assert reasons == [reason for reason in QualityReason if reason not in missing]


def test_what_is_not_a_number_is_not_good_enough() -> None:
    for field in dataclasses.fields(FaceQuality):
        broken = dataclasses.replace(GOOD, **{field.name: math.nan})
        assert find_faults(broken, QualityLevel.standard)


@pytest.mark.parametrize(
    ("liveness", "reasons"),
    [
        (judge_liveness(0.9, 0.5), []),
        (judge_liveness(0.4, 0.5), [QualityReason.presentation_attack]),
        (judge_liveness(None, 0.5), [QualityReason.liveness_unknown]),
        (Liveness(LivenessStatus.unavailable), [QualityReason.liveness_unknown]),
        (None, [QualityReason.liveness_unknown]),
    ],
)
def test_where_liveness_is_enforced_only_live_faces_pass(
    liveness: Liveness | None, reasons: list[QualityReason]
) -> None:
    faults = find_attack(liveness)
    assert [fault.reason for fault in faults] == reasons
    assert all((fault.value, fault.limit) == (1.0, 0.0) for fault in faults)  # the score is not told


def test_several_faces_is_the_callers_to_count() -> None:
    assert find_crowd(1, QualityLevel.strict) == []
    assert find_crowd(3, QualityLevel.off) == []
    (fault,) = find_crowd(3, QualityLevel.standard)
    assert (fault.reason, fault.value, fault.limit) == (QualityReason.several_faces, 3.0, 1.0)


ANY_QUALITY = st.builds(
    FaceQuality,
    *[st.floats(0, 300), st.floats(0, 1), st.floats(0, 2), st.floats(0, 255), st.floats(0, 255)],
    *[st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180), st.floats(0, 1)],
)


@given(ANY_QUALITY)
def test_strict_refuses_whatever_standard_refuses(quality: FaceQuality) -> None:
    standard = {fault.reason for fault in find_faults(quality, QualityLevel.standard)}
    assert standard <= {fault.reason for fault in find_faults(quality, QualityLevel.strict)}


def _find(picture: np.ndarray, pipeline: FacePipeline) -> Face:
    return pick_central_face(pipeline.finder.find_decoded([picture])[0])


def test_sample_portraits_pass_and_damaged_ones_do_not(
    samples: dict[str, Path], pipeline: FacePipeline
) -> None:
    picture = decode_picture(samples["guest"].read_bytes())
    face = _find(picture, pipeline)
    width = face.quality.face_px
    assert find_faults(face.quality, QualityLevel.standard) == []
    scale = 22 / width
    damaged = {
        QualityReason.face_too_small: cv2.resize(
            picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
        ),
        QualityReason.blurred: cv2.GaussianBlur(picture, (0, 0), 0.04 * width),
        QualityReason.too_dark: (picture * 0.1).astype(np.uint8),
        QualityReason.too_bright: np.clip(picture * 1.0 + 90, 0, 255).astype(np.uint8),
        QualityReason.low_contrast: (picture * 0.15 + 100).astype(np.uint8),
    }
    for reason, worse in damaged.items():
        faults = find_faults(_find(worse, pipeline).quality, QualityLevel.standard)
        assert reason in {fault.reason for fault in faults}


def test_few_portraits_are_refused(shared_dir: Path, pipeline: FacePipeline) -> None:
    """Every tenth LFW picture; docs/quality.md has the shares of all of them."""
    faces = []
    for _, path in list_pictures(shared_dir / "lfw" / "images")[::10]:
        found = pipeline.finder.find_decoded([decode_picture(path.read_bytes())])[0]
        faces.append(pick_central_face(found).quality)
    refused = {level: np.mean([bool(find_faults(face, level)) for face in faces]) for level in GATES}
    assert refused[QualityLevel.standard] <= 0.035
    assert 0.03 <= refused[QualityLevel.strict] <= 0.15


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("left_face.jpeg", QualityReason.turned_sideways),
        ("right_face.png", QualityReason.turned_sideways),
        ("left_wryneck.png", QualityReason.tilted),
    ],
)
def test_known_poses_are_refused(
    shared_dir: Path, pipeline: FacePipeline, name: str, reason: QualityReason
) -> None:
    picture = decode_picture((shared_dir / "hostile" / "faces" / "pose" / name).read_bytes())
    faults = find_faults(_find(picture, pipeline).quality, QualityLevel.standard)
    assert reason in {fault.reason for fault in faults}
