"""Made by client_generator from docs/openapi.json: methods of events."""

from __future__ import annotations

from collections.abc import AsyncIterator

from rollcall_client.base_routes import AsyncRoutes
from rollcall_client.bodies import UNSET, Unset
from rollcall_client.inputs import EventPolicyInput
from rollcall_client.models import (
    EventPage,
    EventStatistics,
    EventView,
    LivenessMode,
    QualityLevel,
    RequestPolicy,
)
from rollcall_client.requests import events as requests


class AsyncEventsRoutes(AsyncRoutes):
    """Routes of events."""

    async def create(
        self,
        *,
        name: str | None = None,
        policy: EventPolicyInput | None = None,
        request_policy: RequestPolicy | None = None,
        quality_level: QualityLevel | None = None,
        liveness: LivenessMode | None = None,
        retention_days: int | None = None,
        consent_required: bool | None = None,
        id: str | None = None,
        pack_id: str | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> EventView:
        """Create an event.

        People enrolled at one event are never found at another. Events share nothing.

        All fields may be left out. A policy in the form of a false match rate or a strictness follows
        the pack's calibration; `decision_threshold` in the answer is the cosine that it comes to. A
        retry with the same `Idempotency-Key` gets the first one's answer.

        Args:
            name: For people to read: printable and not all blank.
            policy: Null: as the settings or the pack say.
            request_policy: Which thresholds a request may ask for: none, only stricter ones than the
                event's (the default), or any.
            quality_level: What faces are held to at enrolment; null: as the settings say.
            liveness: What becomes of faces that are not live: nothing is asked, it is told in the answer,
                or they are refused; null: as the settings say. Needs a liveness model.
            consent_required: Whether nobody is enrolled without a consent reference; false when left out.
            id: Your own id; one is made when it is left out.
            pack_id: The model pack you count on; another than the one that serves is refused.
            idempotency_key: makes the call the same request as an earlier one; each call has one of its own
                by default
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.create_event(
                name=name,
                policy=policy,
                request_policy=request_policy,
                quality_level=quality_level,
                liveness=liveness,
                retention_days=retention_days,
                consent_required=consent_required,
                id=id,
                pack_id=pack_id,
                idempotency_key=idempotency_key,
            ),
            timeout_s,
        )

    async def page(
        self,
        *,
        cursor: str | None = None,
        limit: int | None = None,
        closed: bool | None = None,
        timeout_s: float | None = None,
    ) -> EventPage:
        """List events.

        The events that the caller may touch, by id, each with its counts.

        Args:
            cursor: `next_cursor` of the page before.
            limit: Entries in a page. (default: 100)
            closed: Only those that are closed, or only those that are not.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.list_events(cursor=cursor, limit=limit, closed=closed), timeout_s
        )

    async def iterate(
        self, *, limit: int | None = None, closed: bool | None = None, timeout_s: float | None = None
    ) -> AsyncIterator[EventView]:
        """List events, page after page.

        A page is fetched when the one before is used up; `limit` is the most in one, and `timeout_s`
        holds for each.
        """
        async for page in self._pages(
            lambda cursor: requests.list_events(cursor=cursor, limit=limit, closed=closed),
            lambda page: page.next_cursor,
            timeout_s,
        ):
            for each in page.events:
                yield each

    async def get(self, event: str, *, timeout_s: float | None = None) -> EventView:
        """Look at an event.

        An event and how many people and faces it holds.

        Args:
            event: The event's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.get_event(event), timeout_s)

    async def change(
        self,
        event: str,
        *,
        name: str | Unset | None = UNSET,
        policy: EventPolicyInput | Unset | None = UNSET,
        request_policy: RequestPolicy | Unset | None = UNSET,
        quality_level: QualityLevel | Unset | None = UNSET,
        liveness: LivenessMode | Unset | None = UNSET,
        retention_days: int | Unset | None = UNSET,
        consent_required: bool | Unset | None = UNSET,
        timeout_s: float | None = None,
    ) -> EventView:
        """Change an event.

        A JSON merge patch (RFC 7396): what is left out stays as it is, null brings the default back.

        The forms of the policy exclude each other: giving one removes the others. What is changed holds
        for every request that begins after the answer.

        Args:
            event: The event's id.
            name: For people to read: printable and not all blank.
            policy: Null: as the settings or the pack say.
            request_policy: Which thresholds a request may ask for: none, only stricter ones than the
                event's (the default), or any.
            quality_level: What faces are held to at enrolment; null: as the settings say.
            liveness: What becomes of faces that are not live: nothing is asked, it is told in the answer,
                or they are refused; null: as the settings say. Needs a liveness model.
            consent_required: Whether nobody is enrolled without a consent reference; false when left out.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.change_event(
                event,
                name=name,
                policy=policy,
                request_policy=request_policy,
                quality_level=quality_level,
                liveness=liveness,
                retention_days=retention_days,
                consent_required=consent_required,
            ),
            timeout_s,
        )

    async def delete(self, event: str, *, timeout_s: float | None = None) -> None:
        """Delete an event and everyone in it.

        Erases the faces and people of the event. If it was cut off half way, delete again to finish.

        Args:
            event: The event's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        await self._performer.perform(requests.delete_event(event), timeout_s)

    async def close(self, event: str, *, timeout_s: float | None = None) -> EventView:
        """Close an event.

        From now on nobody is enrolled or recognised at the event; looking, exporting and erasing go on.

        Closing what is closed changes nothing. With `retention_days` the event is deleted so many days
        later.

        Args:
            event: The event's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.close_event(event), timeout_s)

    async def reopen(self, event: str, *, timeout_s: float | None = None) -> EventView:
        """Reopen an event.

        Undoes closing; an event that is open stays so.

        Args:
            event: The event's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.reopen_event(event), timeout_s)

    async def statistics(self, event: str, *, timeout_s: float | None = None) -> EventStatistics:
        """What became of the faces at an event.

        How much was asked and answered; it lags behind by about a second.

        The histogram shows how well the threshold separates: matches should lie well above it, unknowns
        below. It is empty for callers who may not read people: with one request at a time they would
        learn from it how near an unknown face came.

        Args:
            event: The event's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.get_statistics(event), timeout_s)
