"""Made by client_generator from docs/openapi.json: requests of audit."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from rollcall_client.models import AuditPage
from rollcall_client.request import Request


def list_audit(
    *,
    cursor: str | None = None,
    limit: int | None = None,
    event: str | None = None,
    person: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    outcome: str | None = None,
    from_: datetime | None = None,
    to: datetime | None = None,
) -> Request[AuditPage]:
    """Look at the audit trail."""
    return Request(
        "GET",
        "/v1/audit",
        AuditPage,
        query={
            "cursor": cursor,
            "limit": limit,
            "event": event,
            "person": person,
            "actor": actor,
            "action": action,
            "outcome": outcome,
            "from": from_,
            "to": to,
        },
        can_repeat=True,
    )


def export_audit(
    *,
    format: Literal["ndjson", "csv"] | None = None,
    event: str | None = None,
    person: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    outcome: str | None = None,
    from_: datetime | None = None,
    to: datetime | None = None,
) -> Request[bytes]:
    """Export the audit trail."""
    return Request(
        "GET",
        "/v1/audit/export",
        bytes,
        query={
            "format": format,
            "event": event,
            "person": person,
            "actor": actor,
            "action": action,
            "outcome": outcome,
            "from": from_,
            "to": to,
        },
        can_repeat=True,
        is_long=True,
    )
