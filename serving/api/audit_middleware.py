"""Writes an entry of the audit trail for each request that belongs there, before its answer leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.accounts.access_check import KEY_PREFIX
from serving.api.client_address import find_address, network_of
from serving.api.route_index import FoundRoute
from serving.api.services import Services
from serving.audit.records import MAX_TEXT_CHARS, AuditEntry
from serving.registry.identifiers import is_event_id, is_person_id

SECRET_STARTS = (KEY_PREFIX, "eyJ")
"""Of API keys and of tokens: should somebody put one where an id belongs, it is not written down."""
DENIED = frozenset({401, 403, 429})


class AuditMiddleware:
    """ASGI middleware. Changes are on disk before their answer leaves; the rest is written soon after.

    In the trail are all changes, all reading of what is stored about people, recognitions where the settings
    say so, and whatever was denied.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found: FoundRoute | None = scope.get("state", {}).get("route")
        if found is None:
            await self._app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        state: dict[str, Any] = scope["state"]
        written = False

        async def send_when_written(message: Message) -> None:
            nonlocal written
            if message["type"] == "http.response.start" and not written:
                written = True
                await self._write(services, found, scope, message["status"], state.get("error_code"))
            await send(message)

        try:
            await self._app(scope, receive, send_when_written)
        except asyncio.CancelledError:
            if not written and _belongs(services, found, 499):
                services.audit.offer_or_count(make_entry(services, found, scope, 499, "caller_gone"))
            raise
        except Exception:
            if not written:
                await self._write(services, found, scope, 500, "internal_error")
            raise

    async def _write(
        self, services: Services, found: FoundRoute, scope: Scope, status: int, code: str | None
    ) -> None:
        if not _belongs(services, found, status):
            return
        outcome = "ok" if status < 400 else code or str(status)
        entry = make_entry(services, found, scope, status, outcome)
        anonymous = entry.actor_kind == "anonymous" and status >= 400
        if status in DENIED or anonymous:
            origin = None if entry.address is None else network_of(entry.address)
            await services.audit.note_refusal(entry, origin)
        elif found.facts.is_change:
            await services.audit.record(entry)
        else:
            await services.audit.note(entry)


def _belongs(services: Services, found: FoundRoute, status: int) -> bool:
    facts = found.facts
    if status in DENIED or facts.is_change or facts.is_personal_read:
        return True
    return facts.is_recognition and services.settings.audit.recognitions


def make_entry(services: Services, found: FoundRoute, scope: Scope, status: int, outcome: str) -> AuditEntry:
    """What the trail says of a request, from its scope and what the routes left in its state."""
    state = scope["state"]
    identity = state.get("identity")
    event = state.get("event")
    event_id = event.id if event is not None else _keep(found.event, is_event_id)
    person_id = _keep(state.get("audit_person_id") or found.person, is_person_id)
    named = {name: value for name, value in found.others.items() if _keep(value, is_person_id)}
    return AuditEntry(
        actor_kind="anonymous" if identity is None else identity.kind,
        actor_id=None if identity is None else identity.id,
        actor=None if identity is None else identity.subject,
        action=found.facts.action,
        event_key=None if event is None else event.key,
        event_id=event_id,
        person_id=person_id,
        outcome=outcome,
        status=status,
        address=find_address(scope, services.settings.web.trusted_proxies),
        request_id=_keep(state.get("request_id"), _is_request_id),
        details={**named, **state.get("audit_details", {})},
    )


def _keep(text: str | None, is_id: Callable[[str], bool]) -> str | None:
    """What a caller sent in the place of an id, unless it can be none, or looks like a key or a token."""
    if text is None or not is_id(text) or text.startswith(SECRET_STARTS):
        return None
    return text


def _is_request_id(text: str) -> bool:
    return len(text) <= MAX_TEXT_CHARS
