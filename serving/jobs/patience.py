"""Waiting out what passes: a job has time, and nothing is rejected because the service was busy."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from serving.errors import DeadlineExceeded, Overloaded, RollcallError, StageUnavailable

AnswerT = TypeVar("AnswerT")

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 15.0
MAX_FAILURES = 6
"""How often a call may fail before it is asked whether the service or the call is to blame."""


async def wait_out(
    call: Callable[[], Awaitable[AnswerT]], is_healthy: Callable[[], Awaitable[bool]]
) -> AnswerT:
    """Make a call until it neither finds the service overloaded nor a part of it away.

    Without end while that is the service's state, so the caller must be able to be cancelled. A call that
    keeps failing although the service is healthy is itself the cause, and its error is raised.

    Raises:
        RollcallError: any other error of the call, at once.
    """
    pause_s, failures = FIRST_PAUSE_S, 0
    while True:
        try:
            return await call()
        except Overloaded:
            pass
        except (StageUnavailable, DeadlineExceeded):
            failures += 1
            if failures >= MAX_FAILURES and await _says_healthy(is_healthy):
                raise
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def _says_healthy(is_healthy: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await is_healthy()
    except RollcallError:
        return False
