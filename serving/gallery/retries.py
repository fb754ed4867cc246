"""Bounded retries within one deadline: every gallery operation is idempotent, so any may be retried."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from serving.errors import DeadlineExceeded, RollcallError

T = TypeVar("T")

FIRST_PAUSE_S = 0.05
MOST_PAUSE_S = 1.0


class Transient(Exception):
    """An attempt failed in a way that the next one may not; `final` is what to say if none is left."""

    def __init__(self, final: RollcallError) -> None:
        super().__init__(final.detail)
        self.final = final


async def retry_within(timeout_s: float, attempt: Callable[[], Awaitable[T]], most_attempts: int) -> T:
    """Run `attempt` until it answers, with growing jittered pauses, for at most `timeout_s` in all.

    Raises:
        RollcallError: `final` of the last Transient once attempts or time are used up.
        DeadlineExceeded: time ran out while an attempt was at work.
        Exception: whatever else an attempt raises, at once.
    """
    end = time.monotonic() + timeout_s
    for made in range(1, most_attempts + 1):
        try:
            return await asyncio.wait_for(attempt(), max(0.0, end - time.monotonic()))
        except asyncio.TimeoutError:
            raise DeadlineExceeded(f"the gallery did not answer within {timeout_s:g} s") from None
        except Transient as failure:
            pause_s = min(MOST_PAUSE_S, FIRST_PAUSE_S * 2 ** (made - 1)) * random.uniform(0.5, 1.0)  # noqa: S311
            if made == most_attempts or time.monotonic() + pause_s >= end:
                raise failure.final from failure
        await asyncio.sleep(pause_s)
    raise ValueError("most_attempts must be at least 1")
