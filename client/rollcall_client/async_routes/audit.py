"""Made by client_generator from docs/openapi.json: methods of audit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Literal

from rollcall_client.base_routes import AsyncRoutes
from rollcall_client.downloads import OpenAsyncDownload
from rollcall_client.models import AuditEntryView, AuditPage
from rollcall_client.requests import audit as requests


class AsyncAuditRoutes(AsyncRoutes):
    """Routes of audit."""

    async def page(
        self,
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
        timeout_s: float | None = None,
    ) -> AuditPage:
        """Look at the audit trail.

        Who did what, newest first, at the events within reach; callers that reach all events see
        everything.

        Filters hold together. A page may be short, or empty, and not be the last: go on while there is a
        `next_cursor`.

        Args:
            cursor: `next_cursor` of the page before.
            limit: Entries in a page. (default: 100)
            from_: At or after this moment.
            to: Before this moment.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.list_audit(
                cursor=cursor,
                limit=limit,
                event=event,
                person=person,
                actor=actor,
                action=action,
                outcome=outcome,
                from_=from_,
                to=to,
            ),
            timeout_s,
        )

    async def iterate(
        self,
        *,
        limit: int | None = None,
        event: str | None = None,
        person: str | None = None,
        actor: str | None = None,
        action: str | None = None,
        outcome: str | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[AuditEntryView]:
        """Look at the audit trail, page after page.

        A page is fetched when the one before is used up; `limit` is the most in one, and `timeout_s`
        holds for each.
        """
        async for page in self._pages(
            lambda cursor: requests.list_audit(
                cursor=cursor,
                limit=limit,
                event=event,
                person=person,
                actor=actor,
                action=action,
                outcome=outcome,
                from_=from_,
                to=to,
            ),
            lambda page: page.next_cursor,
            timeout_s,
        ):
            for each in page.entries:
                yield each

    def export(
        self,
        *,
        format: Literal["ndjson", "csv"] | None = None,
        event: str | None = None,
        person: str | None = None,
        actor: str | None = None,
        action: str | None = None,
        outcome: str | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        timeout_s: float | None = None,
    ) -> OpenAsyncDownload:
        """Export the audit trail.

        Everything that the filters let through, however much it is; what is written meanwhile is left
        out.

        An answer that breaks off before its end was cut short by a failure.

        Args:
            format: JSON lines or a table. (default: ndjson)
            from_: At or after this moment.
            to: Before this moment.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.open_download(
            requests.export_audit(
                format=format,
                event=event,
                person=person,
                actor=actor,
                action=action,
                outcome=outcome,
                from_=from_,
                to=to,
            ),
            timeout_s,
        )
