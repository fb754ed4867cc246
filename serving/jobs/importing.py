"""The work of an import: item after item, several at once, each accepted or rejected for itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from serving.errors import (
    ErasedMeanwhile,
    EventClosed,
    InternalError,
    PackMismatch,
    RollcallError,
    UnknownEvent,
)
from serving.jobs.enrolling import Enroller
from serving.jobs.patience import wait_out
from serving.jobs.records import ImportOptions
from serving.jobs.reporting import Reporter
from serving.jobs.source import Group, ImportSource, Item

logger = logging.getLogger("ray.serve")

MAX_BACKLOG = 1000
"""Items that may be finished behind one that is not: what is done twice when another runner takes over."""


class Importer:
    """Brings what a source holds into the reporter's event.

    Args:
        parallel: pictures, or people that come as vectors, in flight.
        timeout_s: of one enrolment.
        is_healthy: whether every stage answers.
    """

    def __init__(
        self,
        source: ImportSource,
        reporter: Reporter,
        enroller: Enroller,
        options: ImportOptions,
        *,
        parallel: int,
        timeout_s: float,
        is_healthy: Callable[[], Awaitable[bool]],
    ) -> None:
        self._source = source
        self._reporter = reporter
        self._enroller = enroller
        self._options = options
        self._parallel = parallel
        self._timeout_s = timeout_s
        self._is_healthy = is_healthy

    async def run(self) -> None:
        """Settle every item.

        Raises:
            BadArchive: the upload cannot be read; what came before is imported.
            EventClosed, UnknownEvent: the event takes nobody in any more.
        """
        reporter = self._reporter
        reporter.total = await asyncio.to_thread(self._source.count)
        groups = self._source.groups(reporter.done)
        running: dict[asyncio.Task[None], int] = {}
        ended = False
        try:
            while True:
                while not ended and sum(running.values()) < self._parallel and reporter.backlog < MAX_BACKLOG:
                    group = await asyncio.to_thread(next, groups, None)
                    if group is None:
                        ended = True
                    else:
                        running[asyncio.create_task(self._import_group(group))] = len(group.items)
                if not running:
                    return
                finished, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
                    del running[task]
                    task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _import_group(self, group: Group) -> None:
        good: list[Item] = []
        for item in group.items:
            if isinstance(item.content, RollcallError):
                self._reporter.settle(item.place, item.name, item.content)
            else:
                good.append(item)
        if good:
            await self._import_items(good)

    async def _import_items(self, items: Sequence[Item]) -> None:
        try:
            await wait_out(lambda: self._enrol(items), self._is_healthy)
        except (EventClosed, UnknownEvent):
            raise
        except ErasedMeanwhile as error:
            # Whoever was erased stays so, and is not enrolled anew by trying once more.
            erased = error.context.get("person")
            is_alone = len({_id_of(item) for item in items}) == 1
            rest = [item for item in items if not is_alone and _id_of(item) != erased]
            if len(rest) == len(items):
                rest = []
            for item in items:
                if item not in rest:
                    self._reporter.settle(item.place, item.name, error)
            for item in rest:
                await self._import_items([item])
        except RollcallError as error:
            if len(items) == 1:
                self._reporter.settle(items[0].place, items[0].name, error)
            else:  # the good ones must not suffer from the bad
                for item in items:
                    await self._import_items([item])
        else:
            for item in items:
                self._reporter.settle(item.place, item.name)

    async def _enrol(self, items: Sequence[Item]) -> None:
        event = self._reporter.event
        if event.closed_at is not None:
            raise EventClosed
        pack_id = self._source.pack_id
        if pack_id not in (None, event.pack_id):
            raise PackMismatch(f"the vectors are of {pack_id!r}, the event's of {event.pack_id!r}")
        pictures = [item.content for item in items if isinstance(item.content, bytes)]
        people = [
            (item.person, item.content)
            for item in items
            if isinstance(item.content, tuple) and item.person is not None
        ]
        person = items[0].person
        try:
            if pictures and person is not None:
                await self._enroller.enrol_pictures(event, person, pictures, self._options, self._timeout_s)
            if people:
                await self._enroller.enrol_vectors(event, people, self._options, self._timeout_s)
        except RollcallError:
            raise
        except Exception as error:
            logger.error("an item of an import failed: %s", type(error).__name__, exc_info=error)
            raise InternalError from None


def _id_of(item: Item) -> str | None:
    return None if item.person is None else item.person.id
