"""Counters of the rate limits: in this process's own memory, or in Redis."""

from __future__ import annotations

import time
from math import floor
from typing import Any

from limits.aio.storage import RedisStorage, SlidingWindowCounterSupport, Storage
from limits.errors import StorageError
from limits.storage.base import TimestampedSlidingWindow

MIN_SWEPT = 1024
MAX_COUNTS = 100_000
"""Some 30 MB. Names that somebody makes up for sign-ins are counted too, so nothing else bounds them."""

_RELEASE = """
for i = 2, 1, -1 do
    if (tonumber(redis.call('get', KEYS[i])) or 0) > 0 then
        return redis.call('decr', KEYS[i])
    end
end
return 0
"""


class MemoryCounters(Storage, SlidingWindowCounterSupport, TimestampedSlidingWindow):
    """Storage for the strategies of `limits`.

    Its own storage goes through all keys on every hit to find the expired ones. This one does so when their
    number has doubled, so that a hit costs the same however many callers there are. Of `MAX_COUNTS` it
    forgets the lower half, and of equal ones those that expire first: whoever makes up names to have others
    forgotten counts one for each. Nothing here awaits, so a hit is one step.
    """

    STORAGE_SCHEME: list[str] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, tuple[int, float]] = {}
        self._sweep_at = MIN_SWEPT

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        return self._add(key, expiry, amount, time.time())

    async def get(self, key: str) -> int:
        return self._get(key, time.time())

    async def get_expiry(self, key: str) -> float:
        _, expires_at = self._counts.get(key, (0, 0.0))
        return max(expires_at, time.time())

    async def check(self) -> bool:
        return True

    async def reset(self) -> int | None:
        count = len(self._counts)
        self._counts.clear()
        return count

    async def clear(self, key: str) -> None:
        self._counts.pop(key, None)

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = time.time()
        previous, previous_ttl, current, _ = self._window(key, expiry, now)
        if floor(previous * previous_ttl / expiry + current) + amount > limit:
            return False
        self._add(self.sliding_window_keys(key, expiry, now)[1], 2 * expiry, amount, now)
        return True

    async def release_sliding_window_entry(self, key: str, expiry: int) -> None:
        """Take an acquired entry back, from the window before this one if this one has none."""
        for each in reversed(self.sliding_window_keys(key, expiry, time.time())):
            count, expires_at = self._counts.get(each, (0, 0.0))
            if count > 0:
                self._counts[each] = count - 1, expires_at
                return

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        return self._window(key, expiry, time.time())

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        for each in self.sliding_window_keys(key, expiry, time.time()):
            self._counts.pop(each, None)

    def _window(self, key: str, expiry: int, now: float) -> tuple[int, float, int, float]:
        """Count and seconds left of the window before this one, and of this one."""
        previous_key, current_key = self.sliding_window_keys(key, expiry, now)
        left = expiry - now % expiry
        previous = self._get(previous_key, now)
        return previous, left if previous else 0.0, self._get(current_key, now), left + expiry

    def _get(self, key: str, now: float) -> int:
        count, expires_at = self._counts.get(key, (0, 0.0))
        return count if expires_at > now else 0

    def _add(self, key: str, expiry: float, amount: int, now: float) -> int:
        count, expires_at = self._counts.get(key, (0, 0.0))
        if expires_at <= now:
            count, expires_at = 0, now + expiry
        self._counts[key] = count + amount, expires_at
        if len(self._counts) >= self._sweep_at:
            self._sweep(now)
        return count + amount

    def _sweep(self, now: float) -> None:
        kept = [(name, each) for name, each in self._counts.items() if each[1] > now]
        if len(kept) > MAX_COUNTS // 2:
            kept = sorted(kept, key=lambda entry: entry[1])[-MAX_COUNTS // 2 :]
        self._counts = dict(kept)
        self._sweep_at = max(MIN_SWEPT, 2 * len(kept))


class RedisCounters(RedisStorage):
    """Storage for the strategies of `limits` that all replicas share.

    Its scripts make a hit one step. Errors are StorageErrors, given `wrap_exceptions`.
    """

    STORAGE_SCHEME = None  # type: ignore[assignment]  # not for the registry of `limits`

    async def release_sliding_window_entry(self, key: str, expiry: int) -> None:
        """As `MemoryCounters.release_sliding_window_entry`, in one step too."""
        windows = (self._previous_window_key(key), self._current_window_key(key))
        keys = [self.bridge.prefixed_key(each) for each in windows]
        try:
            await self._redis().eval(_RELEASE, len(keys), *keys)
        except self.base_exceptions as error:
            raise StorageError(error) from error

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis().aclose()

    def _redis(self) -> Any:
        return self.bridge.storage  # type: ignore[attr-defined]  # redispy has it
