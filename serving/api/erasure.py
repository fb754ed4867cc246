"""Erasing people and faces: gallery and registry, in the order that no crash or race leaves a face behind."""

from __future__ import annotations

from serving.api.deadlines import Deadline
from serving.api.services import Services
from serving.errors import UnknownFace
from serving.graph.sweep import erase_orphans
from serving.graph.vaults import open_vaults
from serving.registry.identifiers import is_person_id


async def erase_person(services: Services, event_key: str, person_id: str, deadline: Deadline) -> bool:
    """Erase a person and every face; they cannot be found from the moment this returns.

    May be repeated: after a failure half way the person is still there to be erased again.

    Args:
        event_key: of an event of any pack, serving or not.
        person_id: whoever it names; nobody need have it.

    Returns:
        Whether there was such a person.

    Raises:
        StageUnavailable, Overloaded, DeadlineExceeded: try again.
    """
    if not is_person_id(person_id):
        return False
    # Vectors first, so that a crash in between leaves a person who can be deleted again.
    for place in await services.registry.erasures.places(event_key):
        for vault in open_vaults(services.lines, place):
            await vault.erase_person(place.partition, person_id, deadline.remaining_s())
    known = await services.registry.delete_person(event_key, person_id)
    # Once more, for an enrolment that stored its vectors in between; one that began since keeps them.
    await erase_orphans(services.registry, services.lines, event_key, person_id, deadline.remaining_s())
    return known


async def erase_face(
    services: Services, event_key: str, person_id: str, face_id: str, deadline: Deadline
) -> None:
    """Erase one face of a person, who stays, also without faces.

    May be repeated: after a failure half way the face is still listed and can be erased again.

    Raises:
        UnknownPerson, UnknownFace: there is none.
        StageUnavailable, Overloaded, DeadlineExceeded: try again.
    """
    await services.registry.get_face(event_key, person_id, face_id)
    for place in await services.registry.erasures.places(event_key):
        for vault in open_vaults(services.lines, place):
            await vault.erase_faces(place.partition, [(person_id, face_id)], deadline.remaining_s())
    known = await services.registry.delete_face(event_key, person_id, face_id)
    # Once more, for an enrolment of the same picture that stored its vector in between.
    await erase_orphans(services.registry, services.lines, event_key, person_id, deadline.remaining_s())
    if not known:
        raise UnknownFace(person=person_id, face=face_id)
