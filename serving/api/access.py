"""Who asks, and for which event: the dependencies that guard every route but health."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from serving.accounts.identities import Identity, Permission
from serving.api.services import ServicesOf
from serving.errors import EventClosed, PackMismatch, TokenMissing
from serving.registry.records import Event

_bearer = HTTPBearer(auto_error=False, description="An access token; `rollcall token` prints one.")

EventId = Annotated[str, Path(description="The event's id.", examples=["gala-2026"])]
PersonId = Annotated[str, Path(description="The person's id.", examples=["ada"])]


async def get_identity(
    request: Request,
    services: ServicesOf,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Identity:
    """The verified caller; raises TokenMissing, TokenInvalid or TokenExpired.

    It is `request.state.identity` from here on.
    """
    if credentials is None:
        raise TokenMissing
    identity = services.verifier.verify(credentials.credentials)
    request.state.identity = identity
    return identity


IdentityOf = Annotated[Identity, Depends(get_identity)]


class Allowed:
    """Dependency: the caller holds `permission`."""

    def __init__(self, permission: Permission) -> None:
        self._permission = permission

    async def __call__(self, identity: IdentityOf) -> Identity:
        identity.require(self._permission)
        return identity


class AllowedAtEvent:
    """Dependency: the caller holds `permission` and may touch the event in the path, which exists.

    The event is `request.state.event` from then on.

    Args:
        permission: what the route needs.
        when_closed: whether the route also works on an event that is closed.

    Raises:
        Forbidden, UnknownEvent, EventClosed, PackMismatch.
    """

    def __init__(self, permission: Permission, *, when_closed: bool = False) -> None:
        self._permission = permission
        self._when_closed = when_closed

    async def __call__(
        self, request: Request, services: ServicesOf, identity: IdentityOf, event: EventId
    ) -> Event:
        identity.require(self._permission)
        identity.require_event(event)
        found = await services.registry.get_event(event)
        request.state.event = found
        check_pack(found, services.pack.id)
        if found.closed_at is not None and not self._when_closed:
            raise EventClosed(event=found.id)
        return found


def check_pack(event: Event, pack_id: str) -> None:
    """Raise PackMismatch unless the event's faces are of the pack that serves: others cannot be compared."""
    if event.pack_id != pack_id:
        raise PackMismatch(pack_id=event.pack_id, serving=pack_id)
