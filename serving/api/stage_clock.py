"""Where the time of a request went: for the answer's `timings` and the `Server-Timing` header."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from serving.api.schemas.faces import Timings
from serving.telemetry import recording

PARTS = ("read", "detect", "liveness", "embed", "match", "names")


class StageClock:
    """Wall time between marks."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.parts_ms: dict[str, float] = {}

    def mark(self, part: str) -> None:
        """End the part, one of `PARTS`, that began at the last mark."""
        now = time.perf_counter()
        self.parts_ms[part] = (now - self._last) * 1000
        self._last = now

    def take_slowest(self, clocks: Iterable[StageClock]) -> None:
        """Take over, part by part, the longest of what ran side by side; the next part begins now."""
        for clock in clocks:
            for part, spent_ms in clock.parts_ms.items():
                self.parts_ms[part] = max(self.parts_ms.get(part, 0.0), spent_ms)
        self._last = time.perf_counter()

    def finish(self) -> tuple[Timings, dict[str, str]]:
        """The timings so far, and the `Server-Timing` header (W3C): `read;dur=1.2, detect;dur=31.0`."""
        recording.note_parts(self._start, self._last, self.parts_ms)
        total_ms = (time.perf_counter() - self._start) * 1000
        parts = [*self.parts_ms.items(), ("total", total_ms)]
        header = ", ".join(f"{part};dur={spent_ms:.1f}" for part, spent_ms in parts)
        values: dict[str, Any] = {f"{part}_ms": round(spent_ms, 2) for part, spent_ms in parts}
        return Timings(**values), {"Server-Timing": header}
