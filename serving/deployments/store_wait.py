"""A replica that starts waits for its stores: Serve gives up on a deployment after three that failed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from serving.database.engine import OUTAGES

logger = logging.getLogger("ray.serve")

PATIENCE_S = 60.0
"""A database that starts with the cluster, or fails over, is there by then."""
PAUSE_S = 2.0


async def wait_for_store(
    name: str,
    open_store: Callable[[], Awaitable[None]],
    *,
    patience_s: float = PATIENCE_S,
    pause_s: float = PAUSE_S,
) -> None:
    """Open a store; one that does not answer is tried again until it does.

    Args:
        name: for the log, which hears of each time that failed.

    Raises:
        StageUnavailable, DeadlineExceeded, Overloaded: it did not answer within `patience_s`.
        RollcallError: whatever waiting does not mend, at once.
    """
    end = time.monotonic() + patience_s
    while True:
        try:
            await open_store()
            return
        except OUTAGES as error:
            if time.monotonic() + pause_s >= end:
                raise
            logger.warning("waiting for the %s: %s", name, error.detail)
        await asyncio.sleep(pause_s)
