"""Faces followed through frames: real pictures that move, through the real models."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from serving.api.stream.geometry import find_centre, find_overlaps, measure_distances
from serving.api.stream.tracks import SURE_OVERLAP, Tracker, measure_merit
from serving.vision.pipeline import FacePipeline
from tests.unit.api.api_fakes import GOOD_QUALITY
from tests.unit.stream.films import SIZE, Door, Picture, named, read_person, show
from tests.unit.vision.conftest import pack_store, pipeline, pipelines  # noqa: F401

FPS = 5
MIDDLE = (SIZE[0] / 2, SIZE[1] / 2)


@pytest.fixture(scope="session")
def guest(samples: dict[str, Path]) -> Picture:
    return read_person(samples["guest"], 260)


@pytest.fixture(scope="session")
def stranger(samples: dict[str, Path]) -> Picture:
    return read_person(samples["portrait"], 240)


@pytest.fixture
def door(pipeline: FacePipeline, guest: Picture) -> Door:  # noqa: F811
    return Door(pipeline, guest)


def test_who_stands_is_looked_up_once(door: Door, guest: Picture) -> None:
    numbers = set()
    for frame in range(30):
        sway = 6 * np.sin(frame / 3)
        [track] = door.see(show((guest, (MIDDLE[0] + sway, MIDDLE[1])), seed=frame), frame / FPS)
        assert named([track])
        numbers.add(track.number)
    assert (len(numbers), door.lookups, door.embedded) == (1, 1, 1)


def test_an_unknown_face_is_asked_about_at_a_bounded_rhythm(door: Door, stranger: Picture) -> None:
    for frame in range(40):  # eight seconds: at 0, 1, 3 and 7 s
        [track] = door.see(show((stranger, MIDDLE), seed=frame), frame / FPS)
        assert not named([track])
    assert door.lookups == 4
    assert track.number == 1


def test_who_walks_by_stays_the_same(door: Door, guest: Picture) -> None:
    numbers = set()
    for frame in range(12):
        [track] = door.see(show((guest, (140 + 32 * frame, MIDDLE[1])), seed=frame), frame / FPS)
        assert named([track])
        numbers.add(track.number)
    assert numbers == {1}
    assert door.lookups == 1


@pytest.mark.parametrize("guest_in_front", [True, False])
def test_people_who_cross_keep_their_names(
    door: Door, guest: Picture, stranger: Picture, guest_in_front: bool
) -> None:
    frames, was_hidden = 40, False
    for frame in range(frames):
        share = frame / (frames - 1)
        here, there = (130 + 380 * share, 190.0), (510 - 380 * share, 170.0)
        people = [(stranger, there), (guest, here)]
        tracks = door.see(show(*(people if guest_in_front else people[::-1]), seed=frame), frame / FPS)
        was_hidden |= len(tracks) < 2
        for track in named(tracks):
            x, _, width, _ = track.face.box
            assert abs(x + width / 2 - here[0]) < 60, f"frame {frame}: the stranger is called the guest"
    assert was_hidden
    assert len(tracks) == 2
    assert len(named(tracks)) == 1
    assert door.embedded < frames  # and not two in each


def test_who_comes_back_is_looked_up_anew_and_nobody_inherits_a_name(
    door: Door, guest: Picture, stranger: Picture
) -> None:
    [first] = door.see(show((guest, MIDDLE)), 0.0)
    assert door.see(show(), 0.2) == []
    [again] = door.see(show((guest, MIDDLE), seed=1), 0.4)  # a blink: the same, and that is made sure of
    assert again is first
    assert (door.lookups, door.embedded) == (1, 2)
    door.see(show(), 0.6)
    [other] = door.see(show((stranger, MIDDLE)), 0.8)  # in the very same place
    assert other.number != first.number
    assert not named([other])
    [back] = door.see(show((guest, MIDDLE)), 3.0)
    assert back.number not in (first.number, other.number)
    assert named([back])


def test_a_face_in_the_place_of_another_inherits_no_name(
    door: Door, guest: Picture, stranger: Picture
) -> None:
    """Between two frames, as at a cut of the picture."""
    [alone] = door.see(show((stranger, MIDDLE)), -60.0)
    [first] = door.see(show((guest, MIDDLE)), 0.0)
    scale = first.face.box[2] / alone.face.box[2]
    away, there = find_centre(alone.face.box), find_centre(first.face.box)
    place = (there[0] - scale * (away[0] - MIDDLE[0]), there[1] - scale * (away[1] - MIDDLE[1]))
    [other] = door.see(show((cv2.resize(stranger, None, fx=scale, fy=scale), place)), 0.1)
    [[overlap]] = find_overlaps(np.array([first.face.box]), np.array([other.face.box]))
    assert overlap > SURE_OVERLAP  # the boxes alone would not have told
    assert named([first])
    assert not named([other])


def test_a_face_that_shows_clearly_better_is_looked_up_again(door: Door, samples: dict[str, Path]) -> None:
    heights = (110, 120, 135, 160, 190, 230, 270, 270, 270)
    for frame, height in enumerate(heights):
        door.see(show((read_person(samples["guest"], height), MIDDLE), seed=frame), frame / FPS)
    assert 2 <= door.lookups <= 4


@pytest.mark.parametrize(
    ("found", "elapsed_s", "is_within"),
    [
        ((0.0, 0.0, 40.0, 50.0), 0.0, True),
        ((60.0, 0.0, 40.0, 50.0), 0.0, False),  # a jump between two frames of the same moment
        ((60.0, 0.0, 40.0, 50.0), 0.2, True),  # a walk
        ((0.0, 0.0, 80.0, 100.0), 0.2, False),  # somebody much nearer
        ((200.0, 0.0, 40.0, 50.0), 60.0, False),  # farther than ever
        ((0.0, 0.0, 0.0, 50.0), 0.2, False),
    ],
)
def test_boxes_within_reach(found: tuple[float, ...], elapsed_s: float, is_within: bool) -> None:
    [[distance]] = measure_distances(
        np.array([[0.0, 0.0, 40.0, 50.0]]), np.array([found]), np.array([elapsed_s])
    )
    assert np.isfinite(distance) == is_within


def test_overlap_and_merit() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [5, 0, 10, 10], [20, 0, 10, 10], [0, 0, 0, 10]])
    assert find_overlaps(boxes[:1], boxes).tolist() == [[1, pytest.approx(1 / 3), 0, 0]]
    assert measure_merit(GOOD_QUALITY) == 1
    assert Tracker(1.0).match([], 0.0).doubtful == []
