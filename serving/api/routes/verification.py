"""One person in one or several pictures: are they who they claim to be, and who are they?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Request, Response

from serving.accounts.identities import Permission
from serving.api.access import AllowedAtEvent, PersonId
from serving.api.bodies import PictureBody, read_pictures
from serving.api.deadlines import Deadline, DeadlineOf
from serving.api.envelope import find_request_id, problems
from serving.api.face_answers import view_face, view_failure, write_answer
from serving.api.judgements import Judge, make_judge, note_judgements
from serving.api.liveness import LivenessCheck, decide_liveness
from serving.api.openapi import PICTURE_ERRORS
from serving.api.options import NUMBERS, IdentificationOptions, VerificationOptions, merge_options, read_query
from serving.api.probes import Fusion, Vectors, embed_faces, find_single_faces, fuse
from serving.api.recognition_bodies import IDENTIFICATION_EXTRA, VERIFICATION_EXTRA
from serving.api.routes.recognition import EVENT_ERRORS
from serving.api.schemas.recognition import (
    ComparedPicture,
    FailedPicture,
    Identification,
    UsedPicture,
    Verification,
)
from serving.api.services import Services, ServicesOf
from serving.api.stage_clock import StageClock
from serving.errors import (
    NoFace,
    PresentationAttack,
    QualityTooLow,
    RollcallError,
    SeveralFaces,
    UnknownPerson,
)
from serving.graph.lines import ServedPack
from serving.graph.messages import Candidate
from serving.registry.identifiers import is_person_id
from serving.registry.records import Event
from serving.telemetry import recording
from serving.vision.pipeline import Face

SINGLE_FACE_ERRORS = (NoFace, SeveralFaces, QualityTooLow, PresentationAttack)

router = APIRouter(prefix="/v1/events/{event}", tags=["recognition"])


@router.post(
    "/identify",
    response_model=Identification,
    summary="Identify one person by several pictures",
    responses=problems(*PICTURE_ERRORS, *EVENT_ERRORS, *SINGLE_FACE_ERRORS),
    openapi_extra=IDENTIFICATION_EXTRA,
)
async def identify(
    request: Request,
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.recognise))],
    deadline: DeadlineOf,
) -> Response:
    """Who the one person in all the pictures is: one decision, on the mean cosine of the pictures.

    A picture that cannot be used is left out and its problem told, unless none is left.
    """
    clock = StageClock()
    query = read_query(request, IdentificationOptions)
    with services.gate.admit() as admission:
        body = await read_pictures(request, services, admission, deadline, apart=True, numbers=NUMBERS)
        options = merge_options(query, body.fields)
        judge = make_judge(request, services, event, options.policy, options.top_k)
        check = decide_liveness(services, event, options.liveness)
        clock.mark("read")
        outcomes, vectors = await _embed_pictures(judge.line, body, options, deadline, clock, check)
        fusion = fuse(vectors)
        found = await judge.search(fusion.vector[np.newaxis], deadline)
        clock.mark("match")
        decision = fusion.decide(found[0], judge.threshold, judge.line.calibration)
        judgements = await judge.judge(services, [decision])
        clock.mark("names")
    note_judgements(request, services, event, [judgements], _count_spoofs(check, outcomes))
    timings, headers = clock.finish()
    answer = Identification(
        request_id=find_request_id(request),
        event_id=event.id,
        pack_id=judge.line.pack.id,
        threshold=judge.threshold,
        **judgements[0].fields,
        pictures=[
            view_failure(outcome)
            if isinstance(outcome, RollcallError)
            else UsedPicture(status="ok", face=view_face(outcome, sees_score=judge.sees_people))
            for outcome in outcomes
        ],
        timings=timings,
    )
    return write_answer(answer, headers)


@router.post(
    "/people/{person}/verify",
    response_model=Verification,
    summary="Verify that it is this person",
    responses=problems(*PICTURE_ERRORS, *EVENT_ERRORS, *SINGLE_FACE_ERRORS, UnknownPerson),
    openapi_extra=VERIFICATION_EXTRA,
)
async def verify(
    request: Request,
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.recognise))],
    deadline: DeadlineOf,
    person: PersonId,
) -> Response:
    """Whether the one person in the pictures is the one they claim to be; nobody else is looked at.

    Each picture is compared with all faces of the person. With several pictures the mean of their cosines
    decides. A picture that cannot be used is left out and its problem told, unless none is left.
    """
    clock = StageClock()
    query = read_query(request, VerificationOptions)
    with services.gate.admit() as admission:
        await _check_person(services, event, person)
        body = await read_pictures(request, services, admission, deadline, apart=True, numbers=NUMBERS)
        options = merge_options(query, body.fields)
        judge = make_judge(request, services, event, options.policy, 1)
        check = decide_liveness(services, event, options.liveness)
        clock.mark("read")
        outcomes, vectors = await _embed_pictures(judge.line, body, options, deadline, clock, check)
        fusion = fuse(vectors)
        together, single = await _compare(judge, person, fusion, vectors, deadline)
        clock.mark("match")
        await _check_person(services, event, person)  # erased since, nobody is verified
        clock.mark("names")
    verified = together is not None and together.cosine >= judge.threshold
    shown = together if verified or judge.sees_people else None
    request.state.audit_details = {"pictures": len(outcomes), "verified": verified}
    recording.note_verification(judge.line.pack.id, "verified" if verified else "refused")
    timings, headers = clock.finish()
    answer = Verification(
        request_id=find_request_id(request),
        event_id=event.id,
        pack_id=judge.line.pack.id,
        person_id=person,
        verified=verified,
        threshold=judge.threshold,
        cosine=None if shown is None else shown.cosine,
        false_match_rate=None if shown is None else shown.false_match_rate,
        band=None if shown is None else judge.line.calibration.band_of(shown.cosine),
        face_id=None if shown is None else shown.face_id,
        pictures=_view_pictures(judge, outcomes, single),
        timings=timings,
    )
    return write_answer(answer, headers)


async def _check_person(services: Services, event: Event, person: str) -> None:
    if not is_person_id(person) or not await services.registry.names_of(event.key, [person]):
        raise UnknownPerson


async def _embed_pictures(
    line: ServedPack,
    body: PictureBody,
    options: VerificationOptions,
    deadline: Deadline,
    clock: StageClock,
    check: LivenessCheck,
) -> tuple[list[Face | RollcallError], Vectors]:
    """The face of each picture or its error, and the vectors of the faces."""
    outcomes = await find_single_faces(
        line, body.pictures, body.faults, options.face, options.quality, deadline, check
    )
    clock.mark("detect")
    faces = [outcome for outcome in outcomes if not isinstance(outcome, RollcallError)]
    vectors = await embed_faces(line, faces, deadline, check)
    clock.mark("embed")
    return outcomes, vectors


def _count_spoofs(check: LivenessCheck, outcomes: Sequence[Face | RollcallError]) -> list[int] | None:
    """Of the one person in all pictures; pictures refused for it are not among the faces."""
    return check.count_spoofs([[each for each in outcomes if not isinstance(each, RollcallError)]])


async def _compare(
    judge: Judge, person: str, fusion: Fusion, vectors: Vectors, deadline: Deadline
) -> tuple[Candidate | None, list[Candidate | None]]:
    """The person's nearest face by all vectors together, and by each alone; None: the person has no face."""
    probes = vectors if len(vectors) == 1 else np.concatenate([vectors, fusion.vector[np.newaxis]])
    decisions = await judge.line.stages.search(
        judge.event.partition, probes, 1, judge.threshold, deadline.remaining_s(), person
    )
    nearest = [decision.candidates[0] if decision.candidates else None for decision in decisions]
    together = nearest[-1]
    if together is not None:
        together = fusion.to_mean([together], judge.line.calibration)[0]
    return together, nearest[: len(vectors)]


def _view_pictures(
    judge: Judge, outcomes: Sequence[Face | RollcallError], single: Sequence[Candidate | None]
) -> list[ComparedPicture | FailedPicture]:
    views: list[ComparedPicture | FailedPicture] = []
    rest = iter(single)
    for outcome in outcomes:
        if isinstance(outcome, RollcallError):
            views.append(view_failure(outcome))
            continue
        nearest = next(rest)
        if nearest is not None and nearest.cosine < judge.threshold and not judge.sees_people:
            nearest = None
        views.append(
            ComparedPicture(
                status="ok",
                face=view_face(outcome, sees_score=judge.sees_people),
                cosine=None if nearest is None else nearest.cosine,
                false_match_rate=None if nearest is None else nearest.false_match_rate,
                band=None if nearest is None else judge.line.calibration.band_of(nearest.cosine),
            )
        )
    return views
