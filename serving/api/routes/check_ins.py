"""Check-in: a camera at the door sees who comes, and who has come is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timezone
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime, Field

from serving.accounts.identities import Permission
from serving.api.access import AllowedAtEvent, PersonId
from serving.api.bodies import read_pictures
from serving.api.deadlines import DeadlineOf
from serving.api.envelope import find_request_id, problems
from serving.api.face_answers import face_fields, view_faults, write_answer
from serving.api.judgements import Judgement, make_judge, note_judgements
from serving.api.liveness import decide_liveness
from serving.api.openapi import PICTURE_ERRORS
from serving.api.options import NUMBERS, FaceChoice, PolicyOptions, merge_options
from serving.api.paging import Cursor, Limit
from serving.api.probes import Probe, find_probes
from serving.api.recognition_bodies import options_body
from serving.api.routes.recognition import EVENT_ERRORS, search_probes
from serving.api.schemas.check_ins import (
    ArrivalPage,
    ArrivalView,
    AttendanceView,
    Attendee,
    CheckedInFace,
    CheckIn,
)
from serving.api.services import ServicesOf
from serving.api.stage_clock import StageClock
from serving.database.metadata import now_utc
from serving.errors import InvalidRequest, PackMismatch, UnknownEvent, UnknownPerson
from serving.registry.attendance import MAX_PLACE_CHARS, check_place
from serving.registry.check_ins import Arrival, Sighting
from serving.registry.records import Event
from serving.vision.liveness_modes import LivenessMode
from serving.vision.quality_gates import QualityLevel

router = APIRouter(prefix="/v1/events/{event}/check-ins")

RECOGNITION, LISTS = "recognition", "check-ins"

ReadableEvent = Annotated[Event, Depends(AllowedAtEvent(Permission.read_people, when_closed=True))]


class CheckInOptions(PolicyOptions):
    """Of a check-in."""

    faces: FaceChoice = Field(
        FaceChoice.largest,
        description="The one with the largest box, who is the nearest; all faces; or the one nearest the "
        "centre.",
    )
    place: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_PLACE_CHARS,
        description="Where the camera stands, such as `north door`.",
    )
    quality: QualityLevel = Field(
        QualityLevel.off, description="Refuse faces that fall short of this level, instead of comparing them."
    )
    liveness: LivenessMode | None = Field(
        None, description="Check faces for being live at least so strictly; else as the event says."
    )


@router.post(
    "",
    tags=[RECOGNITION],
    response_model=CheckIn,
    summary="Check in whoever is at the door",
    responses=problems(*PICTURE_ERRORS, *EVENT_ERRORS),
    openapi_extra={
        "requestBody": options_body(
            "One picture: JPEG, PNG or WebP.", CheckInOptions, {"place": "north door", "strictness": "strict"}
        )
    },
)
async def check_in(
    request: Request,
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.recognise))],
    deadline: DeadlineOf,
    query: Annotated[CheckInOptions, Query()],
) -> Response:
    """Who is before the camera; whoever is a match has arrived, and is in the list when this answers.

    Send the picture as for recognition. A request that is sent again does no harm: a person arrives once, and
    comes again at the earliest ten seconds after they were last seen.
    """
    clock = StageClock()
    with services.gate.admit() as admission:
        body = await read_pictures(request, services, admission, deadline, numbers=NUMBERS)
        if len(body.pictures) != 1:
            raise InvalidRequest("send exactly one picture")
        options = merge_options(query, body.fields)
        check_place(options.place)
        judge = make_judge(request, services, event, options.policy, 1)
        check = decide_liveness(services, event, options.liveness)
        clock.mark("read")
        found, probes = await find_probes(
            judge.line, body.pictures[0], options.faces, options.quality, deadline, clock, check
        )
        judgements = await judge.judge(services, await search_probes(judge, probes, deadline, clock))
        deadline.remaining_s()  # whoever has given up on the answer has not arrived
        arrivals = await services.check_ins.record(event.key, find_sightings(judgements, options.place))
        clock.mark("names")
    note_judgements(
        request, services, event, [judgements], check.count_spoofs([[probe.face for probe in probes]])
    )
    request.state.audit_details["arrived"] = sum(arrival.is_new for arrival in arrivals.values())
    timings, headers = clock.finish()
    answer = CheckIn.model_construct(
        request_id=find_request_id(request),
        event_id=event.id,
        threshold=judge.threshold,
        width=found.width,
        height=found.height,
        at=now_utc(),
        faces=answer_faces(probes, judgements, arrivals, sees_score=judge.sees_people),
        timings=timings,
    )
    return write_answer(answer, headers)


@router.get("", tags=[LISTS], summary="List who has arrived", responses=problems(UnknownEvent, PackMismatch))
async def list_check_ins(
    services: ServicesOf,
    event: ReadableEvent,
    cursor: Cursor = None,
    limit: Limit = 100,
    since: Annotated[
        AwareDatetime | None, Query(description="Only those who arrived at this moment or later.")
    ] = None,
) -> ArrivalPage:
    """The people who have arrived, the latest first."""
    try:
        since = None if since is None else since.astimezone(timezone.utc)
    except OverflowError:
        raise InvalidRequest("since is no moment in UTC", field="since") from None
    page = await services.check_ins.page(event.key, cursor, limit, since)
    return ArrivalPage(check_ins=[_view(arrival) for arrival in page.items], next_cursor=page.next)


@router.get(
    "/summary",
    tags=[LISTS],
    summary="Count who has arrived",
    responses=problems(UnknownEvent, PackMismatch),
)
async def get_attendance(services: ServicesOf, event: ReadableEvent) -> AttendanceView:
    """How many people are enrolled, how many of them have arrived, and how many in the last hour."""
    counted = await services.check_ins.count(event.key)
    return AttendanceView(
        enrolled=counted.enrolled, arrived=counted.arrived, arrived_last_hour=counted.arrived_last_hour
    )


@router.delete(
    "/{person}",
    status_code=204,
    tags=[LISTS],
    summary="Undo a check-in",
    responses=problems(UnknownEvent, PackMismatch, UnknownPerson),
)
async def undo_check_in(
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.enrol, when_closed=True))],
    person: PersonId,
) -> Response:
    """As if the person had never been seen; of one who has not arrived nothing changes."""
    await services.check_ins.remove(event.key, person)
    return Response(status_code=204)


def find_sightings(judgements: Sequence[Judgement], place: str | None) -> dict[str, Sighting]:
    """Who was recognised; of somebody who is in the picture twice the surer."""
    seen: dict[str, Sighting] = {}
    for judgement in judgements:
        id, cosine = judgement.person_id, judgement.best_cosine
        if id is not None and cosine is not None and (id not in seen or seen[id].cosine < cosine):
            seen[id] = Sighting(cosine, place)
    return seen


def answer_faces(
    probes: Sequence[Probe],
    judgements: Sequence[Judgement],
    arrivals: Mapping[str, Arrival],
    *,
    sees_score: bool = False,
) -> list[CheckedInFace]:
    """The faces of the picture; who was erased meanwhile is unknown."""
    return [
        CheckedInFace.model_construct(
            **face_fields(probe.face, sees_score=sees_score),
            **_who(judgement, arrivals),
            faults=view_faults(probe.faults),
        )
        for probe, judgement in zip(probes, judgements, strict=True)
    ]


def _who(judgement: Judgement, arrivals: Mapping[str, Arrival]) -> dict[str, Any]:
    arrival = None if judgement.person_id is None else arrivals.get(judgement.person_id)
    gone = judgement.person_id is not None and arrival is None
    nearest = None if gone else next(iter(judgement.fields["candidates"]), None)
    return {
        "outcome": "unknown" if gone else judgement.outcome,
        "person": arrival and Attendee.model_construct(person_id=arrival.person_id, name=arrival.name),
        "cosine": nearest and nearest.cosine,
        "false_match_rate": nearest and nearest.false_match_rate,
        "band": nearest and nearest.band,
        "arrived": arrival and ("now" if arrival.is_new else "before"),
        "first_at": arrival and arrival.first_at,
        "times": arrival and arrival.times,
    }


def _view(arrival: Arrival) -> ArrivalView:
    return ArrivalView(
        person_id=arrival.person_id,
        name=arrival.name,
        first_at=arrival.first_at,
        last_at=arrival.last_at,
        times=arrival.times,
        best_cosine=arrival.best_cosine,
        place=arrival.place,
    )
