"""Erases what has outlived its event's retention, and forgets what is kept for a time only."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

from serving.audit.records import AuditEntry
from serving.audit.store import add_entries
from serving.audit.trail import AuditTrail
from serving.graph.lines import Lines
from serving.graph.periodic import Periodic
from serving.graph.steady_clock import SteadyClock
from serving.graph.sweep import CALL_TIMEOUT_S, erase_orphans
from serving.graph.vaults import erase_place
from serving.registry.registry import Registry
from serving.registry.retention import ExpiredEvent, ExpiredPerson, Retention

logger = logging.getLogger("ray.serve")

FIRST_WITHIN_S = 60.0
"""How soon after its start a replica looks, so that a service that is often restarted looks at all."""

ACTOR = "retention"
PAGE = 500
MAX_FAILURES = 10
"""After so many a store is away, and each further try would only wait for it."""


class RetentionJob:
    """Runs in every ingress replica. Of several that find the same person one erases them, and says so once.

    A person is forgotten in the same transaction that writes the audit entry; the vectors go after that, and
    if they cannot, the sweep erases them. Events of packs that do not serve are no exception. Nothing is
    erased by a clock that has jumped within the last hour: it may be wrong, and what is erased is gone.

    Args:
        idempotency_s: how long the answers to requests with a key are kept.
        period_s: between two looks, on average.
        keep_erasures_days: how long it is remembered, by hash, who was erased.
        clock: whether the wall clock can be believed.
    """

    def __init__(
        self,
        registry: Registry,
        retention: Retention,
        lines: Lines,
        audit: AuditTrail,
        *,
        idempotency_s: float,
        period_s: float,
        keep_erasures_days: int = 365,
        clock: SteadyClock | None = None,
    ) -> None:
        self._registry = registry
        self._retention = retention
        self._lines = lines
        self._audit = audit
        self._idempotency_s = idempotency_s
        self._keep_erasures_days = keep_erasures_days
        self._clock = clock or SteadyClock()
        self._periodic = Periodic(
            "retention", self.look_once, period_s=period_s, first_within_s=min(period_s, FIRST_WITHIN_S)
        )

    def start(self) -> None:
        """Look from now on, every `period_s` seconds or so, while the event loop runs."""
        self._periodic.start()

    def stop(self) -> None:
        """Look no more."""
        self._periodic.stop()

    async def look_once(self) -> None:
        """Erase and forget all that has expired; what fails is left for the next look, or the sweep.

        Raises:
            Exception: the first failure, once all else has been done.
        """
        failures: list[Exception] = []
        steps = (
            self._erase_events,
            self._erase_people,
            self._forget_requests,
            self._forget_erased,
            self._audit.purge,
        )
        for step in steps:
            if not self._clock.is_steady():
                logger.error("retention: the clock has jumped; nothing is erased by it for an hour")
                break
            await _try(step, failures)
        if failures:
            raise failures[0]

    async def _erase_events(self) -> None:
        failures: list[Exception] = []
        for days in await self._retention.retention_periods():
            after: ExpiredEvent | None = None
            while found := await self._retention.expired_events(days, after, PAGE):
                for each in found:
                    await _try(partial(self._erase_event, each), failures)
                    _check(failures, MAX_FAILURES)
                after = found[-1]
        _check(failures, 1)

    async def _erase_people(self) -> None:
        failures: list[Exception] = []
        for days in await self._retention.retention_periods():
            after: ExpiredPerson | None = None
            while found := await self._retention.expired_people(days, after, PAGE):
                for each in found:
                    await _try(partial(self._erase_person, each), failures)
                    _check(failures, MAX_FAILURES)
                after = found[-1]
        _check(failures, 1)

    async def _erase_event(self, expired: ExpiredEvent) -> None:
        entry = _entry("events.delete", expired.key, expired.id, expired.retention_days)
        if await self._retention.begin_event_deletion(expired, partial(add_entries, entries=[entry])):
            for place in await self._registry.erasures.places(expired.key):
                await erase_place(self._lines, place, CALL_TIMEOUT_S)
            await self._registry.finish_event_deletion(expired.key)

    async def _erase_person(self, expired: ExpiredPerson) -> None:
        entry = _entry(
            "people.delete", expired.event_key, expired.event_id, expired.retention_days, expired.id
        )
        if await self._retention.forget_person(expired, partial(add_entries, entries=[entry])):
            # Whoever is enrolled anew under the same id since then keeps their vectors.
            await erase_orphans(self._registry, self._lines, expired.event_key, expired.id, CALL_TIMEOUT_S)

    async def _forget_erased(self) -> None:
        await self._registry.erasures.forget_erased(self._keep_erasures_days)

    async def _forget_requests(self) -> None:
        while await self._registry.requests.forget(self._idempotency_s, PAGE) == PAGE:
            pass


def _entry(
    action: str, event_key: str, event_id: str, retention_days: int, person_id: str | None = None
) -> AuditEntry:
    return AuditEntry(
        actor_kind="service",
        actor=ACTOR,
        action=action,
        event_key=event_key,
        event_id=event_id,
        person_id=person_id,
        details={"retention_days": retention_days},
    )


async def _try(work: Callable[[], Awaitable[object]], failures: list[Exception]) -> None:
    try:
        await work()
    except Exception as error:
        failures.append(error)


def _check(failures: list[Exception], most: int) -> None:
    """Raise the first failure when there are that many."""
    if len(failures) >= most:
        raise failures[0]
