"""How whoever waits for a pack hears what is being done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

Progress = Callable[[str, float], None]
"""Called with the step being worked on and the fraction of all steps done, 0..1."""

ShowBytes = Callable[[int, int | None], None]
"""Called with the bytes that are there, and how many there will be, or None where nobody knows."""


@runtime_checkable
class ByteProgress(Protocol):
    """A Progress that also shows downloads byte by byte."""

    def show_bytes(self, name: str, done: int, total: int | None) -> None:
        """A download called `name` has `done` of `total` bytes; total None: unknown."""
        ...


def ignore_progress(step: str, fraction: float) -> None:
    """A Progress that nobody hears."""
    del step, fraction


def watch_bytes(progress: Progress, name: str) -> ShowBytes:
    """What a download of this name reports to."""
    if isinstance(progress, ByteProgress):
        watcher = progress
        return lambda done, total: watcher.show_bytes(name, done, total)
    return lambda done, total: None
