"""Made by client_generator from docs/openapi.json: methods of migration."""

from __future__ import annotations

from collections.abc import AsyncIterator

from rollcall_client.base_routes import AsyncRoutes
from rollcall_client.models import FinishedMigrationView, MigrationView, MissingPersonView
from rollcall_client.requests import migration as requests


class AsyncMigrationRoutes(AsyncRoutes):
    """Routes of migration."""

    async def begin(self, event: str, *, pack_id: str, timeout_s: float | None = None) -> MigrationView:
        """Begin to move an event to another pack.

        From now on every picture that is enrolled is embedded with both packs; searches stay with the
        present.

        Then send pictures of the people who are enrolled already: as import, enrolment, or `rollcall
        packs migrate`. May be repeated.

        Args:
            event: The event's id.
            pack_id: One of the packs that serve, see `GET /v1/model`.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.begin_migration(event, pack_id=pack_id), timeout_s)

    async def iteratebegin(
        self, event: str, *, pack_id: str, timeout_s: float | None = None
    ) -> AsyncIterator[MissingPersonView]:
        """Begin to move an event to another pack, page after page.

        A page is fetched when the one before is used up; `limit` is the most in one, and `timeout_s`
        holds for each.
        """
        async for page in self._pages(
            lambda cursor: requests.begin_migration(event, pack_id=pack_id),
            lambda page: page.next_cursor,
            timeout_s,
        ):
            for each in page.missing:
                yield each

    async def get(
        self,
        event: str,
        *,
        cursor: str | None = None,
        limit: int | None = None,
        timeout_s: float | None = None,
    ) -> MigrationView:
        """How far has an event moved to another pack?

        Counts, and a page of the people who have no face in the new pack yet.

        Args:
            event: The event's id.
            cursor: `next_cursor` of the page before.
            limit: Entries in a page. (default: 100)
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.get_migration(event, cursor=cursor, limit=limit), timeout_s
        )

    async def iterate_missing(
        self, event: str, *, limit: int | None = None, timeout_s: float | None = None
    ) -> AsyncIterator[MissingPersonView]:
        """How far has an event moved to another pack?, page after page.

        A page is fetched when the one before is used up; `limit` is the most in one, and `timeout_s`
        holds for each.
        """
        async for page in self._pages(
            lambda cursor: requests.get_migration(event, cursor=cursor, limit=limit),
            lambda page: page.next_cursor,
            timeout_s,
        ):
            for each in page.missing:
                yield each

    async def abort(self, event: str, *, timeout_s: float | None = None) -> None:
        """Give up moving an event to another pack.

        The event stays as it is; the vectors of the other pack are erased.

        Args:
            event: The event's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        await self._performer.perform(requests.abort_migration(event), timeout_s)

    async def finish(
        self,
        event: str,
        *,
        allow_missing: bool | None = None,
        threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> FinishedMigrationView:
        """Switch an event to its new pack.

        Requests that begin after the answer are decided by the new pack; those under way end as they
        began.

        An event's own threshold is a cosine of the old pack. Unless one is given anew, the false match
        rate that it stood for takes its place; where the new pack's calibration does not reach that far,
        nothing is switched. The histogram of scores begins anew.

        Args:
            event: The event's id.
            allow_missing: Switch although people have no face in the new pack. (default: False)
            threshold: The event's raw cosine from now on, of the new pack.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.finish_migration(event, allow_missing=allow_missing, threshold=threshold), timeout_s
        )
