"""A monotonic clock that stands still until a test moves it."""

from __future__ import annotations


class FrozenClock:
    """Takes the place of a module's `time`; `seconds` may be moved on from any thread."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds
