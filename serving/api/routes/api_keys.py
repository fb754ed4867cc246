"""API keys: make, list, revoke."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from serving.accounts.identities import Identity, Permission
from serving.accounts.records import ApiKey
from serving.api.access import Allowed
from serving.api.deadlines import DeadlineOf
from serving.api.envelope import problems
from serving.api.json_body import read_json
from serving.api.openapi import json_body
from serving.api.paging import Cursor, Limit
from serving.api.schemas.accounts import ApiKeyPage, ApiKeyView, MadeApiKey, NewApiKey
from serving.api.services import ServicesOf
from serving.errors import (
    BodyTooLarge,
    Forbidden,
    InvalidRequest,
    UnknownAccount,
    UnknownApiKey,
    UnknownEvent,
)

router = APIRouter(prefix="/v1/api-keys", tags=["api keys"])

KeyMaker = Annotated[Identity, Depends(Allowed(Permission.manage_api_keys))]


@router.post(
    "",
    status_code=201,
    summary="Make an API key",
    responses=problems(UnknownEvent, UnknownAccount, BodyTooLarge),
    openapi_extra={"requestBody": json_body("The key.", NewApiKey)},
)
async def create_api_key(
    request: Request, services: ServicesOf, identity: KeyMaker, deadline: DeadlineOf
) -> MadeApiKey:
    """For a machine. The key is shown this once and can do no more than its maker, now and later."""
    new = await read_json(request, NewApiKey, deadline.remaining_s())
    if new.all_events == (new.events is not None):
        raise InvalidRequest("give events, or all_events as true", field="events")
    if new.all_events and identity.events is not None:
        raise Forbidden("A key reaches no more than its maker.", needs="reach of all events")
    for event_id in new.events or ():
        identity.require_event(event_id)
    for scope in new.scopes:
        if not scope.permissions <= identity.permissions:
            raise Forbidden(
                f"A key may do no more than its maker, who lacks what {scope.value} allows.",
                needs=f"all that the scope {scope.value} allows",
            )
    key, text = await services.accounts.api_keys.create(
        identity.account_id, new.name, new.scopes, new.events, new.expires_at
    )
    return MadeApiKey(**_view(key).model_dump(), key=text)


@router.get("", summary="List API keys", responses=problems())
async def list_api_keys(
    services: ServicesOf, identity: KeyMaker, cursor: Cursor = None, limit: Limit = 100
) -> ApiKeyPage:
    """One's own keys, administrators see all; to a caller bound to events, only the keys for no others."""
    page = await services.accounts.api_keys.list(*_sight(identity), cursor, limit)
    return ApiKeyPage(api_keys=[_view(key) for key in page.items], next_cursor=page.next)


@router.delete("/{key}", status_code=204, summary="Revoke an API key", responses=problems(UnknownApiKey))
async def revoke_api_key(
    services: ServicesOf,
    identity: KeyMaker,
    key: Annotated[str, Path(description="The key's id.", examples=["5b0de8a9c70f4cc6b5f6a1f6f4c0c9d3"])],
) -> Response:
    """Refused from now on, on every replica."""
    await services.accounts.api_keys.revoke(key, *_sight(identity))
    return Response(status_code=204)


def _sight(identity: Identity) -> tuple[str | None, frozenset[str] | None]:
    """Whose keys the caller sees, and within which events."""
    return None if identity.manages_accounts() else identity.account_id, identity.events


def _view(key: ApiKey) -> ApiKeyView:
    return ApiKeyView(
        id=key.id,
        name=key.name,
        account=key.account,
        scopes=list(key.scopes),
        all_events=key.all_events,
        events=list(key.events),
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
    )
