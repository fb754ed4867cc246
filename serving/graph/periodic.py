"""Work that every ingress replica does by itself from time to time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from serving.errors import RollcallError

logger = logging.getLogger("ray.serve")


class Periodic:
    """Calls `work` again and again while the event loop runs, whatever becomes of it.

    Replicas that start together drift apart: each pause is half to one and a half times the period.

    Args:
        name: for the log.
        work: what to do; it may be repeated by others at the same time.
        period_s: between two calls, on average.
        first_within_s: the first call comes after a fifth of this to all of it; None: after a usual pause.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[None]],
        *,
        period_s: float,
        first_within_s: float | None = None,
    ) -> None:
        self._name = name
        self._work = work
        self._period_s = period_s
        self._first_within_s = first_within_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """End, in the midst of the work too."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        first = self._first_within_s
        await asyncio.sleep(self._pause_s() if first is None else first * random.uniform(0.2, 1))  # noqa: S311
        while True:
            try:
                await self._work()
            except RollcallError as error:
                logger.warning("%s: %s; it will be tried again", self._name, error.code)
            except Exception:
                logger.exception("%s: it will be tried again", self._name)
            await asyncio.sleep(self._pause_s())

    def _pause_s(self) -> float:
        return self._period_s * random.uniform(0.5, 1.5)  # noqa: S311
