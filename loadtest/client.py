"""A closed-loop HTTP load: so many clients, each asking again as soon as it is answered."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import aiohttp
import numpy as np


@dataclass(slots=True)
class LoadResult:
    """What a load gave.

    Attributes:
        seconds: how long it ran.
        latencies_s: of the answers with status 200, in the order they came.
        statuses: how many answers of each status.
    """

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate_per_s(self) -> float:
        """Good answers in a second."""
        return len(self.latencies_s) / self.seconds if self.seconds else 0.0

    def percentile_ms(self, percent: float) -> float:
        """A percentile of the latency in milliseconds; nan without answers."""
        if not self.latencies_s:
            return float("nan")
        return float(np.percentile(self.latencies_s, percent)) * 1000


async def recognise_repeatedly(
    url: str, token: str, pictures: Sequence[bytes], clients: int, duration_s: float
) -> LoadResult:
    """Send `pictures` in turn to `url` from `clients` clients for `duration_s` seconds."""
    result = LoadResult()
    turn = itertools.cycle(pictures)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}
    connector = aiohttp.TCPConnector(limit=clients)
    timeout = aiohttp.ClientTimeout(total=60)

    async def run_client(session: aiohttp.ClientSession, end: float) -> None:
        while (began := time.monotonic()) < end:
            async with session.post(url, data=next(turn)) as answer:
                await answer.read()
                result.statuses[answer.status] += 1
                if answer.status == 200:
                    result.latencies_s.append(time.monotonic() - began)

    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        began = time.monotonic()
        await asyncio.gather(*(run_client(session, began + duration_s) for _ in range(clients)))
        result.seconds = time.monotonic() - began
    return result


def recognise_from_processes(
    url: str, token: str, pictures: Sequence[bytes], clients: int, duration_s: float, processes: int
) -> LoadResult:
    """As `recognise_repeatedly`, by so many processes: one can send some hundreds a second."""
    shares = [clients // processes + (place < clients % processes) for place in range(processes)]
    shares = [share for share in shares if share]
    with ProcessPoolExecutor(len(shares), multiprocessing.get_context("spawn")) as pool:
        parts = list(
            pool.map(
                _run_share, *zip(*((url, token, list(pictures), n, duration_s) for n in shares), strict=True)
            )
        )
    whole = LoadResult(seconds=max(part.seconds for part in parts))
    for part in parts:
        whole.latencies_s += part.latencies_s
        whole.statuses += part.statuses
    return whole


def _run_share(
    url: str, token: str, pictures: Sequence[bytes], clients: int, duration_s: float
) -> LoadResult:
    return asyncio.run(recognise_repeatedly(url, token, pictures, clients, duration_s))
