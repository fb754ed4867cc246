"""An event loop whose clock jumps to the next timer: what a test proves about time holds on any machine."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from serving.graph import coalescer


class VirtualSelector(selectors.DefaultSelector):
    """Waits for nothing but files: where the loop would sleep, `now` (seconds) moves on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            return super().select(None)
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def in_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on a VirtualLoop, whose clock is the coalescer's too.

    Not for tests in which a thread has to do something: time would not wait for it.
    """

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        loop = VirtualLoop()
        try:
            with patch.object(coalescer, "time", SimpleNamespace(monotonic=loop.time)):
                loop.run_until_complete(test(*args, **kwargs))
        finally:
            loop.run_until_complete(_end_other_tasks())
            loop.close()

    return run


async def _end_other_tasks() -> None:
    # Until none is left: a call that is cancelled may send its tasks again.
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.wait(others)


def now() -> float:
    """Seconds on the running loop's clock."""
    return asyncio.get_running_loop().time()
