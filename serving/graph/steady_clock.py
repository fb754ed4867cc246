"""Whether the wall clock can be believed: it has not jumped for a while, by the clock that never does."""

from __future__ import annotations

import time
from collections.abc import Callable

MAX_JUMP_S = 300.0
"""Between two looks. Time services correct by less; a machine that slept shows more."""
HOLD_S = 3600.0
"""How long a clock must have gone on evenly after a jump: time to notice and to set it right."""


class SteadyClock:
    """Compares the wall clock with the monotonic one, from this process's start on.

    One that is wrong already when the process starts, or for longer than `HOLD_S`, is believed.

    Args:
        wall: seconds since the epoch.
        monotonic: seconds since any moment.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset_s = wall() - monotonic()
        self._held_until_s = float("-inf")

    def is_steady(self) -> bool:
        """Whether the wall clock has not jumped by more than `MAX_JUMP_S`, either way, within `HOLD_S`."""
        now_s = self._monotonic()
        offset_s = self._wall() - now_s
        if abs(offset_s - self._offset_s) > MAX_JUMP_S:
            self._held_until_s = now_s + HOLD_S
        self._offset_s = offset_s
        return now_s >= self._held_until_s
