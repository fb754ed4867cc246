"""Made by client_generator from docs/openapi.json: methods of people."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

from rollcall_client.base_routes import AsyncRoutes
from rollcall_client.bodies import UNSET, Picture, Unset
from rollcall_client.models import (
    Enrolment,
    FacePage,
    LivenessMode,
    PeoplePage,
    PersonSummary,
    PersonView,
    QualityLevel,
    SingleFace,
    StoredFace,
)
from rollcall_client.requests import people as requests


class AsyncPeopleRoutes(AsyncRoutes):
    """Routes of people."""

    async def enrol(
        self,
        event: str,
        pictures: Picture | Sequence[Picture],
        *,
        consent_reference: str | None = None,
        face: SingleFace | None = None,
        quality: QualityLevel | None = None,
        liveness: LivenessMode | None = None,
        on_duplicate: Literal["refuse", "allow"] | None = None,
        person_id: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Enrolment:
        """Enrol a person.

        One or more pictures of one person, one face of each; all are stored or none.

        Send them as a multipart form, as JSON with base64, or as a raw image body. Options go in the
        query, or beside the pictures in the form or JSON; `metadata` only there. Enrolling an id that
        exists adds to its faces; the same picture twice is one face. A face that matches another person
        of the event is refused, unless `on_duplicate=allow`. The pictures themselves are not kept.

        Args:
            event: The event's id.
            pictures: one file or several, each as its bytes, its path or open
            consent_reference: Names the person's consent in your own records; some events ask for it.
            face: Each picture must hold only one face; or its largest counts, or the one nearest the
                centre. (default: only)
            quality: Hold the faces to this level, no lower than the event's own.
            liveness: Check faces for being live at least so strictly; else as the event says.
            on_duplicate: Whether a face that matches another person is refused; else as the settings say.
            person_id: Your own id for the person; one is made when it is left out.
            name: For people to read.
            metadata: A JSON object of yours, at most 4096 bytes and 3 levels; in a form, as JSON text.
            idempotency_key: makes the call the same request as an earlier one; each call has one of its own
                by default
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.enrol(
                event,
                pictures,
                consent_reference=consent_reference,
                face=face,
                quality=quality,
                liveness=liveness,
                on_duplicate=on_duplicate,
                person_id=person_id,
                name=name,
                metadata=metadata,
                idempotency_key=idempotency_key,
            ),
            timeout_s,
        )

    async def page(
        self,
        event: str,
        *,
        cursor: str | None = None,
        limit: int | None = None,
        name: str | None = None,
        timeout_s: float | None = None,
    ) -> PeoplePage:
        """List people.

        The people of an event, by id.

        With `name`, a page of a large event may hold few people or none and yet have a `next_cursor`: go
        on until that is null.

        Args:
            event: The event's id.
            cursor: `next_cursor` of the page before.
            limit: Entries in a page. (default: 100)
            name: Only people whose names contain this, in upper or lower case.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.list_people(event, cursor=cursor, limit=limit, name=name), timeout_s
        )

    async def iterate(
        self, event: str, *, limit: int | None = None, name: str | None = None, timeout_s: float | None = None
    ) -> AsyncIterator[PersonSummary]:
        """List people, page after page.

        A page is fetched when the one before is used up; `limit` is the most in one, and `timeout_s`
        holds for each.
        """
        async for page in self._pages(
            lambda cursor: requests.list_people(event, cursor=cursor, limit=limit, name=name),
            lambda page: page.next_cursor,
            timeout_s,
        ):
            for each in page.people:
                yield each

    async def get(self, event: str, person: str, *, timeout_s: float | None = None) -> PersonView:
        """Look at a person.

        A person and the ids of their faces.

        Args:
            event: The event's id.
            person: The person's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.get_person(event, person), timeout_s)

    async def change(
        self,
        event: str,
        person: str,
        *,
        name: str | Unset | None = UNSET,
        metadata: Mapping[str, Any] | Unset | None = UNSET,
        consent_reference: str | Unset | None = UNSET,
        timeout_s: float | None = None,
    ) -> PersonView:
        """Change a person.

        A merge patch (RFC 7396) of `name`, `metadata` and `consent_reference`.

        What is left out stays, null removes, members of `metadata` are merged. Answers the person as
        changed.

        Args:
            event: The event's id.
            person: The person's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.change_person(
                event, person, name=name, metadata=metadata, consent_reference=consent_reference
            ),
            timeout_s,
        )

    async def delete(self, event: str, person: str, *, timeout_s: float | None = None) -> None:
        """Erase a person.

        Erases the person and every face; they cannot be found from the moment this answers.

        Args:
            event: The event's id.
            person: The person's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        await self._performer.perform(requests.delete_person(event, person), timeout_s)

    async def add_faces(
        self,
        event: str,
        person: str,
        pictures: Picture | Sequence[Picture],
        *,
        consent_reference: str | None = None,
        face: SingleFace | None = None,
        quality: QualityLevel | None = None,
        liveness: LivenessMode | None = None,
        on_duplicate: Literal["refuse", "allow"] | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Enrolment:
        """Add faces to a person.

        More pictures of a person who is enrolled, one face of each; all are stored or none.

        As for the enrolment of a person. `cosine_to_person` says how much each face resembles the
        others; faces that do not resemble them are stored all the same.

        Args:
            event: The event's id.
            person: The person's id.
            pictures: one file or several, each as its bytes, its path or open
            consent_reference: Names the person's consent in your own records; some events ask for it.
            face: Each picture must hold only one face; or its largest counts, or the one nearest the
                centre. (default: only)
            quality: Hold the faces to this level, no lower than the event's own.
            liveness: Check faces for being live at least so strictly; else as the event says.
            on_duplicate: Whether a face that matches another person is refused; else as the settings say.
            idempotency_key: makes the call the same request as an earlier one; each call has one of its own
                by default
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.add_faces(
                event,
                person,
                pictures,
                consent_reference=consent_reference,
                face=face,
                quality=quality,
                liveness=liveness,
                on_duplicate=on_duplicate,
                idempotency_key=idempotency_key,
            ),
            timeout_s,
        )

    async def page_of_faces(
        self,
        event: str,
        person: str,
        *,
        cursor: str | None = None,
        limit: int | None = None,
        timeout_s: float | None = None,
    ) -> FacePage:
        """List a person's faces.

        The faces of a person, by id.

        Args:
            event: The event's id.
            person: The person's id.
            cursor: `next_cursor` of the page before.
            limit: Entries in a page. (default: 100)
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.list_faces(event, person, cursor=cursor, limit=limit), timeout_s
        )

    async def iterate_faces(
        self, event: str, person: str, *, limit: int | None = None, timeout_s: float | None = None
    ) -> AsyncIterator[StoredFace]:
        """List a person's faces, page after page.

        A page is fetched when the one before is used up; `limit` is the most in one, and `timeout_s`
        holds for each.
        """
        async for page in self._pages(
            lambda cursor: requests.list_faces(event, person, cursor=cursor, limit=limit),
            lambda page: page.next_cursor,
            timeout_s,
        ):
            for each in page.faces:
                yield each

    async def delete_face(
        self, event: str, person: str, face: str, *, timeout_s: float | None = None
    ) -> None:
        """Erase a face.

        Erases one face for good; it cannot be found from the moment this answers.

        The person stays, also when it was the last one.

        Args:
            event: The event's id.
            person: The person's id.
            face: The face's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        await self._performer.perform(requests.delete_face(event, person, face), timeout_s)
