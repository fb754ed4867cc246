"""Erasing a person: gallery and registry, in the order that no crash or race can leave a face behind."""

from __future__ import annotations

from serving.api.deadlines import Deadline
from serving.api.services import Services
from serving.graph.sweep import erase_orphans
from serving.registry.identifiers import is_person_id


async def erase_person(services: Services, event_key: str, person_id: str, deadline: Deadline) -> bool:
    """Erase a person and every face; they cannot be found from the moment this returns.

    May be repeated: after a failure half way the person is still there to be erased again.

    Args:
        event_key: of an event whose faces are of the pack that serves.
        person_id: whoever it names; nobody need have it.

    Returns:
        Whether there was such a person.

    Raises:
        StageUnavailable, Overloaded, DeadlineExceeded: try again.
    """
    if not is_person_id(person_id):
        return False
    # Vectors first, so that a crash in between leaves a person who can be deleted again.
    await services.stages.erase_person(event_key, person_id, deadline.remaining_s())
    known = await services.registry.delete_person(event_key, person_id)
    # Once more, for an enrolment that stored its vectors in between; one that began since keeps them.
    await erase_orphans(services.registry, services.stages, event_key, person_id, deadline.remaining_s())
    return known
