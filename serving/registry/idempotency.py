"""Units of work on requests that carry an Idempotency-Key, so that a retry gets the first one's answer.

A request is claimed before its work begins, under an id made of caller, route and key. The row holds the id
of the person that the work is about, chosen then, so that whoever takes over after a crash goes on with the
same person. When the work is done the answer is kept in the row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, delete, or_, select, update

from serving.database.metadata import now_utc
from serving.errors import IdempotencyKeyReused, InternalError, RequestInProgress, UnknownEvent
from serving.registry.events import hold_open
from serving.registry.identifiers import generate_id
from serving.registry.records import Event
from serving.registry.tables import idempotent_request, insert_into

_CLAIM_ATTEMPTS = 5

_columns = idempotent_request.c


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request with an Idempotency-Key.

    Attributes:
        id: 64 hexadecimal digits that stand for the caller, the route and the key.
        fingerprint: 64 hexadecimal digits that stand for all that is asked.
        event_key: of the event it is about; None when it creates one.
        person_id: whom it is about; None to have an id chosen.
        lifetime_s: for how long a retry is known as one.
    """

    id: str
    fingerprint: str
    event_key: str | None
    person_id: str | None
    lifetime_s: float


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a request, until a moment; `person_id` is the same for all who ever claim it."""

    id: str
    person_id: str
    until: datetime


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What the first request was answered: HTTP status and body."""

    status: int
    body: str


def claim_request(connection: Connection, asked: KeyedRequest, claim_s: float) -> Claim | StoredAnswer:
    """Claim a request for `claim_s` seconds, or return its answer.

    Raises:
        RequestInProgress: somebody holds the claim.
        IdempotencyKeyReused: the key came with other content, and that request was answered or is at work.
        UnknownEvent: the event is not open.
    """
    if asked.event_key is not None and not hold_open(connection, asked.event_key):
        raise UnknownEvent
    for _ in range(_CLAIM_ATTEMPTS):
        now = now_utc()
        new = {
            "id": asked.id,
            "event_key": asked.event_key,
            "person_id": asked.person_id or generate_id(),
            "fingerprint": asked.fingerprint,
            "created_at": now,
            "claimed_until": now + timedelta(seconds=claim_s),
            "status": None,
            "body": None,
        }
        claim = Claim(asked.id, str(new["person_id"]), now + timedelta(seconds=claim_s))
        insert = insert_into(connection, idempotent_request).on_conflict_do_nothing()
        if connection.execute(insert, new).rowcount == 1:
            return claim
        held = connection.execute(
            select(
                _columns.person_id,
                _columns.fingerprint,
                _columns.created_at,
                _columns.claimed_until,
                _columns.status,
                _columns.body,
            )
            .where(_columns.id == asked.id)
            .with_for_update()
        ).first()
        if held is None:  # forgotten between the two statements
            continue
        expired = held.created_at <= now - timedelta(seconds=asked.lifetime_s)
        at_work = held.status is None and held.claimed_until is not None and held.claimed_until > now
        same = held.fingerprint == asked.fingerprint
        if at_work or (held.status is not None and not expired):
            if not same:
                raise IdempotencyKeyReused
            if at_work:
                raise RequestInProgress
            return StoredAnswer(held.status, held.body)
        if same and not expired:
            new["person_id"], new["created_at"] = held.person_id, held.created_at
            claim = Claim(asked.id, held.person_id, claim.until)
        connection.execute(update(idempotent_request).where(_columns.id == asked.id).values(new))
        return claim
    raise InternalError("An Idempotency-Key could not be claimed.")


def answer_request(connection: Connection, claim: Claim, status: int, body: str) -> None:
    """Keep the answer to a claimed request; nothing happens when it has one, or is forgotten."""
    connection.execute(
        update(idempotent_request)
        .where(_columns.id == claim.id, _columns.person_id == claim.person_id, _columns.status.is_(None))
        .values(status=status, body=body, claimed_until=None)
    )


def release_request(connection: Connection, claim: Claim) -> None:
    """Let a retry begin; nothing happens when somebody else has claimed the request since."""
    connection.execute(
        update(idempotent_request)
        .where(_columns.id == claim.id, _columns.claimed_until == claim.until, _columns.status.is_(None))
        .values(claimed_until=None)
    )


def create_event_once(
    connection: Connection,
    asked: KeyedRequest,
    create: Callable[[Connection], Event],
    render: Callable[[Event], StoredAnswer],
) -> tuple[StoredAnswer, bool]:
    """Create an event and keep the answer, all or nothing; the answer, and whether it is one of before.

    Raises:
        RequestInProgress, IdempotencyKeyReused: as `claim_request`.
        RollcallError: what `create` raises; then nothing is kept.
    """
    claim = claim_request(connection, asked, claim_s=0)
    if isinstance(claim, StoredAnswer):
        return claim, True
    created = create(connection)
    answer = render(created)
    connection.execute(
        update(idempotent_request)
        .where(_columns.id == asked.id)
        .values(
            status=answer.status,
            body=answer.body,
            claimed_until=None,
            event_key=created.key,
            person_id=None,
        )
    )
    return answer, False


def forget_person(connection: Connection, event_key: str, person_id: str) -> None:
    """Remove the answers that speak of a person."""
    connection.execute(
        delete(idempotent_request).where(_columns.event_key == event_key, _columns.person_id == person_id)
    )


def forget_requests(connection: Connection, created_before: datetime, limit: int) -> int:
    """Remove requests from before a moment, but those at work; how many, at most `limit`."""
    ended = or_(_columns.claimed_until.is_(None), _columns.claimed_until <= now_utc())
    old = (
        select(_columns.id)
        .where(and_(_columns.created_at <= created_before, ended))
        .order_by(_columns.created_at)
        .limit(limit)
    )
    return connection.execute(delete(idempotent_request).where(_columns.id.in_(old))).rowcount
