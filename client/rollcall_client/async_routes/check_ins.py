"""Made by client_generator from docs/openapi.json: methods of check_ins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from rollcall_client.base_routes import AsyncRoutes
from rollcall_client.bodies import Picture
from rollcall_client.models import (
    ArrivalPage,
    ArrivalView,
    AttendanceView,
    CheckIn,
    FaceChoice,
    LivenessMode,
    QualityLevel,
    Strictness,
)
from rollcall_client.requests import check_ins as requests


class AsyncCheckInsRoutes(AsyncRoutes):
    """Routes of check ins."""

    async def check_in(
        self,
        event: str,
        picture: Picture,
        *,
        threshold: float | None = None,
        false_match_rate: float | None = None,
        strictness: Strictness | None = None,
        faces: FaceChoice | None = None,
        place: str | None = None,
        quality: QualityLevel | None = None,
        liveness: LivenessMode | None = None,
        timeout_s: float | None = None,
    ) -> CheckIn:
        """Check in whoever is at the door.

        Who is before the camera; whoever is a match has arrived, and is in the list when this answers.

        Send the picture as for recognition. A request that is sent again does no harm: a person arrives
        once, and comes again at the earliest ten seconds after they were last seen.

        Args:
            event: The event's id.
            picture: the file: its bytes, its path or open
            threshold: Raw cosine at or above which it is a match, for this request.
            false_match_rate: In place of a threshold: share of pairs of different people that may match.
            strictness: In place of a threshold: false match rate 1e-4, 1e-3 or 1e-2.
            faces: The one with the largest box, who is the nearest; all faces; or the one nearest the
                centre. (default: largest)
            place: Where the camera stands, such as `north door`.
            quality: Refuse faces that fall short of this level, instead of comparing them. (default: off)
            liveness: Check faces for being live at least so strictly; else as the event says.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.check_in(
                event,
                picture,
                threshold=threshold,
                false_match_rate=false_match_rate,
                strictness=strictness,
                faces=faces,
                place=place,
                quality=quality,
                liveness=liveness,
            ),
            timeout_s,
        )

    async def page(
        self,
        event: str,
        *,
        cursor: str | None = None,
        limit: int | None = None,
        since: datetime | None = None,
        timeout_s: float | None = None,
    ) -> ArrivalPage:
        """List who has arrived.

        The people who have arrived, the latest first.

        Args:
            event: The event's id.
            cursor: `next_cursor` of the page before.
            limit: Entries in a page. (default: 100)
            since: Only those who arrived at this moment or later.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.list_check_ins(event, cursor=cursor, limit=limit, since=since), timeout_s
        )

    async def iterate(
        self,
        event: str,
        *,
        limit: int | None = None,
        since: datetime | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[ArrivalView]:
        """List who has arrived, page after page.

        A page is fetched when the one before is used up; `limit` is the most in one, and `timeout_s`
        holds for each.
        """
        async for page in self._pages(
            lambda cursor: requests.list_check_ins(event, cursor=cursor, limit=limit, since=since),
            lambda page: page.next_cursor,
            timeout_s,
        ):
            for each in page.check_ins:
                yield each

    async def summary(self, event: str, *, timeout_s: float | None = None) -> AttendanceView:
        """Count who has arrived.

        How many people are enrolled, how many of them have arrived, and how many in the last hour.

        Args:
            event: The event's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.get_attendance(event), timeout_s)

    async def undo(self, event: str, person: str, *, timeout_s: float | None = None) -> None:
        """Undo a check-in.

        As if the person had never been seen; of one who has not arrived nothing changes.

        Args:
            event: The event's id.
            person: The person's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        await self._performer.perform(requests.undo_check_in(event, person), timeout_s)
