"""How long the caller of a request waits: the moment after which no stage works on it any more."""

from __future__ import annotations

import math
import time
from typing import Annotated

from fastapi import Depends, Header

from serving.api.services import ServicesOf
from serving.errors import DeadlineExceeded, InvalidRequest

HEADER = "X-Timeout-S"


class Deadline:
    """The moment, on this process's monotonic clock, at which the caller has waited long enough."""

    def __init__(self, timeout_s: float) -> None:
        self._end = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        """Seconds left, above 0.

        Raises:
            DeadlineExceeded: none are.
        """
        remaining = self._end - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceeded
        return remaining


async def get_deadline(
    services: ServicesOf,
    timeout_s: Annotated[
        float | None,
        Header(
            alias=HEADER,
            gt=0,
            description="Seconds the caller is ready to wait; never more than the service's own limit.",
        ),
    ] = None,
) -> Deadline:
    """The deadline of this request: its header's, within `load.request_timeout_s`."""
    most = services.settings.load.request_timeout_s
    if timeout_s is None:
        return Deadline(most)
    if not math.isfinite(timeout_s):
        raise InvalidRequest(f"{HEADER} must be a number of seconds")
    return Deadline(min(timeout_s, most))


DeadlineOf = Annotated[Deadline, Depends(get_deadline)]
