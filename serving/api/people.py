"""People of an event: enrol, list, look at, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from serving.accounts.identities import Permission
from serving.api.access import AllowedAtEvent, PersonId
from serving.api.bodies import read_pictures
from serving.api.deadlines import DeadlineOf
from serving.api.enrolment import enrol_person
from serving.api.envelope import find_request_id, problems
from serving.api.erasure import erase_person
from serving.api.events import Cursor, Limit
from serving.api.openapi import ENROLMENT_BODY, PICTURE_ERRORS
from serving.api.schemas.base import Box
from serving.api.schemas.people import EnrolledFace, Enrolment, PeoplePage, PersonSummary, PersonView
from serving.api.services import ServicesOf
from serving.errors import (
    ErasedMeanwhile,
    InvalidRequest,
    NoFace,
    PackMismatch,
    SeveralFaces,
    UnknownEvent,
    UnknownPerson,
)
from serving.registry.records import Event, Person

router = APIRouter(prefix="/v1/events/{event}/people", tags=["people"])

FIELDS = ("person_id", "name")


@router.post(
    "",
    status_code=201,
    summary="Enrol a person",
    responses=problems(*PICTURE_ERRORS, NoFace, SeveralFaces, UnknownEvent, PackMismatch, ErasedMeanwhile),
    openapi_extra={"requestBody": ENROLMENT_BODY},
)
async def enrol(
    request: Request,
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.enrol))],
    deadline: DeadlineOf,
    person_id: Annotated[
        str | None, Query(description="Your own id for the person; one is made when it is left out.")
    ] = None,
    name: Annotated[str | None, Query(description="For people to read.")] = None,
) -> Enrolment:
    """One or more pictures of one person, exactly one face in each; all are stored or none.

    Send them as a multipart form, as JSON with base64, or as a raw image body. `person_id` and `name` go in
    the query, or beside the pictures in the form or JSON. Enrolling an id that exists adds to its faces; the
    same picture twice is one face. The pictures themselves are not kept.
    """
    with services.gate.admit() as admission:
        body = await read_pictures(request, services, admission, deadline)
        person_id, name = _merge_fields({"person_id": person_id, "name": name}, body.fields)
        person, faces = await enrol_person(services, event, person_id, name, body.pictures, deadline)
    return Enrolment(
        request_id=find_request_id(request),
        event_id=event.id,
        person=_view(person),
        faces=[
            EnrolledFace(face_id=face_id, box=view_box(face.box), detection_score=face.detection_score)
            for face_id, face in faces
        ],
    )


@router.get("", summary="List people", responses=problems(UnknownEvent, PackMismatch))
async def list_people(
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.read_people, when_closed=True))],
    cursor: Cursor = None,
    limit: Limit = 100,
) -> PeoplePage:
    """The people of an event, by id."""
    page = await services.registry.list_people(event.key, cursor, limit)
    people = [
        PersonSummary(id=person.id, name=person.name, faces=person.faces, created_at=person.created_at)
        for person in page.items
    ]
    return PeoplePage(people=people, next_cursor=page.next)


@router.get(
    "/{person}", summary="Look at a person", responses=problems(UnknownEvent, PackMismatch, UnknownPerson)
)
async def get_person(
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.read_people, when_closed=True))],
    person: PersonId,
) -> PersonView:
    """A person and the ids of their faces."""
    return _view(await services.registry.get_person(event.key, person))


@router.delete(
    "/{person}",
    status_code=204,
    summary="Erase a person",
    responses=problems(UnknownEvent, PackMismatch, UnknownPerson),
)
async def delete_person(
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.erase_people, when_closed=True))],
    deadline: DeadlineOf,
    person: PersonId,
) -> Response:
    """Erases the person and every face; they cannot be found from the moment this answers."""
    if not await erase_person(services, event.key, person, deadline):
        raise UnknownPerson
    return Response(status_code=204)


def view_box(box: tuple[float, float, float, float]) -> Box:
    """A box (x, y, width, height), to a tenth of a pixel."""
    x, y, width, height = (round(side, 1) for side in box)
    return Box(x=x, y=y, width=width, height=height)


def _view(person: Person) -> PersonView:
    return PersonView(
        id=person.id,
        name=person.name,
        face_ids=list(person.face_ids),
        created_at=person.created_at,
        updated_at=person.updated_at,
    )


def _merge_fields(query: Mapping[str, str | None], body: Mapping[str, str]) -> tuple[Any, ...]:
    """person_id and name from the query or the body; both, when they say the same."""
    for key in body:
        if key not in FIELDS:
            raise InvalidRequest(f"unknown field {key[:80]!r}; the fields are {', '.join(FIELDS)}")
    merged = []
    for key in FIELDS:
        values = {value for value in (query[key], body.get(key)) if value is not None}
        if len(values) > 1:
            raise InvalidRequest(f"{key} is given twice, with different values")
        if "" in values:
            raise InvalidRequest(f"{key} is empty; leave it out to have none", field=key)
        merged.append(values.pop() if values else None)
    return tuple(merged)
