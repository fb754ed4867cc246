"""Who a stream belongs to, as long as it lasts."""

from __future__ import annotations

import time
from typing import Any

from fastapi import WebSocket
from fastapi.security import HTTPAuthorizationCredentials

from serving.accounts.access_check import KEY_PREFIX
from serving.accounts.identities import Identity, Permission
from serving.api.access import AllowedAtEvent, find_identity
from serving.api.services import Services
from serving.errors import Forbidden, TokenMissing, UnknownEvent
from serving.registry.records import Event

guard = AllowedAtEvent(Permission.recognise)
"""The same as on the route that recognises a picture."""


class StreamCaller:
    """The caller of one stream, looked up again while it lasts.

    Attributes:
        identity: as of the last look; None before the first.
        event: likewise.
    """

    def __init__(self, websocket: WebSocket, services: Services, event_id: str) -> None:
        self._request: Any = websocket  # of a request, what is called here uses the state alone
        self._services = services
        self._event_id = event_id
        self._credential = ""
        self.identity: Identity | None = None
        self.event: Event | None = None

    async def enter(self, credential: str | None) -> Event:
        """Who this is, counted as one request of theirs; the event, which they may recognise at.

        Raises:
            TokenMissing, TokenInvalid, TokenExpired, TokenRevoked, ApiKeyInvalid, RateLimited: not let in.
            Forbidden, UnknownEvent, EventClosed, PackMismatch: not at this event.
        """
        if not credential:
            raise TokenMissing
        bearer = HTTPAuthorizationCredentials(scheme="Bearer", credentials=credential)
        identity = await find_identity(self._request, self._services, bearer, None)
        if identity is None:
            raise TokenMissing
        return await self._take(credential, identity)

    async def renew(self, credential: str) -> None:
        """Go on under a newer token.

        Raises:
            Forbidden: it is somebody else's.
            RollcallError: as `look_again`.
        """
        identity = await self._identify(credential)
        if self.identity is not None and (identity.kind, identity.id) != (
            self.identity.kind,
            self.identity.id,
        ):
            raise Forbidden("This is another caller's token.", needs="a token of the caller of the stream")
        await self._take(credential, identity)

    async def look_again(self) -> Event:
        """The event as it is now, if the caller still holds and may still recognise there.

        Raises:
            RollcallError: as `enter`; UnknownEvent also when another event has taken its id.
        """
        credential = self._credential
        identity = await self._identify(credential)
        if credential != self._credential and self.event is not None:
            return self.event  # renewed meanwhile
        return await self._take(credential, identity)

    def remaining_s(self) -> float | None:
        """Until the token expires; None where it does not."""
        if self.identity is None or self.identity.expires_at is None:
            return None
        leeway_s = 0.0 if self.identity.kind == "api_key" else self._services.settings.auth.leeway_s
        return self.identity.expires_at + leeway_s - time.time()

    async def _identify(self, credential: str) -> Identity:
        access = self._services.accounts.access
        if credential.startswith(KEY_PREFIX):
            return await access.identify_key(credential)
        return await access.identify_bearer(self._services.verifier.verify(credential))

    async def _take(self, credential: str, identity: Identity) -> Event:
        event = await guard(self._request, self._services, identity, self._event_id)
        if self.event is not None and event.key != self.event.key:
            raise UnknownEvent(event=event.id)
        self._request.state.identity = self.identity = identity
        self._credential, self.event = credential, event
        return event
