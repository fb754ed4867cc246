"""Finishes what a crash, an outage or a race cut short: in the end registry and gallery agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from serving.graph.lines import Lines
from serving.graph.periodic import Periodic
from serving.registry.registry import Registry

PERIOD_S = 60.0
STALE_S = 900.0
"""Older than any request can be (`load.request_timeout_s` is at most 300), so nobody is about to confirm."""
CALL_TIMEOUT_S = 30.0


async def erase_orphans(
    registry: Registry, lines: Lines, event_key: str, person_id: str, timeout_s: float
) -> str:
    """Erase what the gallery holds of a person and the registry does not know; the erasure's id.

    Enrolments of this person are held off meanwhile: the same picture has the same face id, so one that
    began between asking and erasing would lose its vector.

    Args:
        timeout_s: of each of the two calls to the gallery.

    Raises:
        RollcallError: a store cannot be reached.
    """
    erasure_id = await registry.claim_erasure(event_key, person_id, 3 * timeout_s)
    try:
        for line in lines:
            stored = await line.stages.faces_of(event_key, person_id, timeout_s)
            known = await registry.known_faces(event_key, person_id) if stored else frozenset()
            orphans = [(person_id, face_id) for face_id in stored if face_id not in known]
            if orphans:
                await line.stages.erase_faces(event_key, orphans, timeout_s)
    finally:
        await asyncio.shield(registry.release_erasure(event_key, person_id))
    return erasure_id


class Sweep:
    """Runs in every ingress replica; each step may be repeated, so several at once do no harm."""

    def __init__(self, registry: Registry, lines: Lines) -> None:
        self._registry = registry
        self._lines = lines
        self._periodic = Periodic("sweep", self.sweep_once, period_s=PERIOD_S)

    def start(self) -> None:
        """Sweep from now on, every `PERIOD_S` seconds or so, while the event loop runs."""
        self._periodic.start()

    def stop(self) -> None:
        """Sweep no more."""
        self._periodic.stop()

    async def sweep_once(self, stale_s: float = STALE_S) -> None:
        """Every step on everything that needs it; what fails is left for the next sweep.

        Raises:
            Exception: the first failure, once all else has been done.
        """
        failures = [error async for error in self._failures(stale_s)]
        if failures:
            raise failures[0]

    async def _failures(self, stale_s: float) -> AsyncIterator[Exception]:
        for event in await self._registry.deleting_events():
            if error := await _try(lambda key=event.key: self._finish_deletion(key)):  # type: ignore[misc]
                yield error
        for stale in await self._registry.stale_enrolments(stale_s):
            # Forgotten first, which leaves an erasure to be carried out below, in this sweep or the next.
            abandon = self._registry.abandon_enrolment(
                stale.event_key, stale.person_id, stale.face_ids, older_than_s=stale_s
            )
            if error := await _try(lambda work=abandon: work):  # type: ignore[misc]
                yield error
        for due in await self._registry.due_erasures():
            if error := await _try(
                lambda due=due: self._carry_out(due.id, due.event_key, due.person_id)  # type: ignore[misc]
            ):
                yield error

    async def _finish_deletion(self, event_key: str) -> None:
        await self._erase_event(event_key)
        await self._registry.finish_event_deletion(event_key)

    async def _erase_event(self, event_key: str) -> None:
        for line in self._lines:
            await line.stages.erase_event(event_key, CALL_TIMEOUT_S)

    async def _carry_out(self, erasure_id: str, event_key: str, person_id: str | None) -> None:
        if person_id is None:
            await self._erase_event(event_key)  # its key is never used again
        else:
            erasure_id = await erase_orphans(
                self._registry, self._lines, event_key, person_id, CALL_TIMEOUT_S
            )
        await self._registry.finish_erasure(erasure_id)


async def _try(work: Callable[[], Awaitable[None]]) -> Exception | None:
    try:
        await work()
    except Exception as error:
        return error
    return None
