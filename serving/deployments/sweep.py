"""Finishes what a crash or an outage cut short: half-deleted events, announced faces never confirmed."""

from __future__ import annotations

import asyncio
import logging
import random

from serving.deployments.stages import Stages
from serving.errors import RollcallError
from serving.registry.registry import Registry

logger = logging.getLogger("ray.serve")

PERIOD_S = 60.0
STALE_S = 900.0
"""Older than any request can be (`load.request_timeout_s` is at most 300), so nobody is about to confirm."""
CALL_TIMEOUT_S = 30.0


class Sweep:
    """Runs in every ingress replica; each step may be repeated, so several at once do no harm."""

    def __init__(self, registry: Registry, stages: Stages) -> None:
        self._registry = registry
        self._stages = stages
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Sweep from now on, every `PERIOD_S` seconds or so, while the event loop runs."""
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                await self.sweep_once()
            except RollcallError as error:
                logger.warning("sweep: %s; it will be tried again", error.code)

    async def sweep_once(self, stale_s: float = STALE_S) -> None:
        """Erase first and forget second, so that a crash in between leaves work for the next sweep.

        Raises:
            RollcallError: a store cannot be reached.
        """
        for event in await self._registry.deleting_events():
            await self._stages.erase_event(event.key, CALL_TIMEOUT_S)
            await self._registry.finish_event_deletion(event.key)
        for stale in await self._registry.stale_enrolments(stale_s):
            faces = [(stale.person_id, face_id) for face_id in stale.face_ids]
            await self._stages.erase_faces(stale.event_key, faces, CALL_TIMEOUT_S)
            await self._registry.abandon_enrolment(stale.event_key, stale.person_id, stale.face_ids)
