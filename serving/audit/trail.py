"""The audit trail as the rest of the service sees it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import logging
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone

from serving.audit import store
from serving.audit.records import AuditEntry, AuditFilters, clean_details
from serving.audit.refusals import Refusals
from serving.database import Database
from serving.database.metadata import now_utc
from serving.errors import InvalidRequest, RollcallError, StageUnavailable
from serving.registry.paging import check_limit, read_cursor, write_cursor
from serving.registry.records import Page
from serving.settings import AuditSettings
from serving.telemetry import recording

logger = logging.getLogger("ray.serve")

CURSOR_KIND = "audit"
FLUSH_DELAY_S = 0.25
"""How long a noted entry gathers others before they are written together."""
MAX_WAITING = 10_000
"""Entries in memory, some 5 MB: the recognitions of a busy minute, should the database be away so long."""
MAX_WRITTEN = 500
"""Entries in one transaction."""
RETRY_DELAY_S = 1.0
NOTE_TIMEOUT_S = 1.0
"""How long a caller of `note` is held up for room."""
RECORD_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 5.0
EXPORT_PAGE = 1000


class AuditTrail:
    """Writes entries, several in one transaction, and reads them back, newest first.

    An entry that cannot be written stays in memory and is tried again every `RETRY_DELAY_S`. When memory has
    no room either, entries are counted, and the count itself becomes an entry, `audit.lost`. Only a process
    that dies takes entries with it, and of those none that `record` had returned for.

    Args:
        database: is opened and closed by its owner.
        settings: how long entries are kept.
    """

    def __init__(self, database: Database, settings: AuditSettings) -> None:
        self._database = database
        self._settings = settings
        self._waiting: deque[tuple[AuditEntry, asyncio.Future[None] | None]] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._stopping = False
        self._lost = 0
        self.trouble: RollcallError | None = None
        self._refusals = Refusals(self.offer_or_count)
        self._context = contextvars.copy_context()  # a write belongs to many requests

    def check(self) -> None:
        """Raise StageUnavailable while entries cannot be written."""
        if self.trouble is not None:
            raise StageUnavailable("The audit trail cannot be written.")

    async def record(self, entry: AuditEntry) -> bool:
        """Write an entry; whether it is on disk, for what cannot be is tried again later.

        Waits for at most `RECORD_TIMEOUT_S`.
        """
        if len(self._waiting) >= MAX_WAITING:
            self._lose(1)
            return False
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((_clean(entry), written))
        self._note_queue()
        self._wake_writer(at_once=True)
        try:
            await asyncio.wait_for(written, RECORD_TIMEOUT_S)
        except (RollcallError, asyncio.TimeoutError):
            logger.error("audit trail: %s by %s is not written yet", entry.action, entry.actor)
            return False
        return True

    async def note(self, entry: AuditEntry) -> None:
        """Write an entry soon, with others; waits only for room, for at most `NOTE_TIMEOUT_S`."""
        if not self.offer(entry):
            self._room.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._room.wait(), NOTE_TIMEOUT_S)
            self.offer_or_count(entry)

    def offer(self, entry: AuditEntry) -> bool:
        """As `note`, where nothing can be waited for; False when there is no room."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append((_clean(entry), None))
        self._note_queue()
        self._wake_writer(at_once=False)
        return True

    def offer_or_count(self, entry: AuditEntry) -> None:
        """As `offer`; when there is no room the entry is counted as lost."""
        if not self.offer(entry):
            self._lose(1)

    async def note_refusal(self, entry: AuditEntry, origin: str | None) -> None:
        """As `note`, but of those like it within a minute the first and a count of the rest are written.

        Args:
            origin: what refusals are counted by, beside the actor: the client's network.
        """
        if self._refusals.is_first(entry, origin):
            await self.note(entry)

    async def flush(self) -> None:
        """Return when nothing waits to be written."""
        if self._writer is not None and not self._writer.done():
            self._wake.set()
            await asyncio.shield(self._writer)

    async def stop(self) -> None:
        """Write what waits, for which there are `STOP_TIMEOUT_S` seconds."""
        self._refusals.end_window()
        self._stopping = True
        if self._waiting:
            self._wake_writer(at_once=True)
        if self._writer is not None:
            self._wake.set()
            _, unfinished = await asyncio.wait([self._writer], timeout=STOP_TIMEOUT_S)
            if unfinished:
                self._writer.cancel()
        if self._waiting:
            logger.error("audit trail: %d entries are lost", len(self._waiting))

    async def page(
        self, filters: AuditFilters, cursor: str | None = None, limit: int = 100
    ) -> Page[AuditEntry]:
        """A page of the entries, newest first; it may be short, or empty, and still not the last.

        Raises:
            InvalidRequest: not a cursor of this list, or the limit is out of range.
        """
        after = _read_place(cursor)
        found, last = await self._database.read(store.find_entries, filters, after, check_limit(limit))
        return Page(tuple(found), None if last is None else _write_place(last))

    async def export(self, filters: AuditFilters) -> AsyncIterator[AuditEntry]:
        """All entries, newest first; what comes in meanwhile is not among them."""
        if filters.until is None:
            filters = dataclasses.replace(filters, until=now_utc())
        cursor: str | None = None
        while True:
            page = await self.page(filters, cursor, EXPORT_PAGE)
            for entry in page.items:
                yield entry
            cursor = page.next
            if cursor is None:
                return

    async def purge(self, older_than: timedelta | None = None) -> int:
        """Delete entries older than that, by default than `audit.retention_days`; how many there were."""
        if older_than is None:
            older_than = timedelta(days=self._settings.retention_days)
        before = now_utc() - older_than
        total = 0
        while deleted := await self._database.write(store.purge_entries, before):
            total += deleted
        return total

    def _wake_writer(self, *, at_once: bool) -> None:
        if at_once:
            self._wake.set()
        if self._writer is None or self._writer.done():
            self._writer = self._context.copy().run(asyncio.get_running_loop().create_task, self._write_all())

    async def _write_all(self) -> None:
        """Runs while anything waits."""
        while self._waiting or self._lost:
            with contextlib.suppress(asyncio.TimeoutError):  # a recorded entry ends the wait
                await asyncio.wait_for(self._wake.wait(), FLUSH_DELAY_S)
            self._wake.clear()
            while self._waiting or self._lost:
                if not await self._write_some():
                    if self._stopping:
                        return
                    await asyncio.sleep(RETRY_DELAY_S)

    async def _write_some(self) -> bool:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_WRITTEN))]
        lost, self._lost = self._lost, 0
        entries = [entry for entry, _ in batch]
        if lost:
            entries.append(AuditEntry("service", "audit.lost", details={"entries": lost}))
        try:
            await self._database.write(store.add_entries, entries)
        except Exception as error:
            self._keep(batch, lost, error)
            return False
        if self.trouble is not None:
            logger.warning("audit trail: it is written again")
            self.trouble = None
        self._room.set()
        self._note_queue()
        for _, written in batch:
            if written is not None and not written.done():
                written.set_result(None)
        return True

    def _keep(
        self, batch: list[tuple[AuditEntry, asyncio.Future[None] | None]], lost: int, error: Exception
    ) -> None:
        trouble = error if isinstance(error, RollcallError) else StageUnavailable()
        if self.trouble is None:
            logger.error("audit trail: cannot be written: %s", type(error).__name__, exc_info=error)
        self.trouble = trouble
        self._lost += lost
        for _, written in batch:
            if written is not None and not written.done():
                written.set_exception(trouble)
        self._waiting.extendleft((entry, None) for entry, _ in reversed(batch))

    def _note_queue(self) -> None:
        recording.note_audit_queue(len(self._waiting) + self._lost)

    def _lose(self, count: int) -> None:
        if not self._lost:
            logger.error("audit trail: no room for more entries; they are only counted")
        self._lost += count


def _clean(entry: AuditEntry) -> AuditEntry:
    return dataclasses.replace(entry, details=clean_details(entry.details))


def _write_place(place: store.Place) -> str:
    at, id = place
    return write_cursor(CURSOR_KIND, f"{at.astimezone(timezone.utc).isoformat()}|{id}")


def _read_place(cursor: str | None) -> store.Place | None:
    text = read_cursor(CURSOR_KIND, cursor)
    if not text:
        return None
    moment, _, id = text.partition("|")
    try:
        at, number = datetime.fromisoformat(moment), int(id)
        if at.tzinfo is None or not 0 <= number < 2**63:
            raise ValueError
        return at.astimezone(timezone.utc), number
    except (ValueError, OverflowError):
        raise InvalidRequest(
            "This is not a cursor of this list; take it from the page before.", field="cursor"
        ) from None
