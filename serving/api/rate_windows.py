"""What is counted in sliding windows, and how failed sign-ins grow into a wait, on one storage of counts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from limits import RateLimitItem
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from serving.api.rate_counters import MemoryCounters, RedisCounters

FIRST_BLOCK_S = 15
LONGEST_BLOCK_S = 900
"""Long enough to make guessing hopeless, short enough that nobody is locked out of their account for long."""
STRIKES_REMEMBERED_S = 86_400


@dataclass(frozen=True, slots=True)
class Window:
    """What is left of one limit."""

    item: RateLimitItem
    is_spent: bool
    remaining: int
    reset_s: float


class RateWindows:
    """Windows on one storage; its errors are StorageErrors.

    Args:
        counters: where the counts live.
    """

    def __init__(self, counters: MemoryCounters | RedisCounters) -> None:
        self._counters = counters
        self._strategy = SlidingWindowCounterRateLimiter(counters)

    async def close(self) -> None:
        """Let go of Redis."""
        if isinstance(self._counters, RedisCounters):
            await self._counters.close()

    async def take(self, items: Sequence[RateLimitItem], key: str) -> list[Window]:
        """Count one request under each of the items, or under none when one of them is spent."""
        spent = set()
        if len(items) > 1:
            spent = {item for item in items if not await self._strategy.test(item, key)}
        if not spent:
            spent = {item for item in items if not await self._strategy.hit(item, key)}
        windows = []
        for item in items:
            reset_at, remaining = await self._strategy.get_window_stats(item, key)
            windows.append(Window(item, item in spent, remaining, max(0.0, reset_at - time.time())))
        return windows

    async def begin_attempt(self, items: Sequence[RateLimitItem], key: str) -> float:
        """Count an attempt under each of the items; else, under none, the seconds to wait."""
        wait_s = await self._blocked_s(key)
        if wait_s > 0:
            return wait_s
        for n, item in enumerate(items):
            if not await self._strategy.hit(item, key):
                await self.release(items[:n], key)
                reset_at, _ = await self._strategy.get_window_stats(item, key)
                return max(1.0, reset_at - time.time())
        return 0.0

    async def release(self, items: Sequence[RateLimitItem], key: str) -> None:
        """Take an attempt back."""
        for item in items:
            await self._counters.release_sliding_window_entry(item.key_for(key), item.get_expiry())

    async def block_if_spent(self, items: Sequence[RateLimitItem], key: str) -> None:
        """When the last failure allowed has been counted, refuse sign-ins for a while."""
        for item in items:
            if (await self._strategy.get_window_stats(item, key)).remaining:
                continue
            strikes = await self._counters.get(f"{key}:strikes")
            block_s = min(LONGEST_BLOCK_S, FIRST_BLOCK_S * 2 ** min(strikes, 16))
            # Of attempts that fail together only the first is a strike and begins the block.
            if await self._counters.incr(f"{key}:block", block_s) == 1:
                await self._counters.incr(f"{key}:strikes", STRIKES_REMEMBERED_S)
            return

    async def _blocked_s(self, key: str) -> float:
        """Seconds for which sign-ins are refused."""
        if not await self._counters.get(f"{key}:block"):
            return 0.0
        return max(0.0, await self._counters.get_expiry(f"{key}:block") - time.time())
