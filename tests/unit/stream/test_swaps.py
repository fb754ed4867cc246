"""Whether a face in the place of another keeps its name, as far as place and look cannot tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from serving.api.judgements import Judgement
from serving.api.stream.tracks import RENEWED_PROOF_PERIOD_S, Track, Tracker, Vectors, compare_looks
from serving.vision.pipeline import Face
from tests.unit.api.api_fakes import GOOD_QUALITY

THRESHOLD = 0.4
ADA, EVE = np.eye(2, dtype=np.float32)
MATCH = Judgement("match", 1.0, {"person": None})


def make_face(likeness: float = 1.0, face_px: float = 200.0) -> Face:
    """A face in one and the same place, whose chip is so like that of the others."""
    base, other = np.random.default_rng(0).normal(0, 30, (2, 16, 16))
    chip = likeness * base + (1 - likeness**2) ** 0.5 * other + 128
    crop = np.repeat(np.clip(chip, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    quality = replace(GOOD_QUALITY, face_px=face_px)
    return Face((100.0, 100.0, 80.0, 100.0), np.zeros((5, 2), np.float32), 0.9, crop, quality)


def see(tracker: Tracker, face: Face, vector: Vectors, at_s: float) -> tuple[Track, bool]:
    """The track of the only face of a frame, and whether its vector was asked for."""
    matching = tracker.match([face], at_s)
    [track] = tracker.settle(matching, dict.fromkeys(matching.doubtful, vector), THRESHOLD)
    return track, bool(matching.doubtful)


def meet_ada(tracker: Tracker, at_s: float = 0.0) -> Track:
    track, _ = see(tracker, make_face(), ADA, at_s)
    track.note_answer(ADA, MATCH, [], at_s, 1.0)
    return track


@pytest.mark.parametrize(
    ("likeness", "gap_s", "is_told"),
    [(0.8, 0.2, False), (0.8, 0.7, True), (0.98, 0.7, False)],
)
def test_after_a_long_gap_a_likeness_is_not_enough(likeness: float, gap_s: float, is_told: bool) -> None:
    tracker = Tracker(1.0)
    ada = meet_ada(tracker)
    assert compare_looks(make_face().crop, make_face(likeness).crop) == pytest.approx(likeness, abs=0.05)
    track, was_asked = see(tracker, make_face(likeness), EVE, gap_s)
    assert (track is not ada, was_asked) == (is_told, is_told)


def test_who_has_taken_a_name_over_loses_it() -> None:
    tracker = Tracker(1.0)
    ada = meet_ada(tracker)
    asked = []
    for frame in range(1, round(RENEWED_PROOF_PERIOD_S / 0.2) + 2):
        at_s = frame * 0.2
        track, was_asked = see(tracker, make_face(0.99), EVE, at_s)
        asked += [at_s] if was_asked else []
        if track is not ada:
            break
    assert track.answer is None
    assert asked == [pytest.approx(RENEWED_PROOF_PERIOD_S, abs=0.21)]


def test_a_proof_waits_until_the_face_shows_enough() -> None:
    tracker = Tracker(RENEWED_PROOF_PERIOD_S * 2)
    ada = meet_ada(tracker)
    turned_away = make_face(face_px=60.0)
    for at_s in np.arange(0.2, RENEWED_PROOF_PERIOD_S + 5, 0.2):
        assert see(tracker, turned_away, EVE, float(at_s)) == (ada, False)
    assert see(tracker, make_face(), ADA, float(at_s) + 0.2) == (ada, True)
    assert see(tracker, make_face(), ADA, float(at_s) + 0.4) == (ada, False)
