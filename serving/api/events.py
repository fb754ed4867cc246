"""Events: create, list, look at, delete."""

from __future__ import annotations

import contextlib
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from serving.accounts.identities import Identity, Permission
from serving.api.access import Allowed, AllowedAtEvent, EventId, check_pack
from serving.api.deadlines import DeadlineOf
from serving.api.envelope import problems
from serving.api.json_body import read_json
from serving.api.schemas.events import EventPage, EventView, NewEvent
from serving.api.services import ServicesOf
from serving.errors import BodyTooLarge, EventExists, Forbidden, PackMismatch, UnknownEvent
from serving.registry.records import Event

router = APIRouter(prefix="/v1/events", tags=["events"])

Cursor = Annotated[str | None, Query(max_length=1024, description="`next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Entries in a page.")]


@router.post(
    "",
    status_code=201,
    summary="Create an event",
    responses=problems(EventExists, BodyTooLarge),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": NewEvent.model_json_schema()}},
        }
    },
)
async def create_event(
    request: Request,
    services: ServicesOf,
    identity: Annotated[Identity, Depends(Allowed(Permission.manage_events))],
    deadline: DeadlineOf,
) -> EventView:
    """People enrolled at one event are never found at another. Events share nothing."""
    new = await read_json(request, NewEvent, deadline.remaining_s())
    if identity.events is not None:
        raise Forbidden("A token bound to events may not create another.", needs="a token for all events")
    event = await services.registry.create_event(new.id, new.name, services.pack.id, new.threshold)
    return _view(event, people=0, faces=0)


@router.get("", summary="List events", responses=problems())
async def list_events(
    services: ServicesOf,
    identity: Annotated[Identity, Depends(Allowed(Permission.read_events))],
    cursor: Cursor = None,
    limit: Limit = 100,
) -> EventPage:
    """The events that the token may touch, by id."""
    page = await services.registry.list_events(cursor, limit, identity.events)
    events = [_view(event, people=event.people or 0, faces=event.faces or 0) for event in page.items]
    return EventPage(events=events, next_cursor=page.next)


@router.get("/{event}", summary="Look at an event", responses=problems(UnknownEvent, PackMismatch))
async def get_event(
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.read_events, when_closed=True))],
) -> EventView:
    """An event and how many people and faces it holds."""
    counts = await services.registry.counts(event.key)
    return _view(event, people=counts.people, faces=counts.faces)


@router.delete(
    "/{event}",
    status_code=204,
    summary="Delete an event and everyone in it",
    responses=problems(UnknownEvent, PackMismatch),
)
async def delete_event(
    services: ServicesOf,
    identity: Annotated[Identity, Depends(Allowed(Permission.manage_events))],
    deadline: DeadlineOf,
    event: EventId,
) -> Response:
    """Erases the faces and people of the event. If it was cut off half way, delete again to finish."""
    identity.require_event(event)
    with contextlib.suppress(UnknownEvent):  # half deleted already, then its faces were this pack's
        check_pack(await services.registry.get_event(event), services.pack.id)
    closed = await services.registry.begin_event_deletion(event)
    await services.stages.erase_event(closed.key, deadline.remaining_s())
    await services.registry.finish_event_deletion(closed.key)
    return Response(status_code=204)


def _view(event: Event, *, people: int, faces: int) -> EventView:
    return EventView(
        id=event.id,
        name=event.name,
        pack_id=event.pack_id,
        threshold=event.threshold,
        created_at=event.created_at,
        people=people,
        faces=faces,
    )
