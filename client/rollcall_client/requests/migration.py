"""Made by client_generator from docs/openapi.json: requests of migration."""

from __future__ import annotations

from rollcall_client.bodies import JsonBody
from rollcall_client.models import FinishedMigrationView, MigrationView
from rollcall_client.request import Request, drop_none, fill_path


def begin_migration(event: str, *, pack_id: str) -> Request[MigrationView]:
    """Begin to move an event to another pack."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/migration", event=event),
        MigrationView,
        body=JsonBody(drop_none({"pack_id": pack_id})),
        takes_timeout=True,
    )


def get_migration(
    event: str, *, cursor: str | None = None, limit: int | None = None
) -> Request[MigrationView]:
    """How far has an event moved to another pack?"""
    return Request(
        "GET",
        fill_path("/v1/events/{event}/migration", event=event),
        MigrationView,
        query={"cursor": cursor, "limit": limit},
        can_repeat=True,
    )


def abort_migration(event: str) -> Request[None]:
    """Give up moving an event to another pack."""
    return Request(
        "DELETE",
        fill_path("/v1/events/{event}/migration", event=event),
        None,
        can_repeat=True,
        takes_timeout=True,
    )


def finish_migration(
    event: str, *, allow_missing: bool | None = None, threshold: float | None = None
) -> Request[FinishedMigrationView]:
    """Switch an event to its new pack."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/migration/finish", event=event),
        FinishedMigrationView,
        query={"allow_missing": allow_missing, "threshold": threshold},
    )
