"""The audit trail: look at it, page by page, or take it away."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import timezone
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from serving.accounts.identities import Identity, Permission
from serving.api.access import Allowed
from serving.api.envelope import problems
from serving.api.paging import Cursor, Limit
from serving.api.schemas.audit import AuditEntryView, AuditPage
from serving.api.services import ServicesOf
from serving.audit.records import AuditEntry, AuditFilters
from serving.errors import InvalidRequest, UnknownEvent

router = APIRouter(prefix="/v1/audit", tags=["audit"])

Text = Query(max_length=200, pattern=r"^[^\x00]*$")
ReaderOf = Annotated[Identity, Depends(Allowed(Permission.read_audit))]

EXPORT_CHUNK = 200
"""Entries sent together, some 60 kB."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
COLUMNS = list(AuditEntryView.model_fields)
_EXAMPLE = {
    "id": 4711,
    "at": "2026-05-01T18:02:11.482913Z",
    "actor_kind": "account",
    "actor_id": "0b5c1d2e",
    "actor": "ada",
    "action": "people.enrol",
    "event_id": "gala-2026",
    "person_id": "guest-7",
    "outcome": "ok",
    "status": 201,
    "address": "203.0.113.9",
    "request_id": "7f9c2ba4",
    "details": {"faces": 2},
}


async def read_filters(
    identity: ReaderOf,
    event: Annotated[str | None, Text] = None,
    person: Annotated[str | None, Text] = None,
    actor: Annotated[str | None, Text] = None,
    action: Annotated[str | None, Text] = None,
    outcome: Annotated[str | None, Text] = None,
    since: Annotated[
        AwareDatetime | None, Query(alias="from", description="At or after this moment.")
    ] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to", description="Before this moment.")] = None,
) -> AuditFilters:
    """What the query asks for, within what the caller may see."""
    if event is not None:
        identity.require_event(event)
    for name, moment in (("from", since), ("to", until)):
        try:
            if moment is not None:
                moment.astimezone(timezone.utc)
        except OverflowError:
            raise InvalidRequest(f"{name} is no moment in UTC", field=name) from None
    return AuditFilters(identity.events, event, person, actor, action, outcome, since, until)


FiltersOf = Annotated[AuditFilters, Depends(read_filters)]


@router.get("", summary="Look at the audit trail", responses=problems(UnknownEvent))
async def list_audit(
    services: ServicesOf, filters: FiltersOf, cursor: Cursor = None, limit: Limit = 100
) -> AuditPage:
    """Who did what, newest first, at the events within reach; callers that reach all events see everything.

    Filters hold together. A page may be short, or empty, and not be the last: go on while there is a
    `next_cursor`.
    """
    page = await services.audit.page(filters, cursor, limit)
    return AuditPage(entries=[_view(entry) for entry in page.items], next_cursor=page.next)


@router.get(
    "/export",
    summary="Export the audit trail",
    response_class=StreamingResponse,
    responses={
        **problems(UnknownEvent),
        200: {
            "description": "Entries, newest first, one in a line.",
            "content": {
                "application/x-ndjson": {"schema": {"type": "string"}, "example": json.dumps(_EXAMPLE)},
                "text/csv": {"schema": {"type": "string"}, "example": ",".join(COLUMNS)},
            },
        },
    },
)
async def export_audit(
    services: ServicesOf,
    filters: FiltersOf,
    form: Annotated[
        Literal["ndjson", "csv"],
        Query(alias="format", description="JSON lines or a table."),
    ] = "ndjson",
) -> StreamingResponse:
    """Everything that the filters let through, however much it is; what is written meanwhile is left out.

    An answer that breaks off before its end was cut short by a failure.
    """
    entries = services.audit.export(filters)
    # The first entry now, so that a failure can still be answered as one.
    first = await anext(entries, None)
    write = _write_csv if form == "csv" else _write_ndjson
    kind = "text/csv; charset=utf-8" if form == "csv" else "application/x-ndjson"
    headers = {"Content-Disposition": f'attachment; filename="audit.{form}"'}
    return StreamingResponse(write(_chunk(first, entries)), media_type=kind, headers=headers)


async def _chunk(
    first: AuditEntry | None, rest: AsyncIterator[AuditEntry]
) -> AsyncIterator[list[AuditEntry]]:
    chunk = [] if first is None else [first]
    async for entry in rest:
        chunk.append(entry)
        if len(chunk) >= EXPORT_CHUNK:
            yield chunk
            chunk = []
    yield chunk


async def _write_ndjson(chunks: AsyncIterator[list[AuditEntry]]) -> AsyncIterator[str]:
    async for chunk in chunks:
        yield "".join(_view(entry).model_dump_json() + "\n" for entry in chunk)


async def _write_csv(chunks: AsyncIterator[list[AuditEntry]]) -> AsyncIterator[str]:
    yield ",".join(COLUMNS) + "\r\n"
    async for chunk in chunks:
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        for entry in chunk:
            writer.writerow([_cell(value) for value in _view(entry).model_dump(mode="json").values()])
        yield buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return "'" + value  # spreadsheets would calculate it
    return value


def _view(entry: AuditEntry) -> AuditEntryView:
    return AuditEntryView(**{name: getattr(entry, name) for name in COLUMNS})
