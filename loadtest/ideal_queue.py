"""How steady the best possible service can be: latencies of a queue without any costs of its own.

    python -m loadtest.ideal_queue [--utilisation 0.7]

So many workers, one queue in the order of arrival, every request the same work, Poisson arrivals: Kendall's
M/D/c. What a p99 / p50 measured at open-loop load stands beside.
"""

from __future__ import annotations

import argparse
import heapq

import numpy as np
from numpy.typing import NDArray

REQUESTS = 200_000
"""Enough that the 99th percentile of two runs differs by one percent."""


def simulate_latencies(workers: int, utilisation: float, *, seed: int = 7) -> NDArray[np.float64]:
    """The time each request waits and is worked on, in units of its work: float64 [REQUESTS], 1 and up.

    Args:
        workers: that serve at the same time.
        utilisation: offered load over what all workers can do, 0..1 without 1.
        seed: of the arrivals.
    """
    gaps = np.random.default_rng(seed).exponential(1 / (workers * utilisation), REQUESTS)
    free_at = [0.0] * workers
    latencies = np.empty(REQUESTS)
    for place, arrival in enumerate(np.cumsum(gaps)):
        end = max(arrival, free_at[0]) + 1.0
        heapq.heapreplace(free_at, end)
        latencies[place] = end - arrival
    return latencies


def find_ratio(workers: int, utilisation: float) -> float:
    """p99 / p50 of that queue."""
    p50, p99 = np.percentile(simulate_latencies(workers, utilisation), (50, 99))
    return float(p99 / p50)


def main() -> None:
    """Print the ratios of 1 to 16 workers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--utilisation", type=float, default=0.7)
    options = parser.parse_args()
    for workers in (1, 2, 4, 8, 16):
        print(f"{workers:2} workers: p99 / p50 {find_ratio(workers, options.utilisation):.2f}")


if __name__ == "__main__":
    main()
