"""Whom the faces of an enrolment resemble: other people of the event, and their own person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.api.deadlines import Deadline
from serving.api.policies import Policy, decide_threshold
from serving.api.services import Services
from serving.errors import DuplicatePerson
from serving.registry.records import Event, Person

SEARCHED_PEOPLE = 10
"""Nearest people looked at for each face: the person's own, and whom the registry does not know (announced
and not confirmed), must not hide the one whom it matches."""
MAX_COMPARED_FACES = 100
"""Faces of a person that a new one is compared with: half a megabyte of vectors at most."""


async def refuse_duplicates(
    services: Services,
    event: Event,
    vectors: NDArray[np.float32],
    person_id: str | None,
    deadline: Deadline,
    *,
    sees_people: bool,
) -> None:
    """Refuse faces that match somebody other than `person_id` at the event's own threshold.

    Args:
        vectors: float32 [n,D], unit length, one for each picture.
        sees_people: whether the error may tell the name of whom it matches.

    Raises:
        DuplicatePerson: the best match, with the place of the picture.
        FalseMatchRateNotSupported: the event's policy asks for more than the pack's calibration supports.
    """
    line = services.line_of(event)
    threshold = decide_threshold(event, Policy(), line.calibration, line.threshold)
    decisions = await line.stages.search(
        event.partition, vectors, SEARCHED_PEOPLE, threshold, deadline.remaining_s()
    )
    matches = [
        (place, candidate)
        for place, decision in enumerate(decisions)
        for candidate in decision.candidates
        if candidate.cosine >= threshold and candidate.person_id != person_id
    ]
    if not matches:
        return
    names = await services.registry.names_of(event.key, {match.person_id for _, match in matches})
    enrolled = [(place, match) for place, match in matches if match.person_id in names]
    if not enrolled:
        return
    place, match = max(enrolled, key=lambda each: each[1].cosine)
    named = {"name": names[match.person_id]} if sees_people else {}
    raise DuplicatePerson(
        f"picture {place} matches the person {match.person_id!r}",
        person_id=match.person_id,
        **named,
        cosine=match.cosine,
        false_match_rate=match.false_match_rate,
        threshold=threshold,
        picture=place,
    )


async def compare_with_person(
    services: Services,
    event: Event,
    known: Person | None,
    face_ids: Sequence[str],
    vectors: NDArray[np.float32],
    deadline: Deadline,
) -> list[float | None]:
    """For each face the best cosine to another face of its person, enrolled or of the same request.

    Args:
        known: the person as enrolled before, or None.
        face_ids: of the new faces; one that is enrolled already is not compared with itself.
        vectors: float32 [n,D], unit length.

    Returns:
        A raw cosine, rounded as the gallery rounds, or None where the person has no other face. Of a person
        with very many faces, `MAX_COMPARED_FACES` are compared.
    """
    others = list(zip(face_ids, vectors, strict=True))
    if known is not None and set(known.face_ids) - set(face_ids):
        page = await services.line_of(event).stages.read_faces(
            event.partition, None, MAX_COMPARED_FACES, deadline.remaining_s(), known.id
        )
        enrolled = set(known.face_ids)
        others += [(face.face, face.vector) for face in page.faces if face.face in enrolled]
    best: list[float | None] = []
    for face_id, vector in zip(face_ids, vectors, strict=True):
        cosines = [float(vector @ other) for other_id, other in others if other_id != face_id]
        best.append(min(1.0, max(-1.0, round(max(cosines), 6))) if cosines else None)
    return best
