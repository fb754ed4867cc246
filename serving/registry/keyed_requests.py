"""Requests that carry an Idempotency-Key, as the rest of the service calls them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import Connection

from serving.database import Database
from serving.database.metadata import now_utc
from serving.registry import idempotency
from serving.registry.idempotency import Claim, KeyedRequest, StoredAnswer
from serving.registry.paging import check_limit
from serving.registry.records import Event

__all__ = ["Claim", "KeyedRequest", "KeyedRequests", "StoredAnswer"]


class KeyedRequests:
    """Which requests were made under which keys, and what they were answered; `Registry.requests`.

    Every method may raise StageUnavailable (no database) and Overloaded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, asked: KeyedRequest, claim_s: float) -> Claim | StoredAnswer:
        """Claim a request for `claim_s` seconds, or get the answer it had.

        Work on a claimed request for its `person_id`; it is the same each time the request is claimed. Then
        call `answer`, or `release` when the work failed. The claim ends by itself when neither comes, and
        whoever claims next must find nothing that makes their work a second time.

        Raises:
            RequestInProgress: somebody holds the claim.
            IdempotencyKeyReused: the key came with other content, and that request was answered, or is at
                work. A key whose request failed is free for any content.
            UnknownEvent: the event is not open.
        """
        return await self._database.write(idempotency.claim_request, asked, claim_s)

    async def answer(self, claim: Claim, status: int, body: str) -> None:
        """Keep the answer; it goes when the person or the event is erased, or it is too old."""
        await self._database.write(idempotency.answer_request, claim, status, body)

    async def release(self, claim: Claim) -> None:
        """Give the claim back, so that a retry need not wait; may be repeated."""
        await self._database.write(idempotency.release_request, claim)

    async def create_event_once(
        self,
        asked: KeyedRequest,
        create: Callable[[Connection], Event],
        render: Callable[[Event], StoredAnswer],
    ) -> tuple[StoredAnswer, bool]:
        """Create an event and keep the answer in one transaction, so that no crash comes in between.

        Args:
            asked: with neither event nor person.
            create: the unit of work; may run more than once.
            render: the answer that shows the event.

        Returns:
            The answer, and whether an earlier request got it.

        Raises:
            IdempotencyKeyReused: the key came with other content.
            RollcallError: what `create` raises; then nothing is kept.
        """
        return await self._database.write(idempotency.create_event_once, asked, create, render)

    async def forget(self, older_than_s: float, limit: int = 1000) -> int:
        """Remove requests older than that, but those at work; how many, at most `limit` (1 to 1000)."""
        created_before = now_utc() - timedelta(seconds=older_than_s)
        return await self._database.write(idempotency.forget_requests, created_before, check_limit(limit))
