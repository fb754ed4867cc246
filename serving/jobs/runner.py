"""The runner: takes jobs and works on them in the background, in every ingress replica."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import uuid
from functools import partial

from serving.audit.records import AuditEntry
from serving.audit.trail import AuditTrail
from serving.errors import DeadlineExceeded, Overloaded, RollcallError, StageUnavailable, UnknownJob
from serving.graph.lines import Lines, ServedPack
from serving.jobs.archive import Archive
from serving.jobs.enrolling import Enroller
from serving.jobs.exporting import Exporter
from serving.jobs.importing import Importer
from serving.jobs.jobs import ClaimLost, Jobs
from serving.jobs.records import Job, JobKind, JobState
from serving.jobs.reporting import Reporter
from serving.jobs.source import ImportLimits, ImportSource
from serving.jobs.vector_lines import VectorLines
from serving.packs.manifest import Pack
from serving.registry.registry import Registry
from serving.settings import Settings
from serving.telemetry.job_notes import job_noted

logger = logging.getLogger("ray.serve")

MAX_RUNNING = 2
"""Jobs one replica works on at once, so that an export does not wait for a long import."""
POLL_S = 2.0
SWEEP_PERIOD_S = 600.0
CHECK_TIMEOUT_S = 10.0


class JobRunner:
    """Claims jobs one by one and carries them out; what a dead process left it takes over.

    Args:
        enroller: enrols as the routes do.
        audit: gets an entry at the end of each job.
    """

    def __init__(
        self,
        jobs: Jobs,
        registry: Registry,
        lines: Lines,
        enroller: Enroller,
        audit: AuditTrail,
        settings: Settings,
    ) -> None:
        self._jobs = jobs
        self._registry = registry
        self._lines = lines
        self._enroller = enroller
        self._audit = audit
        self._settings = settings
        self._name = uuid.uuid4().hex
        self._running: dict[asyncio.Task[None], str] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Work from now on while the event loop runs."""
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._sweep())]

    async def stop(self) -> None:
        """Stop at once; claims are given back, so that another replica goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def run_all(self) -> None:
        """Work until there is nothing left that this process can work on."""
        try:
            while True:
                while len(self._running) < MAX_RUNNING:
                    job = await self._jobs.claim(self._name, frozenset(self._running.values()))
                    if job is None:
                        break
                    self._running[asyncio.create_task(self._carry_out(job))] = job.event_key
                if not self._running:
                    return
                woken = asyncio.ensure_future(self._jobs.created.wait())
                try:
                    finished, _ = await asyncio.wait(
                        {*self._running, woken}, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    woken.cancel()
                self._jobs.created.clear()
                for task in self._running.keys() & finished:
                    del self._running[task]
        finally:
            running, self._running = list(self._running), {}
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.run_all()
            except RollcallError as error:
                logger.warning("jobs: %s; it will be tried again", error.code)
            except Exception:
                logger.exception("jobs: it will be tried again")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._jobs.created.wait(), POLL_S * random.uniform(0.5, 1.5))  # noqa: S311
            self._jobs.created.clear()

    async def _sweep(self) -> None:
        while True:
            try:
                await self._jobs.sweep(self._settings.jobs.keep_result_s)
            except RollcallError as error:
                logger.warning("sweep of jobs: %s; it will be tried again", error.code)
            except Exception:
                logger.exception("sweep of jobs: it will be tried again")
            await asyncio.sleep(SWEEP_PERIOD_S * random.uniform(0.5, 1.5))  # noqa: S311

    async def _carry_out(self, job: Job) -> None:
        with job_noted(job.id, job.kind.value):
            await self._work_on(job)

    async def _work_on(self, job: Job) -> None:
        """Work on a claimed job to its end, or until it is no more this runner's."""
        start = job.done if job.kind.is_import else 0  # a half written export is written anew
        reporter = Reporter(self._jobs, self._registry, job, self._name, start)
        try:
            try:
                result = await self._perform(job, reporter)
            except (Overloaded, StageUnavailable, DeadlineExceeded) as error:
                logger.warning("job %s: %s; it will be taken up again", job.id, error.code)
                await asyncio.sleep(POLL_S)
                await self._release(job)
                return
            except RollcallError as error:
                await self._end(job, reporter, JobState.failed, error=(error.code, error.detail))
                return
            except OSError as error:
                logger.error("job %s: a file cannot be read or written: %s", job.id, error)
                await self._end(job, reporter, JobState.failed, error=_internal("A file failed."))
                return
            await self._end(job, reporter, JobState.done, file=result)
        except ClaimLost:
            await self._leave(job)
        except asyncio.CancelledError:
            await asyncio.shield(self._release(job))
            raise
        except RollcallError as error:
            logger.warning("job %s: its end cannot be written: %s", job.id, error.code)
        except Exception:
            logger.exception("job %s failed", job.id)
            with contextlib.suppress(ClaimLost, RollcallError):
                await self._end(job, reporter, JobState.failed, error=_internal("Something failed inside."))

    async def _perform(self, job: Job, reporter: Reporter) -> str | None:
        await reporter.report()
        line = self._lines.of(reporter.event.pack_id)
        parallel, timeout_s = self._settings.jobs.parallel_pictures, self._settings.load.request_timeout_s
        if job.kind is JobKind.export:
            exporter = Exporter(
                self._jobs.files,
                self._registry,
                line.stages,
                reporter,
                line.pack.id,
                parallel=parallel,
                timeout_s=timeout_s,
                is_healthy=partial(_is_healthy, line),
            )
            return await reporter.run(exporter.run(job.id))
        source = await asyncio.to_thread(self._open_source, job, line.pack)
        try:
            importer = Importer(
                source,
                reporter,
                self._enroller,
                job.options,
                parallel=parallel,
                timeout_s=timeout_s,
                is_healthy=partial(_is_healthy, line),
            )
            await reporter.run(importer.run())
        finally:
            source.close()
        return None

    def _open_source(self, job: Job, pack: Pack) -> ImportSource:
        settings = self._settings
        limits = ImportLimits(
            max_items=settings.jobs.max_items,
            max_entry_bytes=settings.picture.max_bytes,
            max_unpacked_bytes=settings.jobs.max_upload_bytes,
            group=min(settings.picture.max_per_request, settings.jobs.parallel_pictures),
        )
        path = self._jobs.files.path(job.file or "")
        if job.kind is JobKind.import_vectors:
            return VectorLines(path, pack.id, pack.dimension, limits)
        return Archive(path, limits)

    async def _end(
        self,
        job: Job,
        reporter: Reporter,
        state: JobState,
        *,
        file: str | None = None,
        error: tuple[str, str] | None = None,
    ) -> None:
        await self._jobs.finish(job.id, self._name, state, file=file, error=error)
        told = {"job": job.id, "kind": job.kind.value, "items": reporter.done, "rejected": reporter.rejected}
        outcome = "ok" if error is None else error[0]
        fields = {**told, "event": reporter.event_id, "outcome": outcome}
        logger.info("job %s", state.value, extra={"fields": fields})
        await self._remove_files(job, keep=file)
        await self._audit.record(
            AuditEntry(
                actor_kind=job.created_by.kind,
                actor_id=job.created_by.id,
                actor=job.created_by.name,
                action="jobs.finish",
                outcome=outcome,
                event_key=job.event_key,
                event_id=reporter.event_id,
                details=told,
            )
        )

    async def _leave(self, job: Job) -> None:
        """Another runner has the job, or it was cancelled or deleted: then its files go."""
        try:
            found = await self._jobs.get(job.event_key, job.id)
        except UnknownJob:
            await self._remove_files(job)
            return
        except RollcallError:
            return  # the sweep finds what is left
        if found.state.is_final:
            await self._remove_files(job)

    async def _remove_files(self, job: Job, keep: str | None = None) -> None:
        for name in {job.file, f"{job.id}.result"} - {None, keep}:
            await asyncio.to_thread(self._jobs.files.remove, name)

    async def _release(self, job: Job) -> None:
        with contextlib.suppress(RollcallError):
            await self._jobs.release(job.id, self._name)


async def _is_healthy(line: ServedPack) -> bool:
    await line.stages.check(CHECK_TIMEOUT_S)
    return True


def _internal(detail: str) -> tuple[str, str]:
    return "internal_error", detail
