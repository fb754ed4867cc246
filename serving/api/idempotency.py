"""The Idempotency-Key header: a request that is sent again gets the answer of the first one.

As in draft-ietf-httpapi-idempotency-key-header. A key belongs to one caller and one address; its request is
claimed in the registry before the work begins and its answer is kept there when the work is done.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from sqlalchemy import Connection

from serving.accounts.identities import Identity
from serving.api.deadlines import Deadline
from serving.api.services import Services
from serving.errors import IdempotencyKeyReused, InvalidRequest, RequestInProgress, RollcallError
from serving.registry.keyed_requests import Claim, KeyedRequest, StoredAnswer
from serving.registry.records import Event

logger = logging.getLogger("ray.serve")

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
MAX_KEY_CHARS = 255
CLAIM_MARGIN_S = 60.0
"""How long a claim outlasts the request's deadline: a write may wait for the database after it."""

IDEMPOTENCY_ERRORS: tuple[type[RollcallError], ...] = (IdempotencyKeyReused, RequestInProgress)
"""What any route that takes the header may answer."""

CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "headers": {
            REPLAYED_HEADER: {
                "description": "`true` when this is the answer to an earlier request with the same key.",
                "schema": {"type": "string", "enum": ["true"]},
            }
        }
    }
}
"""The `responses=` of a route that takes the header, beside its errors."""


async def get_key(
    key: Annotated[
        str | None,
        Header(
            alias=HEADER,
            min_length=1,
            max_length=MAX_KEY_CHARS,
            description="Your own id for this request, such as a UUID. A retry with the same id and content "
            "gets the first one's answer; the work is done once.",
        ),
    ] = None,
) -> str | None:
    """The request's key, or None; raises InvalidRequest unless it is printable."""
    if key is not None and not (key.isprintable() and key.strip()):
        raise InvalidRequest(f"{HEADER} has characters that cannot be printed", field=HEADER)
    return key


KeyOf = Annotated[str | None, Depends(get_key)]


def make_fingerprint(request: Request, fields: Iterable[tuple[str, str]], parts: Iterable[bytes]) -> str:
    """SHA-256 over query, fields and parts of a body; the order of query and fields does not count."""
    digest = hashlib.sha256()

    def add(kind: bytes, *values: bytes) -> None:
        digest.update(kind)
        for value in values:
            digest.update(len(value).to_bytes(8, "big"))
            digest.update(value)

    for name, text in sorted(request.query_params.multi_items()):
        add(b"q", name.encode("utf-8", "replace"), text.encode("utf-8", "replace"))
    for name, text in sorted(fields):
        add(b"f", name.encode("utf-8", "replace"), text.encode("utf-8", "replace"))
    for part in parts:
        add(b"p", part)
    return digest.hexdigest()


def write_answer(answer: StoredAnswer, *, replayed: bool = False) -> Response:
    """An answer as it goes out, new or kept."""
    headers = {REPLAYED_HEADER: "true"} if replayed else None
    return Response(answer.body, answer.status, media_type="application/json", headers=headers)


async def answer_once(
    request: Request,
    services: Services,
    identity: Identity,
    event: Event,
    key: str | None,
    fingerprint: Callable[[], str],
    person_id: str | None,
    deadline: Deadline,
    work: Callable[[str | None], Awaitable[StoredAnswer]],
) -> Response:
    """Do `work`, or answer what it was answered when the same request came before.

    Args:
        fingerprint: of all that is asked; called only when there is a key.
        person_id: whom the request is about, if it says.
        work: is given the id of the person to work on: `person_id`, else with a key one that is the same for
            every retry, else None. It must double nothing when it is done again for the same person.

    Raises:
        RequestInProgress: the same request is being worked on.
        IdempotencyKeyReused: the key came with other content.
        RollcallError: what `work` raises; the key is free again then.
    """
    if key is None:
        return write_answer(await work(person_id))
    requests = services.registry.requests
    asked = KeyedRequest(
        id=_name_request(request, identity, _scope(event, person_id), key),
        fingerprint=await asyncio.to_thread(fingerprint),  # of up to `load.max_body_bytes`
        event_key=event.key,
        person_id=person_id,
        lifetime_s=services.settings.enrolment.idempotency_s,
    )
    claim = await requests.claim(asked, deadline.remaining_s() + CLAIM_MARGIN_S)
    if isinstance(claim, StoredAnswer):
        return write_answer(claim, replayed=True)
    try:
        answer = await work(claim.person_id)
    except BaseException:
        await asyncio.shield(_try(requests.release(claim), claim))
        raise
    await asyncio.shield(_try(requests.answer(claim, answer.status, answer.body), claim))
    return write_answer(answer)


async def create_event_once(
    request: Request,
    services: Services,
    identity: Identity,
    key: str,
    fingerprint: str,
    create: Callable[[Connection], Event],
    render: Callable[[Event], StoredAnswer],
) -> Response:
    """Create an event, or answer what the same request was answered before.

    Args:
        create: the registry's unit of work.
        render: the answer that shows the event.

    Raises:
        RequestInProgress, IdempotencyKeyReused: as `answer_once`.
        RollcallError: what `create` raises; the key is free again then.
    """
    asked = KeyedRequest(
        id=_name_request(request, identity, "", key),
        fingerprint=fingerprint,
        event_key=None,
        person_id=None,
        lifetime_s=services.settings.enrolment.idempotency_s,
    )
    answer, replayed = await services.registry.requests.create_event_once(asked, create, render)
    return write_answer(answer, replayed=replayed)


def _scope(event: Event, person_id: str | None) -> str:
    """What a key is good for: the event, and where its vectors are stored.

    An answer from before a move to another pack must not stand in for an enrolment into that pack. Where the
    request leaves the person's id to us it must all the same, or a retry would make a second person.
    """
    return event.key if person_id is None else ",".join(place.partition for place in event.places)


def _name_request(request: Request, identity: Identity, event_key: str, key: str) -> str:
    parts = (identity.kind, identity.id, event_key, request.method, request.url.path, key)
    return hashlib.sha256("".join(f"{len(part)}:{part};" for part in parts).encode()).hexdigest()


async def _try(work: Awaitable[None], claim: Claim) -> None:
    """The claim ends by itself, and whoever takes over finds the work done: no reason to fail a request."""
    try:
        await work
    except RollcallError as error:
        logger.warning("the claim on request %s stays until %s: %s", claim.id[:12], claim.until, error.code)
