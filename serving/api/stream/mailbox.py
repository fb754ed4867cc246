"""One frame waits; a newer one takes its place."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

PassedOver = Literal["dropped", "refused"]


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it came: its number within the stream, from 1, its bytes, and when.

    size: in bytes; of a frame that is too large nothing else is kept.
    """

    number: int
    data: bytes
    at_s: float
    size: int


@dataclass(slots=True)
class Passed:
    """Frames that a newer one took the place of: `refused` are those above the rate that may be."""

    dropped: int = 0
    refused: int = 0


class Mailbox:
    """Between the reader of a stream and its worker.

    Attributes:
        is_pacing: whether the worker waits, since it would be faster than it may.
    """

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._filled = asyncio.Event()
        self._passed = Passed()
        self.is_pacing = False

    def put(self, frame: Frame) -> PassedOver | None:
        """Leave a frame; what has become of the one that waited, if one did."""
        outcome: PassedOver | None = None
        if self._frame is not None:
            outcome = "refused" if self.is_pacing else "dropped"
            setattr(self._passed, outcome, getattr(self._passed, outcome) + 1)
        self._frame = frame
        self._filled.set()
        return outcome

    async def wait(self) -> None:
        """Return when there is a frame."""
        await self._filled.wait()

    def take(self) -> tuple[Frame, Passed]:
        """The newest frame, and what was passed over since the last; there must be one."""
        assert self._frame is not None
        frame, self._frame = self._frame, None
        passed, self._passed = self._passed, Passed()
        self._filled.clear()
        return frame, passed
