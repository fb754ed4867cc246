"""How many streams there may be, and how many frames each may send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from serving.errors import TooManyStreams
from serving.telemetry import recording

BURST_S = 1.0
"""So much of its rate a stream may send at once: a camera's frames come in clumps over a network."""
NAMELESS_SHARE = 4
"""One network may hold a fourth of the places of those who have not said who they are."""
FLOOD_FACTOR = 5.0
FLOOD_S = 10.0
"""Who sends more than five times what may be, for longer than ten seconds, does not listen and is let go."""


class StreamPlaces:
    """The streams of one replica.

    Args:
        max_open: of all callers together, and as many more that have not yet said who they are.
        max_per_caller: of one account.
    """

    def __init__(self, max_open: int, max_per_caller: int) -> None:
        self._max_open = max_open
        self._max_per_caller = max_per_caller
        self._nameless: Counter[str | None] = Counter()
        self._by_caller: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """Streams now."""
        return self._by_caller.total()

    @contextmanager
    def knock(self, network: str | None) -> Iterator[None]:
        """Hold a place for one that has not said who it is; `network` is where it comes from, if known.

        Raises:
            TooManyStreams: as many wait, or are open, or too many of them wait from this network.
        """
        if self._nameless.total() >= self._max_open or self.open >= self._max_open:
            raise TooManyStreams(max_open=self._max_open)
        most = max(1, self._max_open // NAMELESS_SHARE)
        if network is not None and self._nameless[network] >= most:
            raise TooManyStreams("Too many streams from this network have not said who they are.")
        self._nameless[network] += 1
        try:
            yield
        finally:
            self._nameless[network] -= 1
            if not self._nameless[network]:
                del self._nameless[network]

    @contextmanager
    def enter(self, account_id: str) -> Iterator[None]:
        """Hold a place for a stream of this account.

        Raises:
            TooManyStreams: of all, or of this account.
        """
        if self.open >= self._max_open:
            raise TooManyStreams(max_open=self._max_open)
        if self._by_caller[account_id] >= self._max_per_caller:
            raise TooManyStreams(max_per_caller=self._max_per_caller)
        self._by_caller[account_id] += 1
        recording.note_streams(self.open)
        try:
            yield
        finally:
            self._by_caller[account_id] -= 1
            if not self._by_caller[account_id]:
                del self._by_caller[account_id]
            recording.note_streams(self.open)


class FramePacer:
    """A token bucket for the frames of one stream, and another for what is sent beyond it.

    Args:
        frames_per_s: that may be worked on.
        at_s: now, on the clock that `admit` is given.
    """

    def __init__(self, frames_per_s: float, at_s: float) -> None:
        self._rate = _Bucket(frames_per_s, max(1.0, frames_per_s * BURST_S), at_s)
        flood = frames_per_s * FLOOD_FACTOR
        self._flood = _Bucket(flood, max(1.0, flood * FLOOD_S), at_s)

    def begin(self, at_s: float) -> float:
        """Count a frame to be worked on, and the seconds to wait before that; 0: it may be now."""
        wait_s = self._rate.wait_s(at_s)
        self._rate.take(at_s + wait_s)
        return wait_s

    def tolerates(self, at_s: float) -> bool:
        """Whether a message that comes now may be listened to at all."""
        return self._flood.take(at_s)


class _Bucket:
    def __init__(self, per_s: float, capacity: float, at_s: float) -> None:
        self._per_s = per_s
        self._capacity = self._left = capacity
        self._at_s = at_s

    def wait_s(self, at_s: float) -> float:
        left = self._left + (at_s - self._at_s) * self._per_s
        return max(0.0, (1 - left) / self._per_s)

    def take(self, at_s: float) -> bool:
        self._left = min(self._capacity, self._left + (at_s - self._at_s) * self._per_s)
        self._at_s = at_s
        if self._left < 1 - 1e-9:
            return False
        self._left -= 1
        return True
