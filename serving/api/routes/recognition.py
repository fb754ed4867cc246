"""Recognition: the faces of a picture, and who of the event they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Request, Response

from serving.accounts.identities import Permission
from serving.api.access import AllowedAtEvent
from serving.api.bodies import read_pictures
from serving.api.deadlines import Deadline, DeadlineOf
from serving.api.envelope import find_request_id, problems
from serving.api.face_answers import face_fields, view_faults, write_answer
from serving.api.judgements import Judge, Judgement, make_judge, note_judgements
from serving.api.liveness import decide_liveness
from serving.api.openapi import PICTURE_ERRORS
from serving.api.options import NUMBERS, RecognitionOptions, merge_options, read_query
from serving.api.probes import Probe, find_probes
from serving.api.recognition_bodies import RECOGNITION_EXTRA
from serving.api.schemas.recognition import RecognisedFace, Recognition
from serving.api.services import ServicesOf
from serving.api.stage_clock import StageClock
from serving.errors import (
    EventClosed,
    FalseMatchRateNotSupported,
    InvalidRequest,
    LivenessNotConfigured,
    PackMismatch,
    PolicyNotAllowed,
    UnknownEvent,
)
from serving.graph.messages import Decision
from serving.registry.records import Event

EVENT_ERRORS = (
    UnknownEvent,
    EventClosed,
    PackMismatch,
    PolicyNotAllowed,
    FalseMatchRateNotSupported,
    LivenessNotConfigured,
)
"""What any route that recognises at an event may answer."""

router = APIRouter(prefix="/v1/events/{event}", tags=["recognition"])


@router.post(
    "/recognise",
    response_model=Recognition,
    summary="Recognise the faces in a picture",
    responses=problems(*PICTURE_ERRORS, *EVENT_ERRORS),
    openapi_extra=RECOGNITION_EXTRA,
)
async def recognise(
    request: Request,
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.recognise))],
    deadline: DeadlineOf,
) -> Response:
    """Who is in the picture, among the people enrolled at this event, how sure, and `unknown` when nobody is.

    Send the picture as a raw image body, as a multipart form, or as JSON with base64; options in the query,
    or beside it in the form or JSON. A picture without a face is answered with an empty list. `timings` and
    the `Server-Timing` header say where the time went.
    """
    clock = StageClock()
    query = read_query(request, RecognitionOptions)
    with services.gate.admit() as admission:
        body = await read_pictures(request, services, admission, deadline, numbers=NUMBERS)
        if len(body.pictures) != 1:
            raise InvalidRequest("send exactly one picture")
        options = merge_options(query, body.fields)
        judge = make_judge(request, services, event, options.policy, options.top_k)
        check = decide_liveness(services, event, options.liveness)
        clock.mark("read")
        found, probes = await find_probes(
            judge.line, body.pictures[0], options.faces, options.quality, deadline, clock, check
        )
        decisions = await search_probes(judge, probes, deadline, clock)
        judgements = await judge.judge(services, decisions)
        clock.mark("names")
    note_judgements(
        request, services, event, [judgements], check.count_spoofs([[probe.face for probe in probes]])
    )
    timings, headers = clock.finish()
    answer = Recognition(
        request_id=find_request_id(request),
        event_id=event.id,
        pack_id=judge.line.pack.id,
        threshold=judge.threshold,
        width=found.width,
        height=found.height,
        faces=answer_faces(probes, judgements, sees_score=judge.sees_people),
        timings=timings,
    )
    return write_answer(answer, headers)


async def search_probes(
    judge: Judge, probes: Sequence[Probe], deadline: Deadline, clock: StageClock
) -> list[Decision | None]:
    """The matcher's decision for each probe; None for one that was not embedded."""
    vectors = [probe.vector for probe in probes if probe.vector is not None]
    if not vectors:
        return [None] * len(probes)
    decisions = iter(await judge.search(np.stack(vectors), deadline))
    clock.mark("match")
    return [None if probe.vector is None else next(decisions) for probe in probes]


def answer_faces(
    probes: Sequence[Probe], judgements: Sequence[Judgement], *, sees_score: bool = False
) -> list[RecognisedFace]:
    """The faces of one picture and who they are."""
    return [
        RecognisedFace(
            **face_fields(probe.face, sees_score=sees_score),
            **judgement.fields,
            faults=view_faults(probe.faults),
        )
        for probe, judgement in zip(probes, judgements, strict=True)
    ]
