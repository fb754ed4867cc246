"""The registry as the rest of the service calls it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from serving.database import Database
from serving.database.metadata import now_utc
from serving.errors import InvalidRequest, UnknownEvent, UnknownFace, UnknownPerson
from serving.registry import enrolment, events, people, statistics
from serving.registry.bulk_enrolment import BulkEnrolments
from serving.registry.erasures import Erasures
from serving.registry.identifiers import (
    check_event_id,
    check_face_id,
    check_name,
    check_person_id,
    is_event_id,
    is_person_id,
)
from serving.registry.keyed_requests import KeyedRequests
from serving.registry.pack_migration import PackMigrations
from serving.registry.paging import check_limit, read_cursor
from serving.registry.person_details import PersonDetails, check_consent_reference, check_metadata
from serving.registry.records import (
    Counts,
    Event,
    EventFields,
    FaceSummary,
    NewFace,
    Page,
    Person,
    PersonSummary,
    StaleEnrolment,
)

MAX_FACES_PER_ENROLMENT = 1000
_MAX_LOOKED_UP = 100


class Registry:
    """Events, people and which faces exist.

    Every method but `close` may raise StageUnavailable (no database) and, when it writes, Overloaded. A
    method that writes returns once the change is on disk.

    Args:
        database: may be shared with others; `open` opens it and `close` closes it for all of them.

    Attributes:
        requests: those that carry an Idempotency-Key.
        bulk: enrolments of many people at once.
        erasures: what of the gallery is to be erased yet.
        migrations: events that move to another pack.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.requests = KeyedRequests(database)
        self.bulk = BulkEnrolments(database)
        self.erasures = Erasures(database)
        self.migrations = PackMigrations(database)

    async def open(self) -> None:
        """Connect and bring the tables up to date; nothing happens when the database is open."""
        await self._database.open()

    async def close(self) -> None:
        """Let go of the database."""
        await self._database.close()

    async def check(self) -> None:
        """Raise StageUnavailable unless the database answers."""
        await self._database.read(events.ping)

    async def create_event(
        self, id: str | None, name: str | None, pack_id: str, fields: EventFields | None = None
    ) -> Event:
        """Create an event, under a new short id when `id` is None.

        Raises:
            InvalidRequest: the id, the name or a field breaks its rule.
            EventExists: an open event has this id. One that is being deleted does not count.
        """
        return await self._database.write(self.plan_event(id, name, pack_id, fields))

    @staticmethod
    def plan_event(
        id: str | None, name: str | None, pack_id: str, fields: EventFields | None = None
    ) -> Callable[[Connection], Event]:
        """The unit of work that creates an event, for `requests.create_event_once`; raises InvalidRequest."""
        if id is not None:
            check_event_id(id)
        all_fields: EventFields = {**(fields or EventFields()), "name": name}
        events.check_fields(all_fields)
        return partial(events.create_event, event_id=id, pack_id=pack_id, fields=all_fields)

    async def update_event(self, key: str, changes: EventFields) -> Event:
        """Set what is given; a decision policy takes the place of one in another form.

        Raises:
            InvalidRequest: a field breaks its rule.
            UnknownEvent: there is no event of this key, or it is being deleted.
        """
        events.check_fields(changes)
        return await self._database.write(events.update_event, key, changes)

    async def close_event(self, key: str) -> Event:
        """Mark an event as closed, since now or since it first was; raises UnknownEvent."""
        return await self._database.write(events.close_event, key)

    async def reopen_event(self, key: str) -> Event:
        """Undo `close_event`; may be repeated; raises UnknownEvent."""
        return await self._database.write(events.reopen_event, key)

    async def get_event(self, id: str) -> Event:
        """The event of this id; raises UnknownEvent, also when it is being deleted."""
        if not is_event_id(id):
            raise UnknownEvent
        return await self._database.look_up(events.get_event, id)

    async def list_events(
        self,
        after: str | None = None,
        limit: int = 100,
        only: Collection[str] | None = None,
        closed: bool | None = None,
    ) -> Page[Event]:
        """A page of open events in the order of their ids, with their counts of people and faces.

        Args:
            after: `next` of the page before, or None for the first.
            limit: 1 to 1000.
            only: the ids to restrict the list to, or None for all.
            closed: whether those that are closed are wanted, or those that are not; None for both.

        Raises:
            InvalidRequest: not a cursor of this list, or the limit is out of range.
        """
        after_id = read_cursor(events.CURSOR_KIND, after)
        chosen = None if only is None else sorted(set(only))
        return await self._database.read(events.list_events, after_id, check_limit(limit), chosen, closed)

    async def begin_event_deletion(self, id: str) -> Event:
        """Close an event for good, before its vectors are erased; from here on it counts as unknown.

        Called again after a failure it returns the event that is half deleted, so the caller can finish;
        an open event of the same id, created since, takes precedence.

        Raises:
            UnknownEvent: there is none of this id in either state.
        """
        if not is_event_id(id):
            raise UnknownEvent
        return await self._database.write(events.begin_deletion, id)

    async def finish_event_deletion(self, key: str) -> None:
        """Forget a closed event, its people and faces, once their vectors are erased; may be repeated.

        Leaves an erasure of the event, due when no request can store a vector any more.
        """
        await self._database.write(events.finish_deletion, key)

    async def deleting_events(self) -> list[Event]:
        """The events whose deletion was begun and not finished, oldest first."""
        return await self._database.read(events.deleting_events)

    async def begin_enrolment(
        self,
        event_key: str,
        person_id: str | None,
        name: str | None,
        faces: Sequence[NewFace],
        *,
        metadata: Mapping[str, Any] | None = None,
        consent_reference: str | None = None,
        must_exist: bool = False,
        partitions: Collection[str] | None = None,
    ) -> Person:
        """Announce faces before their vectors are stored; creates the person, under a new id when None.

        Name, metadata and consent reference are for a new person; one who exists keeps theirs until
        `finish_enrolment`. Faces that are enrolled already stay so, hence a repeated request doubles nothing.
        Nobody else sees a new person until the enrolment is finished.

        Args:
            partitions: those of `Event.places` where the vectors are going to be stored; None: the event's
                first one.

        Raises:
            PackChanged: the event's vectors belong elsewhere too by now; begin anew with the event as it is.
            InvalidRequest: an id or a detail breaks its rule, or there are no faces or too many.
            UnknownEvent, EventClosed: there is no open event of this key, or it is closed.
            UnknownPerson: with `must_exist`: nobody of this id is enrolled.
            ConsentRequired: the event asks for a consent reference; none is given and the person has none.
            StageUnavailable: earlier faces of this person are being erased right now.
        """
        if person_id is not None:
            check_person_id(person_id)
        details = PersonDetails(name, metadata, consent_reference)
        details.check()
        self._check_face_ids([face.id for face in faces])
        return await self._database.write(
            enrolment.begin_enrolment,
            event_key,
            person_id,
            details,
            list(faces),
            must_exist,
            frozenset(partitions or (event_key,)),
        )

    async def finish_enrolment(
        self,
        event_key: str,
        person_id: str,
        face_ids: Sequence[str],
        name: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        consent_reference: str | None = None,
        partitions: Collection[str] | None = None,
    ) -> Person:
        """Confirm that the vectors are stored; returns the person with all enrolled faces. May be repeated.

        Name, metadata and consent reference replace what the person has, where they are given.

        Raises:
            InvalidRequest: a face id or a detail breaks its rule, or there are no faces or too many.
            PackChanged: as `begin_enrolment`, since then; nothing was changed.
            ErasedMeanwhile: the event, the person or a face was deleted since `begin_enrolment`. Nothing
                was changed, and the caller must erase the vectors it stored.
        """
        details = PersonDetails(name, metadata, consent_reference)
        details.check()
        self._check_face_ids(face_ids)
        return await self._database.write(
            enrolment.finish_enrolment,
            event_key,
            person_id,
            list(face_ids),
            details,
            frozenset(partitions or (event_key,)),
        )

    async def abandon_enrolment(
        self, event_key: str, person_id: str, face_ids: Sequence[str], older_than_s: float | None = None
    ) -> None:
        """Take back `begin_enrolment`; may be repeated.

        Removes those of the faces that are not enrolled, and the person if no enrolment of theirs ever
        finished and no face is left. When a face was removed, an erasure of the person is due at once: the
        vectors need not be erased before this call, and a face enrolled meanwhile keeps its own.

        Args:
            older_than_s: only faces begun, for the last time, at least this many seconds ago; None for all.
        """
        begun_before = None if older_than_s is None else now_utc() - timedelta(seconds=older_than_s)
        await self._database.write(
            enrolment.abandon_enrolment, event_key, person_id, list(face_ids), begun_before
        )

    async def stale_enrolments(self, older_than_s: float, limit: int = 1000) -> list[StaleEnrolment]:
        """What crashed callers left behind: faces begun this many seconds ago and not finished.

        For each, call `abandon_enrolment` with the same `older_than_s`: the list may be old by then, and a
        face begun again. At most `limit` faces per call.
        """
        begun_before = now_utc() - timedelta(seconds=older_than_s)
        return await self._database.read(enrolment.stale_enrolments, begun_before, check_limit(limit))

    async def list_people(
        self, event_key: str, after: str | None = None, limit: int = 100, name: str | None = None
    ) -> Page[PersonSummary]:
        """A page of the people of an event in the order of their ids; arguments as for `list_events`.

        Args:
            name: only people whose names contain this, in whatever case. Such a page may hold fewer people
                than `limit`, even none, and yet have a `next`.
        """
        after_id = read_cursor(people.CURSOR_KIND, after)
        check_name(name)
        return await self._database.read(people.list_people, event_key, after_id, check_limit(limit), name)

    async def get_person(self, event_key: str, id: str) -> Person:
        """The person with the ids of all enrolled faces; raises UnknownPerson."""
        if not is_person_id(id):
            raise UnknownPerson
        return await self._database.look_up(people.get_person, event_key, id)

    async def update_person(self, event_key: str, id: str, changes: Mapping[str, Any]) -> Person:
        """Change a person by a merge patch (RFC 7396); returns the person as changed.

        Args:
            changes: of `name`, `metadata` and `consent_reference` those to change; None removes.

        Raises:
            UnknownPerson: nobody of this id is enrolled.
            InvalidRequest: one of them breaks its rule, or the merged metadata do.
            ConsentRequired: the consent reference is to go, and the event asks for one.
        """
        if not is_person_id(id):
            raise UnknownPerson
        check_name(changes.get("name"))
        check_metadata(changes.get("metadata"))
        check_consent_reference(changes.get("consent_reference"))
        return await self._database.write(people.update_person, event_key, id, dict(changes))

    async def list_faces(
        self, event_key: str, person_id: str, after: str | None = None, limit: int = 100
    ) -> Page[FaceSummary]:
        """A page of the enrolled faces of a person in the order of their ids; arguments as for `list_events`.

        Raises:
            UnknownPerson: nobody of this id is enrolled.
        """
        if not is_person_id(person_id):
            raise UnknownPerson
        after_id = read_cursor(people.FACE_CURSOR_KIND, after)
        limit = check_limit(limit)
        return await self._database.read(people.list_faces, event_key, person_id, after_id, limit)

    async def get_face(self, event_key: str, person_id: str, face_id: str) -> FaceSummary:
        """An enrolled face of a person; raises UnknownPerson or UnknownFace."""
        if not is_person_id(person_id):
            raise UnknownPerson
        if not is_event_id(face_id):  # the rule is the same
            raise UnknownFace
        return await self._database.look_up(people.get_face, event_key, person_id, face_id)

    async def delete_face(self, event_key: str, person_id: str, face_id: str) -> bool:
        """Forget one face of a person, who stays; whether there was one.

        Erase its vector before this call and the person's orphans after it, as for `delete_person`.
        """
        return await self._database.write(people.delete_face, event_key, person_id, face_id)

    async def delete_person(self, event_key: str, id: str) -> bool:
        """Forget a person and all faces; whether there was one.

        Erase the person's vectors before this call, so that a crash in between leaves a person who can be
        deleted again, and once more after it, whatever it returned, for an enrolment that finished in
        between. An enrolment still under way gets ErasedMeanwhile; should it die before it can take its
        vectors back, the erasure does that which this call leaves, due when no request can be under way.
        """
        if not is_person_id(id):
            return False
        return await self._database.write(people.delete_person, event_key, id)

    async def names_of(self, event_key: str, person_ids: Collection[str]) -> dict[str, str | None]:
        """The names of the enrolled among these people. Who is absent must not be named in an answer.

        Of an event that is being deleted, or is gone, everybody is absent.
        """
        if not person_ids:
            return {}
        if len(person_ids) <= _MAX_LOOKED_UP:
            return await self._database.look_up(people.names_of, event_key, list(person_ids))
        return await self._database.read(people.names_of, event_key, list(person_ids))

    async def counts(self, event_key: str) -> Counts:
        """How many people and faces are enrolled; zeros for a key that does not exist."""
        return await self._database.look_up(events.count, event_key)

    async def add_statistics(self, tallies: Mapping[str, statistics.Tally]) -> None:
        """Add counts to those of the events with these keys, in one transaction.

        Events that are gone are passed over. Right with any number of callers at once.
        """
        await self._database.write(statistics.add_tallies, dict(tallies))

    async def statistics(self, event_key: str) -> statistics.Statistics:
        """What was counted at an event; zeros for a key that does not exist."""
        return await self._database.read(statistics.get_statistics, event_key)

    @staticmethod
    def _check_face_ids(face_ids: Sequence[str]) -> None:
        if not 1 <= len(face_ids) <= MAX_FACES_PER_ENROLMENT:
            raise InvalidRequest(
                f"An enrolment has 1 to {MAX_FACES_PER_ENROLMENT} faces.",
                field="faces",
                max_faces=MAX_FACES_PER_ENROLMENT,
            )
        for face_id in face_ids:
            check_face_id(face_id)
