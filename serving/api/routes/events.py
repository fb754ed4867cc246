"""Events: create, list, look at, change, close, delete, and what was counted at them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from serving.accounts.identities import Identity, Permission
from serving.api.access import Allowed, AllowedAtEvent, EventId, IdentityOf
from serving.api.deadlines import DeadlineOf
from serving.api.envelope import problems
from serving.api.idempotency import (
    CREATED,
    IDEMPOTENCY_ERRORS,
    KeyOf,
    create_event_once,
    make_fingerprint,
    write_answer,
)
from serving.api.json_body import read_json
from serving.api.liveness import check_mode, effective_mode
from serving.api.openapi import json_body
from serving.api.paging import Cursor, Limit
from serving.api.policies import Policy, RequestPolicy, Strictness, decide_threshold
from serving.api.schemas.events import (
    EventChanges,
    EventPage,
    EventPolicy,
    EventStatistics,
    EventView,
    NewEvent,
    ScoreBin,
)
from serving.api.services import Services, ServicesOf
from serving.errors import (
    BodyTooLarge,
    EventExists,
    FalseMatchRateNotSupported,
    Forbidden,
    LivenessNotConfigured,
    PackMismatch,
    UnknownEvent,
)
from serving.graph.lines import ServedPack
from serving.graph.vaults import erase_place
from serving.registry.keyed_requests import StoredAnswer
from serving.registry.records import Event
from serving.registry.statistics import BIN_WIDTH
from serving.vision.liveness_modes import LivenessMode
from serving.vision.quality_gates import QualityLevel

router = APIRouter(prefix="/v1/events", tags=["events"])

ManagedEvent = Annotated[Event, Depends(AllowedAtEvent(Permission.manage_events, when_closed=True))]
AnyManagedEvent = Annotated[
    Event, Depends(AllowedAtEvent(Permission.manage_events, when_closed=True, any_pack=True))
]

_CHANGES_BODY = json_body("What is to change.", EventChanges)
_CHANGES_BODY["content"]["application/merge-patch+json"] = _CHANGES_BODY["content"]["application/json"]


@router.post(
    "",
    status_code=201,
    summary="Create an event",
    response_model=EventView,
    responses={
        **problems(
            EventExists,
            BodyTooLarge,
            PackMismatch,
            FalseMatchRateNotSupported,
            LivenessNotConfigured,
            *IDEMPOTENCY_ERRORS,
        ),
        **CREATED,
    },
    openapi_extra={"requestBody": json_body("The event.", NewEvent)},
)
async def create_event(
    request: Request,
    services: ServicesOf,
    identity: Annotated[Identity, Depends(Allowed(Permission.manage_events))],
    deadline: DeadlineOf,
    key: KeyOf,
) -> Response:
    """People enrolled at one event are never found at another. Events share nothing.

    All fields may be left out. A policy in the form of a false match rate or a strictness follows the pack's
    calibration; `decision_threshold` in the answer is the cosine that it comes to. A retry with the same
    `Idempotency-Key` gets the first one's answer.
    """
    new = await read_json(request, NewEvent, deadline.remaining_s())
    if identity.events is not None:
        raise Forbidden("A token bound to events may not create another.", needs="a token for all events")
    line = services.lines.of(new.pack_id)
    _check_policy(line, new.policy)
    check_mode(services, new.liveness)

    def answer(event: Event) -> StoredAnswer:
        request.state.event = event
        return StoredAnswer(201, _view(services, event, people=0, faces=0).model_dump_json())

    if key is None:
        event = await services.registry.create_event(new.id, new.name, line.pack.id, new.to_fields())
        return write_answer(answer(event))
    asked = new.model_dump_json(exclude_unset=True).encode()
    fingerprint = make_fingerprint(request, (), [asked])
    create = services.registry.plan_event(new.id, new.name, line.pack.id, new.to_fields())
    return await create_event_once(request, services, identity, key, fingerprint, create, answer)


@router.get("", summary="List events", responses=problems())
async def list_events(
    services: ServicesOf,
    identity: Annotated[Identity, Depends(Allowed(Permission.read_events))],
    cursor: Cursor = None,
    limit: Limit = 100,
    closed: Annotated[
        bool | None, Query(description="Only those that are closed, or only those that are not.")
    ] = None,
) -> EventPage:
    """The events that the caller may touch, by id, each with its counts."""
    page = await services.registry.list_events(cursor, limit, identity.events, closed)
    events = [
        _view(services, event, people=event.people or 0, faces=event.faces or 0) for event in page.items
    ]
    return EventPage(events=events, next_cursor=page.next)


@router.get("/{event}", summary="Look at an event", responses=problems(UnknownEvent))
async def get_event(
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.read_events, when_closed=True, any_pack=True))],
) -> EventView:
    """An event and how many people and faces it holds."""
    return await count_event(services, event)


@router.patch(
    "/{event}",
    summary="Change an event",
    responses=problems(
        UnknownEvent, PackMismatch, BodyTooLarge, FalseMatchRateNotSupported, LivenessNotConfigured
    ),
    openapi_extra={"requestBody": _CHANGES_BODY},
)
async def change_event(
    request: Request,
    services: ServicesOf,
    event: ManagedEvent,
    deadline: DeadlineOf,
) -> EventView:
    """A JSON merge patch (RFC 7396): what is left out stays as it is, null brings the default back.

    The forms of the policy exclude each other: giving one removes the others. What is changed holds for every
    request that begins after the answer.
    """
    changes = await read_json(request, EventChanges, deadline.remaining_s())
    request.state.audit_details = {"changed": sorted(changes.model_fields_set)}
    _check_policy(services.line_of(event), changes.policy)
    check_mode(services, changes.liveness)
    return await count_event(services, await services.registry.update_event(event.key, changes.to_fields()))


@router.post("/{event}/close", summary="Close an event", responses=problems(UnknownEvent))
async def close_event(services: ServicesOf, event: AnyManagedEvent) -> EventView:
    """From now on nobody is enrolled or recognised at the event; looking, exporting and erasing go on.

    Closing what is closed changes nothing. With `retention_days` the event is deleted so many days later.
    """
    return await count_event(services, await services.registry.close_event(event.key))


@router.post("/{event}/reopen", summary="Reopen an event", responses=problems(UnknownEvent))
async def reopen_event(services: ServicesOf, event: AnyManagedEvent) -> EventView:
    """Undoes closing; an event that is open stays so."""
    return await count_event(services, await services.registry.reopen_event(event.key))


@router.get(
    "/{event}/statistics",
    summary="What became of the faces at an event",
    responses=problems(UnknownEvent, PackMismatch),
)
async def get_statistics(
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.read_events, when_closed=True))],
    identity: IdentityOf,
) -> EventStatistics:
    """How much was asked and answered; it lags behind by about a second.

    The histogram shows how well the threshold separates: matches should lie well above it, unknowns below. It
    is empty for callers who may not read people: with one request at a time they would learn from it how near
    an unknown face came.
    """
    counts = await services.registry.counts(event.key)
    counted = await services.registry.statistics(event.key)
    tally = counted.tally
    return EventStatistics(
        event_id=event.id,
        people=counts.people,
        faces=counts.faces,
        recognitions=tally.recognitions,
        recognised_faces=tally.faces,
        matches=tally.matches,
        unknowns=tally.unknowns,
        refusals=tally.refusals,
        spoofs=tally.spoofs,
        counted_since=counted.since,
        scores=[
            ScoreBin(
                from_=round(-1 + BIN_WIDTH * place, 2),
                to=round(-1 + BIN_WIDTH * (place + 1), 2),
                matches=tally.scores["match", place],
                unknowns=tally.scores["unknown", place],
            )
            for place in sorted({place for _, place in tally.scores})
            if identity.may(Permission.read_people)
        ],
    )


@router.delete(
    "/{event}",
    status_code=204,
    summary="Delete an event and everyone in it",
    responses=problems(UnknownEvent),
)
async def delete_event(
    request: Request,
    services: ServicesOf,
    identity: Annotated[Identity, Depends(Allowed(Permission.manage_events))],
    deadline: DeadlineOf,
    event: EventId,
) -> Response:
    """Erases the faces and people of the event. If it was cut off half way, delete again to finish."""
    identity.require_event(event)
    doomed = await services.registry.begin_event_deletion(event)
    request.state.event = doomed
    await services.jobs.remove_files(doomed.key)
    for place in await services.registry.erasures.places(doomed.key):
        await erase_place(services.lines, place, deadline.remaining_s())
    await services.registry.finish_event_deletion(doomed.key)
    return Response(status_code=204)


def _check_policy(line: ServedPack, policy: EventPolicy | None) -> None:
    """Raise FalseMatchRateNotSupported unless the pack's calibration can tell the policy's cosine."""
    if policy is not None:
        policy.to_policy().to_cosine(line.calibration)


async def count_event(services: Services, event: Event) -> EventView:
    """The event as it is shown, with its counts."""
    counts = await services.registry.counts(event.key)
    return _view(services, event, people=counts.people, faces=counts.faces)


def _view(services: Services, event: Event, *, people: int, faces: int) -> EventView:
    line = services.lines.find(event.pack_id)
    threshold = None if line is None else _find_threshold(line, event)
    rate = None
    if line is not None and threshold is not None:
        # Seven digits, since the way there and back through the curve leaves 9.99999999e-05 of 1e-4.
        rate = float(f"{line.calibration.false_match_rate(threshold):.6e}")
    policy = EventPolicy.model_construct(
        threshold=event.threshold,
        false_match_rate=event.target_false_match_rate,
        strictness=None if event.strictness is None else Strictness(event.strictness),
    )
    level = None if event.quality_level is None else QualityLevel(event.quality_level)
    return EventView(
        id=event.id,
        name=event.name,
        pack_id=event.pack_id,
        policy=policy if policy.to_policy().is_given else None,
        decision_threshold=threshold,
        decision_false_match_rate=rate,
        request_policy=RequestPolicy(event.request_policy),
        quality_level=level,
        effective_quality_level=level or services.settings.quality.enrolment_level,
        liveness=None if event.liveness is None else LivenessMode(event.liveness),
        effective_liveness=effective_mode(services, event),
        retention_days=event.retention_days,
        consent_required=event.consent_required,
        created_at=event.created_at,
        closed_at=event.closed_at,
        people=people,
        faces=faces,
    )


def _find_threshold(line: ServedPack, event: Event) -> float | None:
    """The cosine that decides at the event; None when the calibration cannot tell."""
    try:
        return decide_threshold(event, Policy(), line.calibration, line.threshold)
    except FalseMatchRateNotSupported:  # the calibration has changed since the event was made
        return None
