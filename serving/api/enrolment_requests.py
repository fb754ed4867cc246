"""What the two routes that enrol have in common: reading the request, doing it once, writing the answer."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request, Response

from serving.accounts.identities import Identity, Permission
from serving.api.bodies import read_pictures
from serving.api.deadlines import Deadline
from serving.api.enrolment import EnrolledPicture, NewPictures, enrol_person
from serving.api.envelope import find_request_id
from serving.api.face_answers import face_fields
from serving.api.idempotency import answer_once, make_fingerprint
from serving.api.options import merge_options
from serving.api.schemas.people import EnrolledFace, Enrolment, FaceQuery, PersonFields, PersonView
from serving.api.services import Services
from serving.errors import (
    ConsentRequired,
    DuplicatePerson,
    ErasedMeanwhile,
    EventClosed,
    FalseMatchRateNotSupported,
    InvalidRequest,
    LivenessNotConfigured,
    NoFace,
    PackChanged,
    PackMismatch,
    PolicyNotAllowed,
    PresentationAttack,
    QualityTooLow,
    RollcallError,
    SeveralFaces,
    UnknownEvent,
)
from serving.registry.identifiers import check_person_id
from serving.registry.keyed_requests import StoredAnswer
from serving.registry.person_details import PersonDetails
from serving.registry.records import Event, Person

ENROLMENT_ERRORS: tuple[type[RollcallError], ...] = (
    UnknownEvent,
    EventClosed,
    PackMismatch,
    NoFace,
    SeveralFaces,
    QualityTooLow,
    PresentationAttack,
    LivenessNotConfigured,
    PolicyNotAllowed,
    FalseMatchRateNotSupported,
    ConsentRequired,
    DuplicatePerson,
    ErasedMeanwhile,
    PackChanged,
)
"""What any route that enrols may answer, beside what pictures and keys lead to."""


async def answer_enrolment(
    request: Request,
    services: Services,
    identity: Identity,
    event: Event,
    key: str | None,
    query: FaceQuery,
    deadline: Deadline,
    *,
    of_person: str | None = None,
) -> Response:
    """Enrol the pictures in `request` once for each idempotency key.

    Args:
        query: the options in the query, of the class that the body's are checked against.
        of_person: who must be enrolled already; None: the options say who it is.
    """
    with services.gate.admit() as admission:
        body = await read_pictures(request, services, admission, deadline, objects=("metadata",))
        options = merge_options(query, _read_metadata(body.fields))
        details, person_id = PersonDetails(consent_reference=options.consent_reference), of_person
        if isinstance(options, PersonFields):
            details = PersonDetails(options.name, options.metadata, options.consent_reference)
            person_id = options.person_id
        if person_id is not None:
            check_person_id(person_id)
        details.check()
        sees_people = identity.may(Permission.read_people)

        async def work(person_id: str | None) -> StoredAnswer:
            new = NewPictures(
                body.pictures,
                details,
                person_id,
                must_exist=of_person is not None,
                face=options.face,
                quality=options.quality,
                on_duplicate=options.on_duplicate,
                sees_people=sees_people,
                liveness=options.liveness,
            )
            person, pictures = await enrol_person(services, event, new, deadline)
            shown = view_person(person) if sees_people else _view_given(person, details)
            return _render(find_request_id(request), event, shown, pictures, sees_score=sees_people)

        request.state.audit_details = {"pictures": len(body.pictures)}

        def fingerprint() -> str:
            return make_fingerprint(request, body.fields.items(), body.pictures)

        answer = await answer_once(
            request, services, identity, event, key, fingerprint, person_id, deadline, work
        )
    if of_person is None:
        request.state.audit_person_id = json.loads(bytes(answer.body))["person"]["id"]
    return answer


def view_person(person: Person) -> PersonView:
    """A person, for who may read people."""
    return PersonView(
        id=person.id,
        name=person.name,
        metadata=dict(person.metadata or {}),
        consent_reference=person.consent_reference,
        face_ids=list(person.face_ids),
        created_at=person.created_at,
        updated_at=person.updated_at,
    )


def _view_given(person: Person, details: PersonDetails) -> PersonView:
    """A person, for who may enrol but not read people: no more than that caller just sent."""
    return view_person(person).model_copy(
        update={
            "name": details.name,
            "metadata": dict(details.metadata or {}),
            "consent_reference": details.consent_reference,
        }
    )


def _render(
    request_id: str,
    event: Event,
    person: PersonView,
    pictures: list[EnrolledPicture],
    *,
    sees_score: bool,
) -> StoredAnswer:
    enrolment = Enrolment(
        request_id=request_id,
        event_id=event.id,
        person=person,
        faces=[
            EnrolledFace(
                **face_fields(each.face, sees_score=sees_score),
                face_id=each.face_id,
                cosine_to_person=each.cosine_to_person,
            )
            for each in pictures
        ],
    )
    return StoredAnswer(201, enrolment.model_dump_json())


def _read_metadata(fields: dict[str, str]) -> dict[str, Any]:
    """The fields with the metadata, which came as JSON text, as what that says."""
    if "metadata" not in fields:
        return dict(fields)
    try:
        return {**fields, "metadata": json.loads(fields["metadata"])}
    except (ValueError, RecursionError):
        raise InvalidRequest("the field 'metadata' is not valid JSON", field="metadata") from None
