"""The jobs as the rest of the service calls them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from serving.database import Database
from serving.database.metadata import now_utc
from serving.errors import InvalidRequest, Overloaded, StageUnavailable, TooManyJobs, UnknownJob
from serving.jobs import store
from serving.jobs.files import JobFiles
from serving.jobs.records import Actor, ImportOptions, Job, JobKind, JobState, Rejection
from serving.registry.paging import check_limit, read_cursor, write_cursor
from serving.registry.records import Page

LEASE_S = 30.0
"""How long a runner may be silent before another takes its job over."""
FORGET_AFTER_DAYS = 30
"""Ended jobs and their rejections are listed for so long."""
UNREACHABLE_AGE_S = 86400.0
LEFTOVER_AGES_S = {"upload": 7200.0, "result": 60.0, "partial": 86400.0}
"""How old a file is that no job needs: an upload takes an hour to arrive at most, and has no job until then;
a result has one from the start; an export that is being written may wait for the gallery for long."""
MAX_UPLOADS = 8
"""Uploads one process receives at once: they share one disk."""
_JOB_CURSOR, _REJECTION_CURSOR = "job", "rejection"
_MAX_NAME_CHARS, _MAX_DETAIL_CHARS = 512, 1000
_PER_SWEEP = 1000


class ClaimLost(Exception):
    """The job was cancelled or deleted, or another runner has taken it over: stop working on it."""


class Jobs:
    """Jobs in the database. Methods may raise StageUnavailable and, when they write, Overloaded.

    Args:
        database: the registry's, opened and closed with it.
        files: where uploads and results are.
        max_unfinished: jobs of one event that wait or run.
        clock: the present moment, aware, in UTC.

    Attributes:
        created: set when a job is created here, so that the runner need not wait for its next look.
    """

    def __init__(
        self,
        database: Database,
        files: JobFiles,
        *,
        max_unfinished: int,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._database = database
        self.files = files
        self._max_unfinished = max_unfinished
        self._clock = clock
        self.created = asyncio.Event()
        self._uploads = 0

    async def create(
        self,
        event_key: str,
        kind: JobKind,
        created_by: Actor,
        *,
        id: str | None = None,
        file: str | None = None,
        options: ImportOptions | None = None,
    ) -> Job:
        """A new job, queued.

        Raises:
            TooManyJobs: the event has as many unfinished ones as it may.
            UnknownEvent: it is being deleted.
        """
        new = Job(
            id=id or uuid.uuid4().hex,
            event_key=event_key,
            kind=kind,
            state=JobState.queued,
            created_by=replace(created_by, name=created_by.name[:200]),
            created_at=self._clock(),
            file=file,
            options=options or ImportOptions(),
        )
        job = await self._database.write(store.create, new, self._max_unfinished)
        self.created.set()
        return job

    @contextmanager
    def hold_upload(self) -> Iterator[None]:
        """Hold one of `MAX_UPLOADS` places; raises Overloaded when none is free."""
        if self._uploads >= MAX_UPLOADS:
            raise Overloaded(max_uploads=MAX_UPLOADS)
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    async def check_room(self, event_key: str) -> None:
        """Raise TooManyJobs when `create` would, as far as can be known before."""
        unfinished = await self._database.read(store.count_unfinished, event_key)
        if unfinished >= self._max_unfinished:
            raise TooManyJobs(max_unfinished=self._max_unfinished)

    async def get(self, event_key: str, job_id: str) -> Job:
        """The job of this event; raises UnknownJob."""
        if len(job_id) > 32 or not job_id.isalnum():
            raise UnknownJob
        return await self._database.read(store.get, event_key, job_id)

    async def list(
        self, event_key: str, kinds: Collection[JobKind], after: str | None = None, limit: int = 100
    ) -> Page[Job]:
        """A page of the jobs of an event, the newest first; raises InvalidRequest for a strange cursor."""
        before = _read_job_cursor(after)
        names = [kind.value for kind in kinds]
        found = await self._database.read(store.list_jobs, event_key, names, before, check_limit(limit))
        last = found[limit - 1] if len(found) > limit else None
        cursor = None if last is None else write_cursor(_JOB_CURSOR, _place_of(last))
        return Page(tuple(found[:limit]), cursor)

    async def rejections(self, job_id: str, after: str | None = None, limit: int = 100) -> Page[Rejection]:
        """A page of a job's rejected items in the order of the upload."""
        place = read_cursor(_REJECTION_CURSOR, after) or "-1"
        if place != "-1" and not (place.isascii() and place.isdigit() and len(place) <= 9):
            raise InvalidRequest("This is not a cursor of this list.", field="cursor")
        found = await self._database.read(store.list_rejections, job_id, int(place), check_limit(limit))
        cursor = write_cursor(_REJECTION_CURSOR, str(found[limit - 1].item)) if len(found) > limit else None
        return Page(tuple(found[:limit]), cursor)

    async def cancel(self, event_key: str, job_id: str) -> Job:
        """End a job that waits or runs; its runner stops within seconds.

        Raises:
            UnknownJob, JobFinished.
        """
        if len(job_id) > 32 or not job_id.isalnum():
            raise UnknownJob
        return await self._database.write(store.cancel, event_key, job_id, self._clock())

    async def remove_result(self, job: Job) -> None:
        """Delete what an export wrote, before its time.

        Raises:
            StageUnavailable: another machine has it.
            OSError: it cannot be deleted.
        """
        if job.file is not None and not await asyncio.to_thread(self.files.exists, job.file):
            raise StageUnavailable("The result is not on this machine.")
        await asyncio.to_thread(self.files.remove, job.file)
        await self._database.write(store.forget_file, job.id)

    async def claim(self, runner: str, except_events: Collection[str] = ()) -> Job | None:
        """The oldest job that this process can work on, now this runner's for `LEASE_S`; None for none.

        An import can be worked on where its upload can be reached. Jobs of one event come one by one.
        """
        skip = 0
        while True:
            candidates = await self._database.read(store.claimable, self._clock(), _PER_SWEEP, skip)
            for each in candidates:
                if each.event_key in except_events or not await self._is_reachable(each):
                    continue
                claimed = await self._database.write(
                    store.claim, each.id, runner, self._clock(), self._lease_end()
                )
                if claimed is not None:
                    return claimed
            if len(candidates) < _PER_SWEEP:
                return None
            skip += _PER_SWEEP

    async def report(
        self,
        job_id: str,
        runner: str,
        done: int,
        total: int | None,
        rejected: int = 0,
        rejections: Sequence[Rejection] = (),
    ) -> str | None:
        """Write progress and renew the claim; may be repeated.

        Args:
            rejected: how many of the `done` items were rejected, all together.
            rejections: those of them that no earlier report told of.

        Returns:
            The id of the event; None when it is being deleted.

        Raises:
            ClaimLost: nothing was written.
        """
        cut = [
            replace(
                each,
                name=_storable(each.name)[:_MAX_NAME_CHARS],
                detail=_storable(each.detail)[:_MAX_DETAIL_CHARS],
            )
            for each in rejections
        ]
        is_ours, event_id = await self._database.write(
            store.report, job_id, runner, self._lease_end(), done, total, rejected, cut
        )
        if not is_ours:
            raise ClaimLost
        return event_id

    async def finish(
        self,
        job_id: str,
        runner: str,
        state: JobState,
        *,
        file: str | None = None,
        error: tuple[str, str] | None = None,
    ) -> None:
        """End a job; `error` is (code, detail) of a failed one.

        Raises:
            ClaimLost: nothing was written.
        """
        if not await self._database.write(store.finish, job_id, runner, self._clock(), state, file, error):
            raise ClaimLost

    async def release(self, job_id: str, runner: str) -> None:
        """Give a claim back before its time; nothing happens when it is another's."""
        moment = self._clock() - timedelta(seconds=1)
        await self._database.write(store.release, job_id, runner, moment)

    async def sweep(self, keep_result_s: float) -> None:
        """Delete results kept long enough and files that nothing needs; forget jobs ended long ago.

        Raises:
            OSError: a file cannot be deleted.
        """
        now = self._clock()
        for ended in await self._database.read(
            store.expired_results, now - timedelta(seconds=keep_result_s), _PER_SWEEP
        ):
            await asyncio.to_thread(self.files.remove, ended.file)
            await self._database.write(store.forget_file, ended.id)
        await self._database.write(store.delete_older, now - timedelta(days=FORGET_AFTER_DAYS))
        await self._fail_unreachable(now)
        await self._remove_leftovers()

    async def remove_files(self, event_key: str) -> None:
        """Delete the uploads and results of an event that is being deleted, before its jobs are forgotten.

        What another machine has, or cannot be deleted, is left to the sweep.
        """
        for name in await self._database.read(store.files_of, event_key):
            with suppress(OSError):
                await asyncio.to_thread(self.files.remove, name)

    async def _fail_unreachable(self, now: datetime) -> None:
        error = ("bad_archive", "The upload is not on any machine that could read it. Send it again.")
        for each in await self._database.read(store.claimable, now, _PER_SWEEP, 0):
            old = each.created_at < now - timedelta(seconds=UNREACHABLE_AGE_S)
            if old and not await self._is_reachable(each):
                await self._database.write(store.fail_abandoned, each.id, now, error)

    async def _remove_leftovers(self) -> None:
        leftovers = await asyncio.to_thread(lambda: list(self.files.older_than(LEFTOVER_AGES_S)))
        for start in range(0, len(leftovers), _PER_SWEEP):
            names = leftovers[start : start + _PER_SWEEP]
            needed = await self._database.read(store.needed_files, names)
            for name in names:
                if name not in needed:
                    await asyncio.to_thread(self.files.remove, name)

    async def _is_reachable(self, job: Job) -> bool:
        if not job.kind.is_import:
            return True
        return job.file is not None and await asyncio.to_thread(self.files.exists, job.file)

    def _lease_end(self) -> datetime:
        return self._clock() + timedelta(seconds=LEASE_S)


def _storable(text: str) -> str:
    """Names come from strangers' archives: no PostgreSQL text holds NUL, no UTF-8 a lone surrogate."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _place_of(job: Job) -> str:
    return f"{job.created_at.isoformat()}/{job.id}"


def _read_job_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    place = read_cursor(_JOB_CURSOR, cursor)
    if not place:
        return None
    moment, _, job_id = place.partition("/")
    try:
        found = datetime.fromisoformat(moment)
        if found.tzinfo is None:
            raise ValueError
        return found.astimezone(timezone.utc), job_id
    except (ValueError, OverflowError):
        raise InvalidRequest("This is not a cursor of this list.", field="cursor") from None
