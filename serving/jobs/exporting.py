"""The work of an export: everyone enrolled at an event, with their vectors, as NDJSON."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import BinaryIO, TypeVar

from serving.errors import StageUnavailable, UnknownPerson
from serving.gallery.records import FaceRecord
from serving.graph.stages import Stages
from serving.jobs.files import JobFiles
from serving.jobs.patience import wait_out
from serving.jobs.reporting import Reporter
from serving.jobs.vector_lines import write_person
from serving.registry.records import Event
from serving.registry.registry import Registry

AnswerT = TypeVar("AnswerT")

PEOPLE_PER_PAGE = 200
FACES_PER_PAGE = 1000
FACES_PER_LINE = 200
"""A person with more has several lines, so that no line is longer than an import reads."""


class Exporter:
    """Writes the people of the reporter's event into a file.

    Args:
        parallel: people read at the same time.
        timeout_s: of one call to the gallery.
    """

    def __init__(
        self,
        files: JobFiles,
        registry: Registry,
        stages: Stages,
        reporter: Reporter,
        pack_id: str,
        *,
        parallel: int,
        timeout_s: float,
        is_healthy: Callable[[], Awaitable[bool]],
    ) -> None:
        self._files = files
        self._registry = registry
        self._stages = stages
        self._reporter = reporter
        self._pack_id = pack_id
        self._parallel = asyncio.Semaphore(parallel)
        self._timeout_s = timeout_s
        self._is_healthy = is_healthy

    async def run(self, job_id: str) -> str:
        """Write all; returns the name of the file, which is complete and on disk.

        Raises:
            StageUnavailable: the event went to another pack meanwhile; a new attempt exports all of that one.
            OSError: it cannot be written.
        """
        event = self._reporter.event
        # Under a name of its own: whoever takes the job over must not write into the same file.
        name, file = await asyncio.to_thread(self._files.create, uuid.uuid4().hex, "partial")
        try:
            with file:
                await self._write(event, file)
            await self._reporter.report()
            if self._reporter.event.partition != event.partition:
                raise StageUnavailable("the event went to another pack")
            return await asyncio.to_thread(self._files.rename, name, job_id, "result")
        finally:
            self._files.remove(name)

    async def _write(self, event: Event, file: BinaryIO) -> None:
        event_key = event.key
        self._reporter.total = (await self._registry.counts(event_key)).people
        cursor: str | None = None
        while True:
            page = await self._call(partial(self._registry.list_people, event_key, cursor, PEOPLE_PER_PAGE))
            lines = await asyncio.gather(*(self._read(event, each.id) for each in page.items))
            await asyncio.to_thread(file.write, b"".join(lines))
            for person in page.items:
                self._reporter.settle(self._reporter.done, person.id)
            cursor = page.next
            if cursor is None:
                break
        self._reporter.total = self._reporter.done
        await asyncio.to_thread(_bring_to_disk, file)

    async def _read(self, event: Event, person_id: str) -> bytes:
        """The lines of a person; none when the person has been deleted meanwhile."""
        async with self._parallel:
            try:
                person = await self._call(partial(self._registry.get_person, event.key, person_id))
            except UnknownPerson:
                return b""
            enrolled = frozenset(person.face_ids)
            found: list[FaceRecord] = []
            read = partial(
                self._stages.read_faces,
                event.partition,
                limit=FACES_PER_PAGE,
                remaining_s=self._timeout_s,
                person_id=person_id,
            )
            after: str | None = None
            while True:
                faces = await self._call(partial(read, after=after))
                found += [face for face in faces.faces if face.face in enrolled]
                after = faces.next
                if after is None:
                    break
        return b"".join(
            write_person(person, self._pack_id, found[start : start + FACES_PER_LINE])
            for start in range(0, len(found), FACES_PER_LINE)
        )

    async def _call(self, call: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        return await wait_out(call, self._is_healthy)


def _bring_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
