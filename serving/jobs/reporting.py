"""How a job at work tells how far it is, keeps its claim, and learns that it should stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from serving.errors import InternalError, RollcallError, StageUnavailable, UnknownEvent
from serving.jobs.jobs import LEASE_S, ClaimLost, Jobs
from serving.jobs.records import Job, Rejection
from serving.registry.records import Event
from serving.registry.registry import Registry

logger = logging.getLogger("ray.serve")

AnswerT = TypeVar("AnswerT")

REPORT_PERIOD_S = 1.0
_SPARE_S = LEASE_S / 3
"""The claim counts as lost so long before it runs out: another runner's clock may be ahead of ours."""


class Reporter:
    """Progress of one job that this process has claimed.

    `done` counts from the front: items are settled in any order, and those behind one that is not settled
    yet do not count. So whoever takes the job over begins at `done`.

    Args:
        job: as it was claimed.
        runner: who has claimed it.
        start: what `done` begins with.
    """

    def __init__(self, jobs: Jobs, registry: Registry, job: Job, runner: str, start: int) -> None:
        self._jobs = jobs
        self._registry = registry
        self._job = job
        self._runner = runner
        self.done = start
        self.total = job.total
        self.rejected = job.rejected if start else 0
        self._settled: dict[int, Rejection | None] = {}
        self._untold: list[Rejection] = []
        self._event: Event | None = None
        self._claimed_at = time.monotonic()

    @property
    def backlog(self) -> int:
        """Items settled behind one that is not."""
        return len(self._settled)

    @property
    def event(self) -> Event:
        """The job's event as of the last report; `report` comes first."""
        assert self._event is not None
        return self._event

    @property
    def event_id(self) -> str | None:
        """The id of the event, once it is known."""
        return None if self._event is None else self._event.id

    def settle(self, place: int, name: str, error: RollcallError | None = None) -> None:
        """Note that an item is finished: imported, or rejected by this error."""
        self._settled[place] = None if error is None else _describe(place, name, error)
        while self.done in self._settled:
            rejection = self._settled.pop(self.done)
            self.done += 1
            if rejection is not None:
                self.rejected += 1
                self._untold.append(rejection)

    async def report(self) -> None:
        """Write progress, renew the claim, look at the event.

        Raises:
            ClaimLost: stop at once.
            UnknownEvent: the event is being deleted.
            RollcallError: the database cannot be reached.
        """
        started_at = time.monotonic()
        untold = list(self._untold)
        event_id = await self._jobs.report(
            self._job.id, self._runner, self.done, self.total, self.rejected, untold
        )
        self._claimed_at = started_at
        del self._untold[: len(untold)]
        if event_id is None:
            raise UnknownEvent
        event = await self._registry.get_event(event_id)
        if event.key != self._job.event_key:
            raise UnknownEvent  # another of the same id, created since
        self._event = event

    async def run(self, work: Coroutine[Any, Any, AnswerT]) -> AnswerT:
        """The result of the work; reports are written meanwhile, and one at its end.

        Raises:
            ClaimLost, UnknownEvent: the work was stopped.
            Exception: what it raised itself.
        """
        worker = asyncio.ensure_future(work)
        reports = asyncio.ensure_future(self._keep_reporting())
        try:
            await asyncio.wait({worker, reports}, return_when=asyncio.FIRST_COMPLETED)
            if reports.done() and not worker.done():
                reports.result()
        finally:
            for each in (worker, reports):
                each.cancel()
            await asyncio.gather(worker, reports, return_exceptions=True)
        try:
            return worker.result()
        finally:
            await self.report()

    async def _keep_reporting(self) -> None:
        while True:
            await asyncio.sleep(REPORT_PERIOD_S)
            try:
                await self.report()
            except UnknownEvent:
                raise
            except RollcallError as error:
                if time.monotonic() - self._claimed_at > LEASE_S - _SPARE_S:
                    raise ClaimLost from None
                logger.warning("job %s: progress cannot be written: %s", self._job.id, error.code)


def _describe(place: int, name: str, error: RollcallError) -> Rejection:
    # What a store or stage says of itself is for the log alone.
    is_ours = isinstance(error, (InternalError, StageUnavailable))
    return Rejection(place, name, error.code, error.title if is_ours else error.detail)
