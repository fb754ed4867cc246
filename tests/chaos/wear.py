"""Lets a service do in minutes what takes it a day: what grows after that is no cache that fills."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp

from serving.operations.galleries import Galleries
from serving.packs.configured import find_served_packs
from serving.settings import Settings
from tests.chaos.harness import Target
from tests.chaos.load import BackgroundLoad

REQUESTS = 250_000
"""HAProxy's threads have all the buffers and sessions that they keep after 200,000 (docs/reliability.md)."""
CLIENTS = 16
PER_CONNECTION = 20
COMPACTIONS = 2
"""The first maps files that were not there; from the second on the gallery's owner stays as it is."""
LOAD_S = 60.0
"""Before each compaction, so that there is something to compact."""


def wear(target: Target, rate_per_s: float) -> None:
    """Wear a service in: many connections, then people who come and go, and what the owner does each hour."""
    asyncio.run(ask_often(target.url))
    for _ in range(COMPACTIONS):
        with BackgroundLoad(target.url, target.token, target.scene, target.ledger, rate_per_s):
            time.sleep(LOAD_S)
        asyncio.run(compact(target.data_dir))


async def ask_often(url: str) -> None:
    """`REQUESTS` small ones, by clients that connect anew after every few; each must be answered."""
    turns = iter(range(REQUESTS // PER_CONNECTION))

    async def ask() -> None:
        for _ in turns:
            async with aiohttp.ClientSession() as session:
                for _ in range(PER_CONNECTION):
                    async with session.get(f"{url}/healthz") as answer:
                        await answer.read()
                        answer.raise_for_status()

    await asyncio.gather(*(ask() for _ in range(CLIENTS)))


async def compact(data_dir: Path) -> None:
    """Let the owners of the embedded gallery compact now."""
    settings = Settings(_env_file=None, data_dir=data_dir)  # type: ignore[call-arg]
    async with Galleries(settings) as galleries:
        for pack in find_served_packs(settings):
            gallery = await galleries.open(pack.id)
            await gallery.compact()  # type: ignore[union-attr]  # the owner's, which alone may; no other has it
