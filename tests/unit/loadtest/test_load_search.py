"""The search for the highest rate, against a simulated service."""

from __future__ import annotations

import random

import pytest

from loadtest.bisection import RateSearch


def run(search: RateSearch, capacity: float, noise: float = 0.0, seed: int = 1) -> RateSearch:
    """A service that holds its objectives below its capacity, which wavers by `noise` of it."""
    rng = random.Random(seed)
    while (rate := search.next_rate()) is not None:
        search.tell(rate <= capacity * (1 + noise * rng.uniform(-1, 1)))
    return search


@pytest.mark.parametrize("first", [0.5, 8.0, 40.0, 300.0])
@pytest.mark.parametrize("precision", [0.02, 0.1])
def test_it_finds_the_capacity_from_below_to_its_precision(first: float, precision: float) -> None:
    search = run(RateSearch(first, precision=precision), capacity=37.0)
    assert search.result_per_s is not None
    assert 37.0 / (1 + precision) <= search.result_per_s <= 37.0
    assert search.confidence == (3, 3)
    assert len(search.trials) <= 20
    told = search.dump()
    assert told["lowest_missed_per_s"] > 37.0
    assert sum(trial["is_repeat"] for trial in told["trials"]) == 3


def test_a_service_that_holds_nothing_has_no_result() -> None:
    search = run(RateSearch(10.0), capacity=0.0)
    assert search.result_per_s is None
    assert 1 <= len(search.trials) <= 8


def test_it_never_offers_more_than_it_may() -> None:
    search = run(RateSearch(10.0, most_per_s=50.0), capacity=1e9)
    assert search.result_per_s == 50.0
    assert max(trial.rate_per_s for trial in search.trials) == 50.0


def test_a_lucky_trial_is_not_believed() -> None:
    """What held once on the way is lowered when its repetitions miss."""
    search = RateSearch(16.0, precision=0.1, repeats=3)
    lucky = True
    while (rate := search.next_rate()) is not None:
        is_held = rate <= 20.0 or (lucky and 30.0 < rate <= 34.0)
        lucky = lucky and not (30.0 < rate <= 34.0)
        search.tell(is_held)
    assert search.result_per_s is not None
    assert search.result_per_s <= 20.0


@pytest.mark.parametrize("seed", range(8))
def test_a_wavering_service_gives_a_rate_that_it_mostly_holds(seed: int) -> None:
    search = run(RateSearch(5.0, precision=0.05, repeats=5), capacity=60.0, noise=0.15, seed=seed)
    assert search.result_per_s is not None
    assert 45.0 <= search.result_per_s <= 69.0
    held, repeats = search.confidence
    assert repeats == 5
    assert held >= 3


def test_nonsense_is_refused() -> None:
    for first, precision in ((0.0, 0.1), (-1.0, 0.1), (1.0, 0.0), (1.0, 1.0)):
        with pytest.raises(ValueError, match="a search begins above 0"):
            RateSearch(first, precision=precision)
