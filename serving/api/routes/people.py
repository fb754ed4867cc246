"""People of an event: enrol, list, look at, change, erase."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from serving.accounts.identities import Permission
from serving.api.access import AllowedAtEvent, IdentityOf, PersonId
from serving.api.deadlines import DeadlineOf
from serving.api.enrolment_bodies import CHANGE_BODY, ENROLMENT_BODY
from serving.api.enrolment_requests import ENROLMENT_ERRORS, answer_enrolment, view_person
from serving.api.envelope import problems
from serving.api.erasure import erase_person
from serving.api.idempotency import CREATED, IDEMPOTENCY_ERRORS, KeyOf
from serving.api.json_body import read_json
from serving.api.openapi import PICTURE_ERRORS
from serving.api.paging import Cursor, Limit
from serving.api.schemas.people import (
    Enrolment,
    PeoplePage,
    PersonChange,
    PersonFields,
    PersonQuery,
    PersonSummary,
    PersonView,
)
from serving.api.services import ServicesOf
from serving.errors import BodyTooLarge, ConsentRequired, PackMismatch, UnknownEvent, UnknownPerson
from serving.registry.identifiers import MAX_NAME_CHARS
from serving.registry.records import Event

router = APIRouter(prefix="/v1/events/{event}/people", tags=["people"])


@router.post(
    "",
    status_code=201,
    response_model=Enrolment,
    summary="Enrol a person",
    responses={**problems(*PICTURE_ERRORS, *ENROLMENT_ERRORS, *IDEMPOTENCY_ERRORS), **CREATED},
    openapi_extra={"requestBody": ENROLMENT_BODY},
)
async def enrol(
    request: Request,
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.enrol))],
    identity: IdentityOf,
    deadline: DeadlineOf,
    key: KeyOf,
    query: Annotated[PersonQuery, Query()],
) -> Response:
    """One or more pictures of one person, one face of each; all are stored or none.

    Send them as a multipart form, as JSON with base64, or as a raw image body. Options go in the query, or
    beside the pictures in the form or JSON; `metadata` only there. Enrolling an id that exists adds to its
    faces; the same picture twice is one face. A face that matches another person of the event is refused,
    unless `on_duplicate=allow`. The pictures themselves are not kept.
    """
    fields = PersonFields.model_construct(**query.model_dump(exclude_unset=True))
    return await answer_enrolment(request, services, identity, event, key, fields, deadline)


@router.get("", summary="List people", responses=problems(UnknownEvent))
async def list_people(
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.read_people, when_closed=True, any_pack=True))],
    cursor: Cursor = None,
    limit: Limit = 100,
    name: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=MAX_NAME_CHARS,
            description="Only people whose names contain this, in upper or lower case.",
        ),
    ] = None,
) -> PeoplePage:
    """The people of an event, by id.

    With `name`, a page of a large event may hold few people or none and yet have a `next_cursor`: go on until
    that is null.
    """
    page = await services.registry.list_people(event.key, cursor, limit, name)
    people = [
        PersonSummary(
            id=person.id,
            name=person.name,
            metadata=dict(person.metadata or {}),
            consent_reference=person.consent_reference,
            faces=person.faces,
            created_at=person.created_at,
            updated_at=person.updated_at,
        )
        for person in page.items
    ]
    return PeoplePage(people=people, next_cursor=page.next)


@router.get("/{person}", summary="Look at a person", responses=problems(UnknownEvent, UnknownPerson))
async def get_person(
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.read_people, when_closed=True, any_pack=True))],
    person: PersonId,
) -> PersonView:
    """A person and the ids of their faces."""
    return view_person(await services.registry.get_person(event.key, person))


@router.patch(
    "/{person}",
    summary="Change a person",
    responses=problems(UnknownEvent, PackMismatch, UnknownPerson, ConsentRequired, BodyTooLarge),
    openapi_extra={"requestBody": CHANGE_BODY},
)
async def change_person(
    request: Request,
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.enrol, when_closed=True))],
    identity: IdentityOf,
    deadline: DeadlineOf,
    person: PersonId,
) -> PersonView:
    """A merge patch (RFC 7396) of `name`, `metadata` and `consent_reference`.

    What is left out stays, null removes, members of `metadata` are merged. Answers the person as changed.
    """
    identity.require(Permission.read_people)  # the answer shows what there was
    change = await read_json(request, PersonChange, deadline.remaining_s())
    changes = change.model_dump(include=change.model_fields_set)
    request.state.audit_details = {"changed": sorted(changes)}
    return view_person(await services.registry.update_person(event.key, person, changes))


@router.delete(
    "/{person}",
    status_code=204,
    summary="Erase a person",
    responses=problems(UnknownEvent, UnknownPerson),
)
async def delete_person(
    services: ServicesOf,
    event: Annotated[
        Event, Depends(AllowedAtEvent(Permission.erase_people, when_closed=True, any_pack=True))
    ],
    deadline: DeadlineOf,
    person: PersonId,
) -> Response:
    """Erases the person and every face; they cannot be found from the moment this answers."""
    if not await erase_person(services, event.key, person, deadline):
        raise UnknownPerson
    return Response(status_code=204)
