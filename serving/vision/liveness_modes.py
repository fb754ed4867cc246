"""What an event or a request asks of the liveness stage. Needs nothing: the settings import it."""

from __future__ import annotations

from enum import Enum


class LivenessMode(str, Enum):
    """What becomes of a face that does not look live: nothing is asked, it is told, or it is refused."""

    off = "off"
    observe = "observe"
    enforce = "enforce"

    @property
    def strictness(self) -> int:
        """0, 1 or 2: more is stricter."""
        return list(LivenessMode).index(self)
