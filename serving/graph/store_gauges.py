"""How much the stores hold, and what was last copied of them, for the metrics.

Every ingress replica looks it up from time to time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from serving.database import Database
from serving.graph.periodic import Periodic
from serving.registry.last_copies import Kind, LastCopy, read_copies
from serving.registry.totals import count_totals
from serving.telemetry import catalogue
from serving.telemetry.counting import gauge

PERIOD_S = 30.0
MAX_SHARE = 0.01
"""Of the time: counting that takes long is done less often."""


class StoreGauges:
    """Counts faces, events, erasures and jobs in the registry, and tells of the newest backup.

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
        _tell_copies(await self._database.read(read_copies))

    async def _count_when_due(self) -> None:
        began = time.monotonic()
        if began < self._not_before:
            return
        await self.count_once()
        spent_s = time.monotonic() - began
        self._not_before = began + spent_s / MAX_SHARE


def _tell_copies(copies: Mapping[Kind, LastCopy]) -> None:
    backup, erasures = copies.get("backup"), copies.get("erasures")
    for metric, copy in ((catalogue.LAST_BACKUP, backup), (catalogue.LAST_ERASURE_LIST, erasures)):
        gauge(metric).of().set(0 if copy is None else copy.taken_at.timestamp())
    if backup is None:
        return
    values = (
        (catalogue.LAST_BACKUP_BYTES, backup.size_bytes),
        (catalogue.LAST_BACKUP_FREE_BYTES, backup.free_bytes),
        (catalogue.LAST_BACKUP_ENCRYPTED, backup.encrypted),
        (catalogue.LAST_BACKUP_MISSING_FACES, backup.missing_faces),
    )
    for metric, value in values:
        if value is not None:
            gauge(metric).of().set(value)
