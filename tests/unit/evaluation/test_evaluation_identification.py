"""Searching a gallery, fusing pictures, and groups: by hand, and against what the construction says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from serving.evaluation.fusion import measure_fusion
from serving.evaluation.identification import (
    Split,
    find_threshold,
    measure_identification,
    measure_rates,
    project,
    split_people,
)
from serving.evaluation.scores import score_all_pairs
from serving.evaluation.verification import rates_by_group
from tests.unit.evaluation.known_scores import draw_gaussian, draw_people, true_match_rate


def test_rates_by_hand() -> None:
    """Four searches of the enrolled: one has somebody else first, one scores low; one stranger is high."""
    split = Split(
        gallery=3,
        mated_best=np.array([0.9, 0.8, 0.7, 0.3], np.float32),
        mated_right=np.array([True, False, True, True]),
        mated_people=np.arange(4),
        strangers_best=np.array([0.6, 0.4, 0.2, 0.1], np.float32),
        strangers=np.arange(4),
    )
    assert measure_rates(split, 0.5) == (0.5, 0.25)
    assert measure_rates(split, 0.95) == (1.0, 0.0)
    assert measure_rates(split, -1.0) == (0.25, 1.0)
    threshold = find_threshold(split, 0.25)
    assert 0.4 < threshold <= 0.6
    assert measure_rates(split, threshold) == (0.5, 0.25)
    assert find_threshold(split, 0.0) > 0.6
    # With the first stranger's search counted three times, one in four is below it.
    assert find_threshold(split, 0.25, np.array([3.0, 1, 1, 1])) > 0.6


def test_splits_enrol_one_picture_and_search_all_others() -> None:
    people, vectors = draw_people(30, 4, 0.3)
    for split in split_people(people, vectors, splits=3):
        assert split.gallery == 15
        assert (len(split.mated_best), len(split.strangers_best)) == (15 * 3, 15 * 4)
        assert not set(split.mated_people) & set(split.strangers)
    first, again = (split_people(people, vectors, splits=2, seed=9)[1] for _ in range(2))
    np.testing.assert_array_equal(first.mated_best, again.mated_best)
    assert split_people(people, vectors, gallery=7)[0].gallery == 7


def test_far_apart_people_are_always_found_and_equal_ones_by_chance() -> None:
    people, vectors = draw_people(80, 20, 0.05)
    found = measure_identification(people, vectors, score_all_pairs(people, vectors), 0.8, 20, replicates=10)
    assert found is not None
    assert found["supported"]
    assert found["rank_1_rate"] == 1
    assert found["false_negative_rate"]["value"] == 0
    assert found["at_default_threshold"]["false_positive_rate"] == 0
    _, alike = draw_people(80, 20, 1000.0)
    found = measure_identification(people, alike, score_all_pairs(people, alike), None, 20, replicates=10)
    assert found is not None
    assert found["rank_1_rate"] == pytest.approx(1 / 20, abs=0.02)
    rates = [row["false_negative_rate"] for row in found["curve"]]
    assert all(a >= b for a, b in itertools.pairwise(rates))


def test_few_searches_give_no_rate() -> None:
    people, vectors = draw_people(40, 3, 0.3)
    found = measure_identification(people, vectors, score_all_pairs(people, vectors), None)
    assert found is not None
    assert not found["supported"]
    assert found["false_negative_rate"] is None
    assert measure_identification(np.arange(40), vectors[:40], score_all_pairs(people, vectors), None) is None


def test_projection_is_the_closed_form() -> None:
    scores = draw_gaussian(20_000, 400_000, 3.0)
    rows = {row["gallery"]: row for row in project(scores, (10, 100, 10_000))}
    for size in (10, 100):
        rate = 1 - 0.99 ** (1 / size)
        assert rows[size]["false_match_rate"] == pytest.approx(rate, rel=1e-3)
        assert rows[size]["false_negative_rate"] == pytest.approx(1 - true_match_rate(rate, 3.0), abs=0.05)
    assert rows[10_000] == {
        "gallery": 10_000,
        "false_match_rate": pytest.approx(1e-6, rel=0.01),
        "supported": False,
    }


def test_the_mean_of_several_pictures_errs_less() -> None:
    people, vectors = draw_people(120, 6, 0.7)
    cut = score_all_pairs(people, vectors).threshold_at(1e-2)
    rows = {row["pictures"]: row for row in measure_fusion(people, vectors, [(1e-2, cut)])}
    assert set(rows) == {1, 2, 3, 5}
    assert rows[1]["false_match_rate"] == pytest.approx(1e-2, rel=0.5)
    for kind in ("false_match_rate", "false_non_match_rate"):
        assert rows[5][kind] < rows[1][kind]
    # By hand: one person's mean of two cosines is the cosine with the mean vector, not its direction.
    pair = np.array([[1, 0], [0, 1]], np.float32)
    assert float(pair.mean(axis=0) @ np.array([1, 0])) == 0.5


def test_too_few_pictures_of_each_measure_no_fusion() -> None:
    people, vectors = draw_people(30, 2, 0.5)
    assert measure_fusion(people, vectors, [(1e-2, 0.5)]) == []


def test_groups_are_measured_apart() -> None:
    """One group of people is alike, the other is not: only the first has false matches."""
    people, vectors = draw_people(80, 3, 0.3)
    alike = people < 40
    common = np.ones(32, np.float32) / np.sqrt(np.float32(32))
    vectors[alike] += 3 * common
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = ["alike" if each else "apart" for each in alike]
    rows = {row["group"]: row for row in rates_by_group(people, vectors, groups, 0.8)}
    assert rows["alike"]["people"] == rows["apart"]["people"] == 40
    assert rows["alike"]["false_match_rate"]["value"] > 0.5
    assert rows["apart"]["false_match_rate"]["value"] < 0.01
    assert rows["apart"]["false_match_rate"]["count"] == 120 * 119 // 2 - 40 * 3
