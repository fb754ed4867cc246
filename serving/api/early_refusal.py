"""Refuses recognitions that no place is free for, before anything else is done for them."""

from __future__ import annotations

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.envelope import answer_error
from serving.api.route_index import FoundRoute
from serving.api.services import Services
from serving.errors import Overloaded


class EarlyRefusal:
    """ASGI middleware: answers recognitions `overloaded` while the admission gate has no place.

    The route's own look at the gate comes after the caller and the event have been looked up in the database,
    most of the cost of a request that is refused; in an overload this cost would be taken from those that are
    admitted. So nothing is known of the caller here: a request without a token gets this answer too, and the
    audit trail has no entry of it, since nobody was recognised. Enrolments, which change what is stored, go
    on to their route.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found: FoundRoute | None = scope.get("state", {}).get("route")
        if found is not None and found.facts.is_recognition:
            services: Services = scope["app"].state.services
            try:
                services.gate.check_place()
            except Overloaded as error:
                await answer_error(Request(scope), error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
