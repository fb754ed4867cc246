"""Finishes what a crash, an outage or a race cut short: in the end registry and gallery agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from serving.graph.lines import Lines
from serving.graph.periodic import Periodic
from serving.graph.vaults import Vault, erase_place, open_vaults
from serving.registry.records import Erasure
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
        timeout_s: of each call to the gallery.

    Raises:
        RollcallError: a store cannot be reached.
    """
    # Twice: an event has two places while it moves to another pack, and an abandoned one is rare.
    erasure_id = await registry.erasures.claim(event_key, person_id, 6 * timeout_s)
    try:
        for place in await registry.erasures.places(event_key):
            for vault in open_vaults(lines, place):
                await _erase_orphans_in(registry, vault, event_key, person_id, place.partition, timeout_s)
    finally:
        await asyncio.shield(registry.erasures.release(event_key, person_id))
    return erasure_id


async def _erase_orphans_in(
    registry: Registry, vault: Vault, event_key: str, person_id: str, partition: str, timeout_s: float
) -> None:
    stored = await vault.faces_of(partition, person_id, timeout_s)
    if not stored:
        return
    known = await registry.erasures.known_faces(event_key, person_id, partition)
    orphans = [(person_id, face_id) for face_id in stored if face_id not in known]
    if orphans:
        await vault.erase_faces(partition, orphans, timeout_s)


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
        for due in await self._registry.erasures.due():
            if error := await _try(
                lambda due=due: self._carry_out(due)  # type: ignore[misc]
            ):
                yield error
                # So that those which nobody can carry out do not keep the others from their turn.
                if error := await _try(lambda id=due.id: self._registry.erasures.postpone(id)):  # type: ignore[misc]
                    yield error

        if error := await _try(self._registry.erasures.compact_stores):
            yield error

    async def _finish_deletion(self, event_key: str) -> None:
        for place in await self._registry.erasures.places(event_key):
            await erase_place(self._lines, place, CALL_TIMEOUT_S)
        await self._registry.finish_event_deletion(event_key)

    async def _carry_out(self, due: Erasure) -> None:
        erasure_id = due.id
        if due.place is not None:
            await erase_place(self._lines, due.place, CALL_TIMEOUT_S)  # its name is never used again
        elif due.person_id is not None:
            erasure_id = await erase_orphans(
                self._registry, self._lines, due.event_key, due.person_id, CALL_TIMEOUT_S
            )
        await self._registry.erasures.finish(erasure_id)


async def _try(work: Callable[[], Awaitable[None]]) -> Exception | None:
    try:
        await work()
    except Exception as error:
        return error
    return None
