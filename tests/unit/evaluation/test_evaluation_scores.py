"""Rates and intervals against arithmetic by hand, closed forms, and what must hold for any scores."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.evaluation import scores as scores_module
from serving.evaluation.advice import advise
from serving.evaluation.resampling import draw_weights, resample_rates, wilson_interval
from serving.evaluation.scores import score_all_pairs, score_pairs
from serving.evaluation.verification import equal_error_rate, measure_operating_points, trace_curve
from tests.unit.evaluation.known_scores import (
    NORMAL,
    SCALE,
    draw_gaussian,
    draw_people,
    make_scores,
    true_match_rate,
)

COSINES = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60)


def test_rates_by_hand() -> None:
    scores = make_scores(np.array([0.9, 0.8, 0.5, 0.3]), np.array([0.6, 0.4, 0.2, 0.1, 0.0]))
    assert scores.false_match_rate(0.4) == 2 / 5  # 0.6 and 0.4 itself
    assert scores.true_match_rate(0.5) == 3 / 4
    assert scores.threshold_at(0.4) == pytest.approx(0.4)
    assert scores.threshold_at(0.2) == pytest.approx(0.6)
    assert scores.true_match_rate(scores.threshold_at(0.2)) == 1 / 2
    # At 0.5: FNMR 1/4, FMR 1/5; above 0.5: FNMR 1/2. They cross between.
    assert equal_error_rate(scores)[0] == pytest.approx((1 / 5 + 1 / 2) / 2, abs=0.16)  # type: ignore[index]


def test_all_pairs_are_each_pair_once() -> None:
    people, vectors = draw_people(40, 3, 0.5)
    scores = score_all_pairs(people, vectors)
    assert (scores.genuine_pairs, scores.impostor_pairs) == (40 * 3, 120 * 119 // 2 - 40 * 3)
    first, second = np.triu_indices(120, 1)
    cosines = np.einsum("ij,ij->i", vectors[first], vectors[second])
    same = people[first] == people[second]
    np.testing.assert_allclose(np.sort(cosines[same])[::-1], scores.genuine, atol=1e-6)
    np.testing.assert_allclose(np.sort(cosines[~same])[::-1], scores.tail, atol=1e-6)
    listed = score_pairs(people, vectors, first, second, same)
    for threshold in (-0.3, 0.0, 0.2, 0.6):
        assert listed.false_matches(threshold) == scores.false_matches(threshold)
    weights = np.arange(40, dtype=float)
    assert listed.impostor_weight(weights) == pytest.approx(scores.impostor_weight(weights))


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    people, vectors = draw_people(60, 3, 2.0)
    whole = score_all_pairs(people, vectors)
    monkeypatch.setattr(scores_module, "_BLOCK_PAIRS", 1000)  # five pictures at a time
    parts = score_all_pairs(people, vectors)
    np.testing.assert_allclose(parts.genuine, whole.genuine, atol=1e-6)
    np.testing.assert_allclose(parts.tail, whole.tail, atol=1e-6)
    assert parts.impostor_pairs == whole.impostor_pairs == 180 * 179 // 2 - 60 * 3


def test_a_short_tail_changes_nothing_above_it_and_little_below() -> None:
    people, vectors = draw_people(400, 2, 0.6)
    whole, short = score_all_pairs(people, vectors), score_all_pairs(people, vectors, max_tail=2_000)
    assert len(short.tail) == 2_000
    np.testing.assert_array_equal(short.tail, whole.tail[:2_000])
    assert short.impostor_pairs == whole.impostor_pairs
    for rate in (1e-3, 5e-3):
        assert short.threshold_at(rate) == whole.threshold_at(rate)
    for rate in (0.05, 0.5, 0.99):
        assert short.threshold_at(rate) == pytest.approx(whole.threshold_at(rate), abs=4e-5)
        assert short.false_match_rate(whole.threshold_at(rate)) == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize("distance", [2.0, 3.5])
def test_rates_of_normal_scores_are_the_closed_form(distance: float) -> None:
    scores = draw_gaussian(20_000, 400_000, distance)
    points, _ = measure_operating_points(scores, (1e-2, 1e-3, 1e-4), replicates=30)
    for point in points:
        assert point.rate is not None
        expected = true_match_rate(point.false_match_rate, distance)
        # Five standard errors: of the genuine share, and of the threshold from so many impostors.
        slope = NORMAL.pdf(NORMAL.inv_cdf(1 - expected)) / NORMAL.pdf(NORMAL.inv_cdf(point.false_match_rate))
        error = math.hypot(
            math.sqrt(expected * (1 - expected) / 20_000), slope * math.sqrt(point.false_match_rate / 400_000)
        )
        assert point.rate.value == pytest.approx(expected, abs=5 * error)
        assert point.rate.interval is not None
        assert point.rate.interval.low <= point.rate.value <= point.rate.interval.high
    rate, threshold = equal_error_rate(scores)  # type: ignore[misc]
    assert rate == pytest.approx(1 - NORMAL.cdf(distance / 2), rel=0.05)
    assert threshold == pytest.approx(SCALE * distance / 2, abs=0.003)


def test_too_few_pairs_give_no_number() -> None:
    scores = draw_gaussian(500, 29_999, 3.0)
    points, _ = measure_operating_points(scores, (1e-2, 1e-3, 1e-4), replicates=100)
    assert [point.rate is not None for point in points] == [True, False, False]
    assert points[1].to_json()["supported"] is False
    words = [row["words"] for row in advise(scores)]
    assert "not supported by the data" in words[1]
    assert draw_gaussian(500, 30_000, 3.0).supports(1e-3)


@settings(max_examples=60, deadline=None)
@given(genuine=COSINES, impostor=COSINES)
def test_rates_never_rise_with_the_threshold(genuine: list[float], impostor: list[float]) -> None:
    scores = make_scores(np.array(genuine), np.array(impostor))
    cuts = np.linspace(-1.05, 1.05, 43)
    for rates in ([scores.false_match_rate(c) for c in cuts], [scores.true_match_rate(c) for c in cuts]):
        assert all(0 <= high <= low <= 1 for low, high in itertools.pairwise(rates))
    for rate in (0.01, 0.3, 1.0):
        share = scores.false_match_rate(scores.threshold_at(rate))
        ties = impostor.count(max(impostor)) if rate * len(impostor) < 1 else 0
        equal = sum(np.float32(c) == np.float32(scores.threshold_at(rate)) for c in impostor)
        assert share <= rate + max(ties, equal) / len(impostor) + 1e-9
    points = trace_curve(scores)
    assert all(a[1] <= b[1] and a[2] <= b[2] for a, b in itertools.pairwise(points))


def test_weights_are_draws_of_people() -> None:
    drawn = list(draw_weights(30, 50, seed=4))
    assert all(weights.sum() == 30 for weights in drawn)
    np.testing.assert_array_equal(drawn[7], list(draw_weights(30, 50, seed=4))[7])
    assert np.mean(drawn) == pytest.approx(1)


def test_intervals_cover_the_truth_where_pairs_depend_on_people() -> None:
    """Forty people, each hard or easy in all of 20 pairs: intervals over pairs are far too narrow."""
    rng = np.random.default_rng(5)
    people, pairs, trials = 40, 20, 60
    truth = 1 - NORMAL.cdf(-0.8 / math.sqrt(2))  # P(person + picture > -0.8), both standard normal
    strangers = np.linspace(-1, -0.5, 300)
    over_people = over_pairs = 0
    for trial in range(trials):
        scores = np.repeat(rng.normal(size=people), pairs) + rng.normal(size=people * pairs)
        made = make_scores(
            SCALE * scores,
            SCALE * strangers,
            np.repeat(np.arange(people), pairs),
            np.tile([[0, 1]], (len(strangers), 1)) + np.arange(len(strangers))[:, None] % 39,
        )
        interval = resample_rates(made, [], [-0.8 * SCALE], replicates=150, seed=trial).true_matches[0]
        assert interval is not None
        over_people += interval.low <= truth <= interval.high
        narrow = wilson_interval(made.true_match_rate(-0.8 * SCALE) * len(scores), len(scores))
        assert narrow is not None
        over_pairs += narrow.low <= truth <= narrow.high
    # 95 % promised; of 60 trials fewer than 83 % would be four standard errors below.
    assert over_people / trials >= 0.83
    assert over_pairs / trials < 0.75


@pytest.mark.parametrize(
    ("errors", "trials", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_the_published_one(errors: int, trials: int, low: float, high: float) -> None:
    interval = wilson_interval(errors, trials)
    assert interval is not None
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_few_people_give_no_interval() -> None:
    scores = make_scores(
        np.linspace(0, 1, 90), np.linspace(-1, 0, 4_000), np.arange(90) % 9, np.tile([[0, 1]], (4_000, 1))
    )
    assert resample_rates(scores, [1e-2], [0.1]).at_rates == [None]
