"""The scale that makes pitch and score of another detector comparable with the starter's."""

from __future__ import annotations

import numpy as np
import pytest

from serving.evaluation.measure_quality_scale import apply_quality_scale, fit_quality_scale
from serving.vision.quality import STARTER_SCALE, FaceQuality, QualityScale


def _make_faces(pitches: np.ndarray, scores: np.ndarray) -> list[FaceQuality]:
    return [
        FaceQuality(90, float(score), 0.9, 120, 100, 0, float(pitch), 0, 0)
        for pitch, score in zip(pitches, scores, strict=True)
    ]


@pytest.fixture(scope="module")
def starter() -> list[FaceQuality]:
    random = np.random.default_rng(4)
    return _make_faces(random.normal(0.5, 3.4, 2000), random.uniform(0.7, 0.97, 2000))


def test_a_detector_that_exaggerates_is_brought_back(starter: list[FaceQuality]) -> None:
    pitches = np.array([face.pitch_degrees for face in starter]) / 0.34 - 1.8
    scores = np.array([face.detection_score for face in starter]) ** (1 / 0.5)
    # Which face gets which measure is of no account: other detectors differ face by face.
    other = np.random.default_rng(5).permutation(_make_faces(pitches, scores))
    scale = fit_quality_scale(list(other), starter)
    assert scale == QualityScale(-1.8, 0.34, 0.5)
    again = [apply_quality_scale(scale, face) for face in _make_faces(pitches, scores)]
    for face, expected in zip(again, starter, strict=True):
        assert face.pitch_degrees == pytest.approx(expected.pitch_degrees)
        assert face.detection_score == pytest.approx(expected.detection_score)


def test_the_starter_needs_none(starter: list[FaceQuality]) -> None:
    assert fit_quality_scale(starter, starter) == STARTER_SCALE
