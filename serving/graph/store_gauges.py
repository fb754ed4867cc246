"""How much the stores hold, counted from time to time by every ingress replica, for the metrics."""

from __future__ import annotations

import time
from collections.abc import Iterable

from serving.database import Database
from serving.graph.periodic import Periodic
from serving.registry.totals import count_totals
from serving.telemetry import catalogue
from serving.telemetry.counting import gauge

PERIOD_S = 30.0
MAX_SHARE = 0.01
"""Of the time: counting that takes long is done less often."""


class StoreGauges:
    """Counts faces, events, erasures and jobs in the registry.

    Args:
        database: open, and closed by its owner.
        packs: ids of those that serve: each is told even when it has no faces yet.
    """

    def __init__(self, database: Database, packs: Iterable[str]) -> None:
        self._database = database
        self._packs = set(packs)
        self._known_jobs: set[tuple[str, str]] = set()
        self._not_before = 0.0
        self._periodic = Periodic("metrics", self._count_when_due, period_s=PERIOD_S, first_within_s=2.0)

    def start(self) -> None:
        """Count from now on, every `PERIOD_S` seconds or so, while the event loop runs."""
        self._periodic.start()

    def stop(self) -> None:
        """Count no more."""
        self._periodic.stop()

    async def count_once(self) -> None:
        """Set every gauge to what there is.

        Raises:
            RollcallError: the registry cannot be reached.
        """
        totals = await self._database.read(count_totals)
        self._packs |= totals.faces.keys()
        for pack in self._packs:
            gauge(catalogue.GALLERY_FACES).of(pack).set(totals.faces.get(pack, 0))
        gauge(catalogue.EVENTS).of().set(totals.events)
        gauge(catalogue.ERASURES_DUE).of().set(totals.erasures)
        self._known_jobs |= totals.jobs.keys()
        for kind, state in self._known_jobs:
            gauge(catalogue.JOBS).of(kind, state).set(totals.jobs.get((kind, state), 0))

    async def _count_when_due(self) -> None:
        began = time.monotonic()
        if began < self._not_before:
            return
        await self.count_once()
        spent_s = time.monotonic() - began
        self._not_before = began + spent_s / MAX_SHARE
