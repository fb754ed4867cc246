"""How often a request is repeated, and how long to wait before."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class Retries:
    """How patient a client is.

    Attributes:
        max_tries: of one request, the first one included; 1: none is repeated.
        first_pause_s: before the second try; doubled with each further one, and then cut at random by up to
            half, so that clients that were refused together do not come back together.
        longest_pause_s: the most that is waited between two tries. Where the service's `Retry-After` says
            more, the error is raised at once instead.
    """

    max_tries: int = 5
    first_pause_s: float = 0.25
    longest_pause_s: float = 30.0

    def choose_pause_s(
        self, tries: int, retry_after_s: float | None, draw: Callable[[], float] = random.random
    ) -> float | None:
        """Seconds to wait after `tries` tries; None: give up.

        Never less than `retry_after_s`.

        Args:
            draw: gives a number in 0..1.
        """
        if tries >= self.max_tries:
            return None
        backoff_s = min(self.first_pause_s * 2.0 ** min(tries - 1, 60), self.longest_pause_s)
        jittered_s = backoff_s * (0.5 + draw() / 2)
        if retry_after_s is None:
            return jittered_s
        if retry_after_s > self.longest_pause_s:
            return None
        return retry_after_s + jittered_s


def read_retry_after_s(text: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3): a number or a date; None: nothing.

    Args:
        now: to count a date from; the present by default.
    """
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max((moment - (now or datetime.now(timezone.utc))).total_seconds(), 0.0)
