"""The queue that overload's steadiness is compared with, against queueing theory."""

from __future__ import annotations

import pytest

from loadtest.ideal_queue import find_ratio, simulate_latencies


@pytest.mark.parametrize("utilisation", [0.3, 0.7])
def test_one_worker_waits_as_pollaczek_and_khinchine_say(utilisation: float) -> None:
    """The mean wait of M/D/1 is u / (2 (1 - u)) units of work."""
    waited = simulate_latencies(1, utilisation).mean() - 1
    assert waited == pytest.approx(utilisation / (2 * (1 - utilisation)), rel=0.05)


def test_more_workers_at_the_same_utilisation_are_steadier() -> None:
    ratios = [find_ratio(workers, 0.7) for workers in (1, 2, 4, 8)]
    assert ratios == sorted(ratios, reverse=True)
    assert find_ratio(2, 0.01) == pytest.approx(1, rel=0.05)
