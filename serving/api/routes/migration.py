"""Moving an event to another model pack: begin, see how far it is, finish, abort."""

from __future__ import annotations

import contextlib
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from serving.accounts.identities import Identity, Permission
from serving.api.access import AllowedAtEvent, IdentityOf
from serving.api.deadlines import DeadlineOf
from serving.api.envelope import problems
from serving.api.json_body import read_json
from serving.api.openapi import json_body
from serving.api.paging import Cursor, Limit
from serving.api.policies import convert_policy
from serving.api.routes.events import count_event
from serving.api.schemas.migration import (
    FinishedMigrationView,
    MigrationView,
    MissingPersonView,
    NewMigration,
)
from serving.api.services import Services, ServicesOf
from serving.errors import (
    BodyTooLarge,
    FalseMatchRateNotSupported,
    MigrationIncomplete,
    MigrationRunning,
    NoMigration,
    PackMismatch,
    RollcallError,
    UnknownEvent,
)
from serving.graph.sweep import PERIOD_S
from serving.graph.vaults import erase_place
from serving.registry.erasures import REVISIT_S
from serving.registry.records import Event, EventFields

router = APIRouter(prefix="/v1/events/{event}/migration", tags=["migration"])

ERASED_WITHIN_S = int(REVISIT_S + 2 * PERIOD_S)
"""The sweep comes at least once in a period and a half."""

ManagedEvent = Annotated[Event, Depends(AllowedAtEvent(Permission.manage_events, when_closed=True))]
AnyManagedEvent = Annotated[
    Event, Depends(AllowedAtEvent(Permission.manage_events, when_closed=True, any_pack=True))
]


@router.post(
    "",
    status_code=201,
    summary="Begin to move an event to another pack",
    responses=problems(
        UnknownEvent, PackMismatch, MigrationRunning, FalseMatchRateNotSupported, BodyTooLarge
    ),
    openapi_extra={"requestBody": json_body("Where to.", NewMigration)},
)
async def begin_migration(
    request: Request, services: ServicesOf, identity: IdentityOf, event: ManagedEvent, deadline: DeadlineOf
) -> MigrationView:
    """From now on every picture that is enrolled is embedded with both packs; searches stay with the present.

    Then send pictures of the people who are enrolled already: as import, enrolment, or `rollcall packs
    migrate`. May be repeated.
    """
    new = await read_json(request, NewMigration, deadline.remaining_s())
    line = services.lines.of(new.pack_id)
    if event.threshold is None:  # a threshold of its own can still be given anew at the end
        convert_policy(event, services.line_of(event), line)
    request.state.audit_details = {"from": event.pack_id, "to": new.pack_id}
    begun = await services.registry.migrations.begin(event.key, new.pack_id)
    return await _view(services, identity, begun, None, 100)


@router.get(
    "",
    summary="How far has an event moved to another pack?",
    responses=problems(UnknownEvent, NoMigration),
)
async def get_migration(
    services: ServicesOf,
    identity: IdentityOf,
    event: AnyManagedEvent,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> MigrationView:
    """Counts, and a page of the people who have no face in the new pack yet."""
    return await _view(services, identity, event, cursor, limit)


@router.post(
    "/finish",
    summary="Switch an event to its new pack",
    responses=problems(
        UnknownEvent, PackMismatch, NoMigration, MigrationIncomplete, FalseMatchRateNotSupported
    ),
)
async def finish_migration(
    request: Request,
    services: ServicesOf,
    event: ManagedEvent,
    allow_missing: Annotated[
        bool, Query(description="Switch although people have no face in the new pack.")
    ] = False,
    threshold: Annotated[
        float | None,
        Query(ge=-1, le=1, description="The event's raw cosine from now on, of the new pack."),
    ] = None,
) -> FinishedMigrationView:
    """Requests that begin after the answer are decided by the new pack; those under way end as they began.

    An event's own threshold is a cosine of the old pack. Unless one is given anew, the false match rate that
    it stood for takes its place; where the new pack's calibration does not reach that far, nothing is
    switched. The histogram of scores begins anew.
    """
    line = services.lines.of(event.migrating_to) if event.migrating_to else services.line_of(event)

    def convert(held: Event) -> EventFields:
        if held.migrating_to != event.migrating_to:  # aborted and begun anew since
            raise NoMigration(event=held.id)
        return convert_policy(held, services.line_of(held), line, threshold)

    finished = await services.registry.migrations.finish(event.key, convert, allow_missing=allow_missing)
    request.state.event = finished.event
    request.state.audit_details = {
        "from": finished.before.pack_id,
        "to": finished.event.pack_id,
        "people_without_face": finished.missing_people,
    }
    return FinishedMigrationView(
        event=await count_event(services, finished.event),
        previous_pack_id=finished.before.pack_id,
        previous_threshold=finished.before.threshold,
        people_without_face=finished.missing_people,
        without_face=list(finished.missing_ids),
        previous_vectors_erased_within_s=ERASED_WITHIN_S,
    )


@router.delete(
    "",
    status_code=204,
    summary="Give up moving an event to another pack",
    responses=problems(UnknownEvent, NoMigration),
)
async def abort_migration(
    request: Request, services: ServicesOf, event: AnyManagedEvent, deadline: DeadlineOf
) -> Response:
    """The event stays as it is; the vectors of the other pack are erased."""
    before = await services.registry.migrations.abort(event.key)
    request.state.audit_details = {"from": before.pack_id, "to": before.migrating_to}
    # What is stored late, and what cannot be erased now, is erased by the sweep.
    with contextlib.suppress(RollcallError):
        await erase_place(services.lines, before.places[1], deadline.remaining_s())
    return Response(status_code=204)


async def _view(
    services: Services, identity: Identity, event: Event, cursor: str | None, limit: int
) -> MigrationView:
    if event.migrating_to is None or event.migration_started_at is None:
        raise NoMigration(event=event.id)
    progress = await services.registry.migrations.progress(event.key)
    page = await services.registry.migrations.missing(event.key, cursor, limit)
    shown = page.items if identity.may(Permission.read_people) else ()
    return MigrationView(
        event_id=event.id,
        pack_id=event.pack_id,
        migrating_to=event.migrating_to,
        started_at=event.migration_started_at,
        people=progress.people,
        migrated_people=progress.migrated_people,
        faces=progress.faces,
        migrated_faces=progress.migrated_faces,
        missing=[MissingPersonView(person_id=each.id, name=each.name) for each in shown],
        next_cursor=page.next,
    )
