"""Arrivals are a Poisson process, plans of rates are what they are called."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from loadtest.arrivals import KindDraw, PoissonArrivals
from loadtest.kinds import KINDS, MIXED_DAY, read_mix
from loadtest.rates import make_plan, read_steps


def draw_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    arrivals = PoissonArrivals(rate, 100.0, random.Random(seed))
    times = []
    while (at := arrivals.next_s()) < 100.0 + seconds:
        times.append(at - 100.0)
    return times


def test_gaps_are_exponential_and_counts_have_the_variance_of_a_poisson_process() -> None:
    times = np.array(draw_arrivals(40.0, 1000.0, seed=5))
    gaps = np.diff(times)
    assert gaps.mean() == pytest.approx(1 / 40, rel=0.02)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)
    assert np.mean(gaps > 2 / 40) == pytest.approx(np.exp(-2), rel=0.03)
    counts = np.histogram(times, bins=1000, range=(0, 1000))[0]
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.15)


def test_many_users_add_up_to_one_process() -> None:
    times = np.sort(np.concatenate([draw_arrivals(0.2, 500.0, seed) for seed in range(200)]))
    assert len(times) / 500 == pytest.approx(40, rel=0.03)
    counts = np.histogram(times, bins=500, range=(0, 500))[0]
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.2)


def test_a_late_user_catches_up_from_when_requests_were_due() -> None:
    """The schedule does not know when it was asked, so nothing is left out however late that is."""
    assert draw_arrivals(10.0, 5.0, seed=1) == draw_arrivals(10.0, 5.0, seed=1)
    with pytest.raises(ValueError, match="never arrives"):
        PoissonArrivals(0.0, 0.0, random.Random(1))


def test_kinds_are_drawn_by_weight() -> None:
    draw = KindDraw(MIXED_DAY, random.Random(2))
    counts = Counter(draw.draw() for _ in range(20_000))
    total = sum(MIXED_DAY.values())
    for kind, weight in MIXED_DAY.items():
        assert counts[kind] / 20_000 == pytest.approx(weight / total, abs=0.015)
    assert set(MIXED_DAY) == set(KINDS)


def test_the_mix_is_read() -> None:
    assert read_mix("one_face=3,verify") == {"one_face": 3.0, "verify": 1.0}
    assert read_mix("") == dict(MIXED_DAY)
    for wrong in ("dance=1", "verify=-1", "verify=0", "verify=x"):
        with pytest.raises(ValueError, match=r"--mix|could not convert"):
            read_mix(wrong)


@pytest.mark.parametrize(
    ("shape", "rates"),
    [
        ("steady", {0: 12, 30: 12, 59: 12}),
        ("ramp", {0: 1.2, 30: 6.6, 59.999: 12}),
        ("spike", {0: 12, 19: 12, 21: 36, 39: 36, 41: 12, 59: 12}),
        ("soak", {0: 1.2, 3: 6.6, 6: 12, 59: 12}),
    ],
)
def test_shapes(shape: str, rates: dict[float, float]) -> None:
    plan = make_plan(shape, 12.0, 60.0)
    assert {at: plan.rate_at(at) for at in rates} == pytest.approx(rates, abs=1e-2)
    assert plan.rate_at(60.0) is None
    assert plan.seconds == pytest.approx(60.0)
    assert plan.highest_per_s == max(rates.values()) or shape == "ramp"
    assert [row["to_s"] for row in plan.dump()][-1] == pytest.approx(60.0)


def test_steps_are_read() -> None:
    plan = read_steps("10:30,60:5")
    assert [plan.rate_at(at) for at in (0, 29.9, 30, 34.9, 35)] == [10, 10, 60, 60, None]
    for wrong in ("", "10", "10:0", "-1:5", "a:b"):
        with pytest.raises(ValueError, match=r"phases|could not convert"):
            read_steps(wrong)
    with pytest.raises(ValueError, match="no shape"):
        make_plan("wave", 1.0, 1.0)
