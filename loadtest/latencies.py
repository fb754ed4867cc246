"""Latencies in buckets of equal relative width: small, mergeable, exact to half a per cent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

GROWTH = 1.01
"""Upper over lower edge of a bucket; its geometric middle is at most 0.5 % off."""

SMALLEST_S = 1e-5
_LOG_GROWTH = math.log(GROWTH)


class Latencies:
    """A histogram of seconds. Bucket i holds SMALLEST_S * GROWTH**i up to SMALLEST_S * GROWTH**(i + 1).

    Attributes:
        buckets: counts by number of bucket.
        max_s: the longest, exactly; 0 when there is none.
    """

    __slots__ = ("buckets", "max_s")

    def __init__(self, buckets: Mapping[int, int] | None = None, max_s: float = 0.0) -> None:
        self.buckets: Counter[int] = Counter(buckets or {})
        self.max_s = max_s

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.buckets.values())

    def add(self, seconds: float) -> None:
        """Count one; what is shorter than SMALLEST_S counts as that."""
        self.buckets[max(0, math.floor(math.log(max(seconds, SMALLEST_S) / SMALLEST_S) / _LOG_GROWTH))] += 1
        self.max_s = max(self.max_s, seconds)

    def merge(self, others: Iterable[Latencies]) -> Latencies:
        """Add all of others; returns itself."""
        for other in others:
            self.buckets.update(other.buckets)
            self.max_s = max(self.max_s, other.max_s)
        return self

    def percentile_s(self, percent: float) -> float | None:
        """The latency that `percent` of 100 do not exceed (nearest rank); None without any."""
        wanted = max(1, math.ceil(percent / 100 * self.count - 1e-9))
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return min(_middle_s(bucket), self.max_s)
        return None

    def mean_s(self) -> float | None:
        """The mean; None without any."""
        count = self.count
        return sum(_middle_s(bucket) * n for bucket, n in self.buckets.items()) / count if count else None

    def summarise(self) -> dict[str, Any]:
        """Milliseconds for a report: count, mean, percentiles and maximum; None where there is nothing."""
        return {
            "count": self.count,
            "mean_ms": _in_ms(self.mean_s()),
            **{f"p{percent:g}_ms": _in_ms(self.percentile_s(percent)) for percent in (50, 90, 95, 99, 99.9)},
            "max_ms": _in_ms(self.max_s) if self.count else None,
        }

    def dump(self) -> dict[str, Any]:
        """For JSON and messages; `read` is its inverse."""
        return {
            "buckets": {str(bucket): self.buckets[bucket] for bucket in sorted(self.buckets)},
            "max_s": self.max_s,
        }

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Latencies:
        """What `dump` gave."""
        return cls({int(bucket): count for bucket, count in stored["buckets"].items()}, stored["max_s"])


def _middle_s(bucket: int) -> float:
    return float(SMALLEST_S * GROWTH ** (bucket + 0.5))


def _in_ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
