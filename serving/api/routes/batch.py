"""Recognition of many pictures at once, each of which fails or succeeds alone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from serving.accounts.identities import Permission
from serving.api.access import AllowedAtEvent
from serving.api.bodies import read_pictures
from serving.api.deadlines import DeadlineOf
from serving.api.envelope import find_request_id, problems
from serving.api.face_answers import view_failure, write_answer
from serving.api.judgements import Judgement, make_judge, note_judgements
from serving.api.liveness import decide_liveness
from serving.api.openapi import PICTURE_ERRORS
from serving.api.options import NUMBERS, RecognitionOptions, merge_options, read_query
from serving.api.probes import Probe, find_probes, gather_apart
from serving.api.recognition_bodies import BATCH_EXTRA
from serving.api.routes.recognition import EVENT_ERRORS, answer_faces, search_probes
from serving.api.schemas.recognition import BatchRecognition, FailedPicture, RecognisedPicture
from serving.api.services import ServicesOf
from serving.api.stage_clock import StageClock
from serving.errors import RollcallError
from serving.graph.messages import Decision
from serving.registry.records import Event
from serving.vision.pipeline import Face, PictureFaces

router = APIRouter(prefix="/v1/events/{event}", tags=["recognition"])


@router.post(
    "/recognise/batch",
    response_model=BatchRecognition,
    summary="Recognise the faces in many pictures",
    responses=problems(*PICTURE_ERRORS, *EVENT_ERRORS),
    openapi_extra=BATCH_EXTRA,
)
async def recognise_batch(
    request: Request,
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.recognise))],
    deadline: DeadlineOf,
) -> Response:
    """As `recognise`, for several pictures: `results` holds, in their order, the faces or the problem.

    The answer is 200 also when pictures failed; look at `status`. The settings bound the pictures of one
    request.
    """
    clock = StageClock()
    query = read_query(request, RecognitionOptions)
    clocks: list[StageClock] = []
    with services.gate.admit() as admission:
        body = await read_pictures(request, services, admission, deadline, apart=True, numbers=NUMBERS)
        options = merge_options(query, body.fields)
        judge = make_judge(request, services, event, options.policy, options.top_k)
        check = decide_liveness(services, event, options.liveness)
        clock.mark("read")

        async def look(place: int, picture: bytes) -> tuple[PictureFaces, list[Probe], list[Decision | None]]:
            if place in body.faults:
                raise body.faults[place]
            own = StageClock()
            clocks.append(own)
            found, probes = await find_probes(
                judge.line, picture, options.faces, options.quality, deadline, own, check
            )
            return found, probes, await search_probes(judge, probes, deadline, own)

        outcomes = await gather_apart(look(*each) for each in enumerate(body.pictures))
        clock.take_slowest(clocks)
        answered = [outcome for outcome in outcomes if not isinstance(outcome, RollcallError)]
        judgements = await judge.judge(services, [each for _, _, decisions in answered for each in decisions])
        clock.mark("names")
    results: list[RecognisedPicture | FailedPicture] = []
    of_pictures: list[list[Judgement]] = []
    of_faces: list[list[Face]] = []
    rest = iter(judgements)
    for outcome in outcomes:
        if isinstance(outcome, RollcallError):
            results.append(view_failure(outcome))
            continue
        found, probes, decisions = outcome
        own_judgements = [next(rest) for _ in decisions]
        of_pictures.append(own_judgements)
        of_faces.append([probe.face for probe in probes])
        results.append(
            RecognisedPicture(
                status="ok",
                width=found.width,
                height=found.height,
                faces=answer_faces(probes, own_judgements, sees_score=judge.sees_people),
            )
        )
    note_judgements(request, services, event, of_pictures, check.count_spoofs(of_faces))
    timings, headers = clock.finish()
    answer = BatchRecognition(
        request_id=find_request_id(request),
        event_id=event.id,
        pack_id=judge.line.pack.id,
        threshold=judge.threshold,
        results=results,
        timings=timings,
    )
    return write_answer(answer, headers)
