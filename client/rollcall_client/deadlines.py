"""What is left of a call's time, for what httpx bounds only piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

import httpx

CONNECT_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 60.0
"""Between two pieces of what has no deadline."""
LEAST_TIMEOUT_S = 0.001
"""A socket takes 0 for "do not wait at all"."""
PIECE_BYTES = 64 * 1024
"""Of a body, between two looks at the clock."""


class TimeLeft(Mapping[str, float]):
    """The `timeout` extension of a request: shorter in each phase by what the ones before took.

    httpcore asks for `pool`, `connect`, `write` and `read` when each begins.
    """

    def __init__(self, ends_at: float | None, clock: Callable[[], float]) -> None:
        self._ends_at, self._clock = ends_at, clock

    def __getitem__(self, phase: str) -> float:
        left_s = IDLE_TIMEOUT_S if self._ends_at is None else self._ends_at - self._clock()
        return max(min(left_s, CONNECT_TIMEOUT_S) if phase == "connect" else left_s, LEAST_TIMEOUT_S)

    def __iter__(self) -> Iterator[str]:
        return iter(("pool", "connect", "write", "read"))

    def __len__(self) -> int:
        return 4


class TimedBody(httpx.SyncByteStream):
    """A body that is sent no longer than until its deadline."""

    def __init__(self, request: httpx.Request, ends_at: float, clock: Callable[[], float]) -> None:
        self._request, self._stream = request, cast(httpx.SyncByteStream, request.stream)
        self._ends_at, self._clock = ends_at, clock

    def __iter__(self) -> Iterator[bytes]:
        for whole in self._stream:
            for start in range(0, len(whole), PIECE_BYTES):
                if self._clock() > self._ends_at:
                    raise httpx.WriteTimeout("the request went out too slowly", request=self._request)
                yield whole[start : start + PIECE_BYTES]

    def close(self) -> None:
        self._stream.close()
