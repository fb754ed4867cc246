"""Units of work on enrolled people and their faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, null, select, update

from serving.database.metadata import now_utc
from serving.errors import ConsentRequired, UnknownFace, UnknownPerson
from serving.registry import erasures, idempotency
from serving.registry.erased import note_erased
from serving.registry.paging import write_cursor
from serving.registry.person_details import check_metadata, fold_name, merge_patch
from serving.registry.records import FaceSummary, Page, Person, PersonSummary
from serving.registry.tables import IS_ACTIVE, IS_OPEN, event, face, person

CURSOR_KIND = "person"
FACE_CURSOR_KIND = "face"
SCANNED_PEOPLE = 20_000
"""How many people one page of a search by name looks at, so that its cost does not grow with the event: some
tens of milliseconds."""
_NAMES_PER_STATEMENT = 1000
_BEHIND_ALL_IDS = "~"

_IN_EVENT = person.c.event_key == bindparam("key")
_ENROLLED = person.c.enrolled_at.is_not(None)
_ACTIVE_FACE = and_(face.c.event_key == person.c.event_key, face.c.person_id == person.c.id, IS_ACTIVE)

_SUMMARY = (
    person.c.id,
    person.c.name,
    person.c.created_at,
    person.c.updated_at,
    select(func.count()).where(_ACTIVE_FACE).correlate(person).scalar_subquery(),
    person.c.metadata,
    person.c.consent_reference,
)
_BEHIND = (_IN_EVENT, person.c.id > bindparam("after"), _ENROLLED)
_LIST = select(*_SUMMARY).where(*_BEHIND).order_by(person.c.id).limit(bindparam("limit"))
_SEARCH = (
    select(*_SUMMARY)
    .where(*_BEHIND, person.c.id <= bindparam("until"))
    .where(person.c.name_folded.like(bindparam("pattern"), escape="\\"))
    .order_by(person.c.id)
    .limit(bindparam("limit"))
)
_LAST_SCANNED = (
    select(person.c.id).where(*_BEHIND).order_by(person.c.id).offset(bindparam("scanned")).limit(1)
)
_GET = (
    select(
        person.c.event_key,
        person.c.id,
        person.c.name,
        person.c.created_at,
        person.c.updated_at,
        person.c.metadata,
        person.c.consent_reference,
        face.c.id,
    )
    .select_from(person.outerjoin(face, _ACTIVE_FACE))
    .where(_IN_EVENT, person.c.id == bindparam("id"), _ENROLLED)
    .order_by(face.c.id)
)
_NAMES = select(person.c.id, person.c.name).where(
    _IN_EVENT,
    person.c.id.in_(bindparam("ids", expanding=True)),
    _ENROLLED,
    exists().where(event.c.key == bindparam("key"), IS_OPEN),
)
_IS_ENROLLED = select(person.c.id).where(_IN_EVENT, person.c.id == bindparam("id"), _ENROLLED)
_FACES = select(face.c.id, face.c.created_at, face.c.detection_score).where(
    face.c.event_key == bindparam("key"), face.c.person_id == bindparam("id"), IS_ACTIVE
)
_FACE_PAGE = _FACES.where(face.c.id > bindparam("after")).order_by(face.c.id).limit(bindparam("limit"))


def list_people(
    connection: Connection, event_key: str, after_id: str, limit: int, name: str | None
) -> Page[PersonSummary]:
    """One page of enrolled people by id; with `name`, of those whose names contain it, in any case.

    A page of a search holds fewer than `limit` people and yet has a next one when `SCANNED_PEOPLE` were
    looked at.
    """
    place = {"key": event_key, "after": after_id}
    scanned_to: str | None = None
    if name is None:
        rows = connection.execute(_LIST, {**place, "limit": limit + 1}).all()
    else:
        scanned_to = connection.execute(_LAST_SCANNED, {**place, "scanned": SCANNED_PEOPLE - 1}).scalar()
        until = _BEHIND_ALL_IDS if scanned_to is None else scanned_to
        values = {**place, "until": until, "pattern": _contains(name), "limit": limit + 1}
        rows = connection.execute(_SEARCH, values).all()
    found = tuple(PersonSummary(*row) for row in rows[:limit])
    last_id = found[-1].id if len(rows) > limit else scanned_to
    return Page(found, None if last_id is None else write_cursor(CURSOR_KIND, last_id))


def _contains(name: str) -> str:
    """The LIKE pattern of names that contain this one."""
    folded = fold_name(name)
    for special in "\\%_":
        folded = folded.replace(special, "\\" + special)
    return f"%{folded}%"


def get_person(connection: Connection, event_key: str, person_id: str) -> Person:
    """The enrolled person with all active faces; raises UnknownPerson."""
    rows = connection.execute(_GET, {"key": event_key, "id": person_id}).all()
    if not rows:
        raise UnknownPerson(person=person_id)
    return read_person(rows)


def read_person(rows: Sequence[Any]) -> Person:
    """The person of these rows, one for each face, or one with null in its place; at least one row."""
    key, id, name, created_at, updated_at, metadata, consent_reference, _ = rows[0]
    face_ids = tuple(row[7] for row in rows if row[7] is not None)
    return Person(key, id, name, created_at, updated_at, face_ids, metadata, consent_reference)


def update_person(
    connection: Connection, event_key: str, person_id: str, changes: Mapping[str, Any]
) -> Person:
    """Apply a merge patch of `name`, `metadata` and `consent_reference`, each checked by the caller.

    Raises:
        UnknownPerson: there is none.
        UnknownEvent, ConsentRequired: the consent reference may not be removed at this event.
        InvalidRequest: the merged metadata break their rule.
    """
    this_person = (person.c.event_key == event_key, person.c.id == person_id, _ENROLLED)
    held = connection.execute(select(person.c.metadata).where(*this_person).with_for_update()).first()
    if held is None:
        raise UnknownPerson(person=person_id)
    values: dict[str, Any] = {"updated_at": now_utc()}
    if "name" in changes:
        name = changes["name"]
        values.update(name=name, name_folded=None if name is None else fold_name(name))
    if "metadata" in changes:
        values["metadata"] = check_metadata(merge_patch(held[0], changes["metadata"])) or null()
    if "consent_reference" in changes:
        values["consent_reference"] = changes["consent_reference"]
        required = select(event.c.consent_required).where(event.c.key == event_key)
        if changes["consent_reference"] is None and connection.execute(required).scalar():
            raise ConsentRequired("At this event nobody may be without a consent reference.")
    connection.execute(update(person).where(*this_person).values(values))
    return get_person(connection, event_key, person_id)


def names_of(connection: Connection, event_key: str, person_ids: Sequence[str]) -> dict[str, str | None]:
    """The names of those of these people who are enrolled; of none when the event is not open."""
    names: dict[str, str | None] = {}
    for start in range(0, len(person_ids), _NAMES_PER_STATEMENT):
        ids = person_ids[start : start + _NAMES_PER_STATEMENT]
        names.update((row[0], row[1]) for row in connection.execute(_NAMES, {"key": event_key, "ids": ids}))
    return names


def delete_person(connection: Connection, event_key: str, person_id: str) -> bool:
    """Remove a person, enrolled or only begun, with all faces and stored answers; whether there was one.

    If so, an erasure is planned of what is stored late.
    """
    idempotency.forget_person(connection, event_key, person_id)
    doomed = delete(person).where(person.c.event_key == event_key, person.c.id == person_id)
    if connection.execute(doomed).rowcount == 0:
        return False
    erasures.plan_erasure(connection, event_key, person_id, erasures.REVISIT_S)
    note_erased(connection, "person", event_key, person_id)
    return True


def list_faces(
    connection: Connection, event_key: str, person_id: str, after_id: str, limit: int
) -> Page[FaceSummary]:
    """One page of a person's active faces by id; raises UnknownPerson."""
    values = {"key": event_key, "id": person_id}
    if connection.execute(_IS_ENROLLED, values).first() is None:
        raise UnknownPerson(person=person_id)
    rows = connection.execute(_FACE_PAGE, {**values, "after": after_id, "limit": limit + 1}).all()
    found = tuple(FaceSummary(*row) for row in rows[:limit])
    return Page(found, write_cursor(FACE_CURSOR_KIND, found[-1].id) if len(rows) > limit else None)


def get_face(connection: Connection, event_key: str, person_id: str, face_id: str) -> FaceSummary:
    """An active face of a person; raises UnknownPerson or UnknownFace."""
    values = {"key": event_key, "id": person_id}
    if connection.execute(_IS_ENROLLED, values).first() is None:
        raise UnknownPerson(person=person_id)
    row = connection.execute(
        _FACES.where(face.c.id == bindparam("face")), {**values, "face": face_id}
    ).first()
    if row is None:
        raise UnknownFace(person=person_id, face=face_id)
    return FaceSummary(*row)


def delete_face(connection: Connection, event_key: str, person_id: str, face_id: str) -> bool:
    """Remove a face, enrolled or only begun; whether there was one. The person stays, also without faces.

    If so, an erasure is planned of what is stored late. Stored answers stay: a retry that comes late finds
    one, and does not enrol the face again.
    """
    this_person = (person.c.event_key == event_key, person.c.id == person_id)
    if connection.execute(select(person.c.id).where(*this_person).with_for_update()).first() is None:
        return False
    doomed = delete(face).where(
        face.c.event_key == event_key, face.c.person_id == person_id, face.c.id == face_id
    )
    if connection.execute(doomed).rowcount == 0:
        return False
    connection.execute(update(person).where(*this_person).values(updated_at=now_utc()))
    erasures.plan_erasure(connection, event_key, person_id, erasures.REVISIT_S)
    note_erased(connection, "face", event_key, person_id, face_id)
    return True
