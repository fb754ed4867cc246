"""Single faces of a person: add, list, erase."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from serving.accounts.identities import Permission
from serving.api.access import AllowedAtEvent, IdentityOf, PersonId
from serving.api.deadlines import DeadlineOf
from serving.api.enrolment_bodies import FACES_BODY
from serving.api.enrolment_requests import ENROLMENT_ERRORS, answer_enrolment
from serving.api.envelope import problems
from serving.api.erasure import erase_face
from serving.api.idempotency import CREATED, IDEMPOTENCY_ERRORS, KeyOf
from serving.api.openapi import PICTURE_ERRORS
from serving.api.paging import Cursor, Limit
from serving.api.schemas.people import Enrolment, FacePage, FaceQuery, StoredFace
from serving.api.services import ServicesOf
from serving.errors import UnknownEvent, UnknownFace, UnknownPerson
from serving.registry.identifiers import is_person_id
from serving.registry.records import Event

router = APIRouter(prefix="/v1/events/{event}/people/{person}/faces", tags=["people"])

FaceId = Annotated[str, Path(description="The face's id.", examples=["0d2bfa4b0c5e5c5f8a6e1d3c9b7a2f10"])]


@router.post(
    "",
    status_code=201,
    response_model=Enrolment,
    summary="Add faces to a person",
    responses={
        **problems(*PICTURE_ERRORS, *ENROLMENT_ERRORS, UnknownPerson, *IDEMPOTENCY_ERRORS),
        **CREATED,
    },
    openapi_extra={"requestBody": FACES_BODY},
)
async def add_faces(
    request: Request,
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.enrol))],
    identity: IdentityOf,
    deadline: DeadlineOf,
    key: KeyOf,
    person: PersonId,
    query: Annotated[FaceQuery, Query()],
) -> Response:
    """More pictures of a person who is enrolled, one face of each; all are stored or none.

    As for the enrolment of a person. `cosine_to_person` says how much each face resembles the others; faces
    that do not resemble them are stored all the same.
    """
    if not is_person_id(person):
        raise UnknownPerson
    return await answer_enrolment(request, services, identity, event, key, query, deadline, of_person=person)


@router.get("", summary="List a person's faces", responses=problems(UnknownEvent, UnknownPerson))
async def list_faces(
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.read_people, when_closed=True, any_pack=True))],
    person: PersonId,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> FacePage:
    """The faces of a person, by id."""
    page = await services.registry.list_faces(event.key, person, cursor, limit)
    faces = [
        StoredFace(face_id=face.id, created_at=face.created_at, detection_score=face.detection_score)
        for face in page.items
    ]
    return FacePage(faces=faces, next_cursor=page.next)


@router.delete(
    "/{face}",
    status_code=204,
    summary="Erase a face",
    responses=problems(UnknownEvent, UnknownPerson, UnknownFace),
)
async def delete_face(
    services: ServicesOf,
    event: Annotated[
        Event, Depends(AllowedAtEvent(Permission.erase_people, when_closed=True, any_pack=True))
    ],
    deadline: DeadlineOf,
    person: PersonId,
    face: FaceId,
) -> Response:
    """Erases one face for good; it cannot be found from the moment this answers.

    The person stays, also when it was the last one.
    """
    await erase_face(services, event.key, person, face, deadline)
    return Response(status_code=204)
