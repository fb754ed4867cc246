"""Counts what becomes of the faces in recognised pictures, in memory, and writes it down once a second."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Literal

from serving.errors import RollcallError
from serving.registry.registry import Registry
from serving.registry.statistics import Tally, bin_of

logger = logging.getLogger("ray.serve")

Outcome = Literal["match", "unknown", "refused"]

FLUSH_PERIOD_S = 1.0
"""How far an event's statistics lag behind. One write of all counts a second is little for any database."""

MAX_EVENTS = 10_000
"""Events with counts in memory, some kilobytes each; more come together only while the database is away."""

STOP_TIMEOUT_S = 5.0


class StatisticsRecorder:
    """Runs in every ingress replica; each adds its own counts to what the registry holds.

    A process that is killed loses what it counted since the last write. A write whose connection breaks just
    as it is confirmed is repeated, and counted twice.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._pending: dict[str, Tally] = {}
        self._uncounted = 0
        self._flushing = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def note_recognition(
        self,
        event_key: str,
        faces: Sequence[tuple[Outcome, float | None]],
        spoofs: int = 0,
        partition: str | None = None,
    ) -> None:
        """Count one picture that was answered; touches memory only.

        Args:
            faces: of each face its outcome and the best candidate's cosine, None where there was none.
            spoofs: how many of them were taken for presentation attacks.
            partition: of the event's, which the cosines come from; see `Tally`.
        """
        tally = self._pending.get(event_key)
        if tally is None:
            if len(self._pending) >= MAX_EVENTS:
                self._uncounted += 1
                return
            tally = self._pending[event_key] = Tally(partition=partition)
        tally.recognitions += 1
        tally.faces += len(faces)
        tally.spoofs += spoofs
        for outcome, cosine in faces:
            if outcome == "refused":
                tally.refusals += 1
                continue
            if outcome == "match":
                tally.matches += 1
            else:
                tally.unknowns += 1
            if cosine is not None and tally.partition == partition:
                tally.scores[outcome, bin_of(cosine)] += 1

    async def flush(self) -> None:
        """Write down what was counted, in one transaction; when that fails it is kept for the next time.

        Raises:
            RollcallError: the registry cannot be reached.
        """
        async with self._flushing:
            counted, self._pending = self._pending, {}
            if not counted:
                return
            try:
                await self._registry.add_statistics(counted)
            except Exception:
                self._take_back(counted)
                raise

    def start(self) -> None:
        """Write every `FLUSH_PERIOD_S` seconds from now on, while the event loop runs."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what is counted now, for which there are `STOP_TIMEOUT_S` seconds, and then no more."""
        self._stopping.set()
        last = self._task or asyncio.create_task(self._try_flush())
        _, unfinished = await asyncio.wait([last], timeout=STOP_TIMEOUT_S)
        if unfinished:
            last.cancel()
        if self._pending or unfinished:
            logger.warning("statistics: the last counts are lost")

    async def _run(self) -> None:
        # Never cancelled within a write: whether it was carried out would not be known.
        while not self._stopping.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), FLUSH_PERIOD_S)
            await self._try_flush()

    async def _try_flush(self) -> None:
        try:
            await self.flush()
        except RollcallError as error:
            logger.warning("statistics: %s; they will be written later", error.code)
        except Exception:
            logger.exception("statistics: they will be written later")
        if self._uncounted:
            logger.warning("statistics: %d pictures were not counted: too many events", self._uncounted)
            self._uncounted = 0

    def _take_back(self, counted: dict[str, Tally]) -> None:
        newer, self._pending = self._pending, counted
        for event_key, tally in newer.items():
            if event_key in self._pending:
                self._pending[event_key].add(tally)
            elif len(self._pending) < MAX_EVENTS:
                self._pending[event_key] = tally
            else:
                self._uncounted += tally.recognitions
