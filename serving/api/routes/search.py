"""Search: who of the event ready vectors are, for callers that embed by themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from serving.accounts.identities import Permission
from serving.api.access import AllowedAtEvent
from serving.api.bodies import read_body
from serving.api.deadlines import DeadlineOf
from serving.api.envelope import find_request_id, problems
from serving.api.face_answers import write_answer
from serving.api.json_body import MAX_BYTES, parse_json
from serving.api.json_size import MAX_PICTURE_VALUES
from serving.api.judgements import make_judge, note_judgements
from serving.api.policies import Policy, Strictness
from serving.api.recognition_bodies import VECTOR_SEARCH_EXTRA
from serving.api.routes.recognition import EVENT_ERRORS
from serving.api.schemas.recognition import MAX_VECTORS, VectorSearch, VectorVerdicts, Verdict
from serving.api.services import ServicesOf
from serving.api.stage_clock import StageClock
from serving.api.vectors import check_vector_pack, normalise_vectors
from serving.errors import BodyTooLarge, InvalidRequest
from serving.registry.records import Event

MAX_NUMBER_CHARS = 32
"""A float64 with all its digits, its comma and a blank."""

router = APIRouter(prefix="/v1/events/{event}", tags=["recognition"])


@router.post(
    "/search",
    response_model=VectorVerdicts,
    summary="Search by ready vectors",
    responses=problems(*EVENT_ERRORS, BodyTooLarge, InvalidRequest),
    openapi_extra=VECTOR_SEARCH_EXTRA,
)
async def search(
    request: Request,
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.recognise))],
    deadline: DeadlineOf,
) -> Response:
    """Who each vector is, among the people enrolled at this event, as `recognise` answers for faces.

    The vectors must come from the event's own model pack, for example from `POST /v1/embed`; at most 100 of
    them, of any length.
    """
    clock = StageClock()
    pack = services.line_of(event).pack
    with services.gate.admit() as admission:
        most = MAX_BYTES + MAX_VECTORS * pack.dimension * MAX_NUMBER_CHARS
        raw = await read_body(request, admission, deadline, most)
        sent = parse_json(raw, VectorSearch, MAX_PICTURE_VALUES + MAX_VECTORS * pack.dimension)
        check_vector_pack(sent.pack_id, pack)
        vectors = normalise_vectors(sent.vectors, pack.dimension)
        strictness = None if sent.strictness is None else Strictness(sent.strictness)
        policy = Policy(sent.threshold, sent.false_match_rate, strictness)
        judge = make_judge(request, services, event, policy, sent.top_k)
        clock.mark("read")
        decisions = await judge.search(vectors, deadline)
        clock.mark("match")
        judgements = await judge.judge(services, decisions)
        clock.mark("names")
    note_judgements(request, services, event, [judgements])
    timings, headers = clock.finish()
    answer = VectorVerdicts(
        request_id=find_request_id(request),
        event_id=event.id,
        pack_id=pack.id,
        threshold=judge.threshold,
        results=[Verdict(**judgement.fields) for judgement in judgements],
        timings=timings,
    )
    return write_answer(answer, headers)
