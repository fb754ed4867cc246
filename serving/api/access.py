"""Who asks, and for which event: the dependencies that guard every route but health."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from serving.accounts.access_check import KEY_PREFIX
from serving.accounts.identities import Identity, Permission
from serving.api.services import ServicesOf
from serving.errors import EventClosed, InvalidRequest, TokenMissing
from serving.registry.records import Event

_bearer = HTTPBearer(
    auto_error=False, description="An access token of a sign-in or of `rollcall token`, or an API key."
)
_key = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key, `rck_...`.")

EventId = Annotated[str, Path(description="The event's id.", examples=["gala-2026"])]
PersonId = Annotated[str, Path(description="The person's id.", examples=["ada"])]


async def get_identity(
    request: Request,
    services: ServicesOf,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    key: Annotated[str | None, Depends(_key)],
) -> Identity:
    """The caller, as the credentials say and the database confirms at this moment.

    It is `request.state.identity` from here on.

    Raises:
        TokenMissing, TokenInvalid, TokenExpired, TokenRevoked, ApiKeyInvalid: not a caller we know.
        RateLimited: the caller has asked too much.
        InvalidRequest: two credentials at once.
    """
    identity = await find_identity(request, services, bearer, key)
    if identity is None:
        raise TokenMissing
    return identity


async def find_identity(
    request: Request,
    services: ServicesOf,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    key: Annotated[str | None, Depends(_key)],
) -> Identity | None:
    """As `get_identity`, for a route that also serves callers without credentials: for them None."""
    if key is not None and bearer is not None:
        raise InvalidRequest("send either an Authorization header or X-API-Key, not both")
    if bearer is not None and bearer.credentials.startswith(KEY_PREFIX):
        key = bearer.credentials
    if key is not None:
        identity = await services.accounts.access.identify_key(key)
        services.accounts.api_keys.note_use(identity.id)
    elif bearer is not None and bearer.credentials:
        claims = services.verifier.verify(bearer.credentials)
        identity = await services.accounts.access.identify_bearer(claims)
    else:
        return None
    request.state.identity = identity
    await services.rate_limiter.admit(request, identity)
    return identity


async def find_credentials(request: Request) -> tuple[HTTPAuthorizationCredentials | None, str | None]:
    """What `find_identity` is called with, for a route that asks for an identity only at times."""
    return await _bearer(request), await _key(request)


IdentityOf = Annotated[Identity, Depends(get_identity)]
PossibleIdentityOf = Annotated[Identity | None, Depends(find_identity)]


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
        any_pack: whether it also works on an event whose pack does not serve: it looks at or erases what
            there is, and compares nothing.

    Raises:
        Forbidden, UnknownEvent, EventClosed, PackMismatch.
    """

    def __init__(self, permission: Permission, *, when_closed: bool = False, any_pack: bool = False) -> None:
        self._permission = permission
        self._when_closed = when_closed
        self._any_pack = any_pack

    async def __call__(
        self, request: Request, services: ServicesOf, identity: IdentityOf, event: EventId
    ) -> Event:
        identity.require(self._permission)
        identity.require_event(event)
        found = await services.registry.get_event(event)
        request.state.event = found
        if not self._any_pack:
            services.line_of(found)
        if found.closed_at is not None and not self._when_closed:
            raise EventClosed(event=found.id)
        return found
