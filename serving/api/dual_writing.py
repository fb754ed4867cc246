"""Vectors of the pack that an event moves to, from the pictures that are enrolled meanwhile.

Which faces count, how good they must be and whom they resemble is judged by the pack that is searched. The
pack to come finds the same faces again by its own detector, since each embedder needs the crops of its pack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from serving.api.deadlines import Deadline
from serving.api.probes import Vectors
from serving.api.services import Services
from serving.errors import NoFace
from serving.graph.lines import ServedPack
from serving.registry.records import Event
from serving.vision.pipeline import Face

LEAST_OVERLAP = 0.3
"""Intersection over union from which boxes of two detectors are of one face: detectors draw boxes more or
less tightly, and boxes of two faces side by side hardly overlap."""


async def embed_for_next_pack(
    services: Services, event: Event, pictures: Sequence[bytes], faces: Sequence[Face], deadline: Deadline
) -> Vectors | None:
    """The vectors of the same faces under the pack that the event moves to; None when it does not move.

    Args:
        faces: of each picture the one that is enrolled.

    Returns:
        float32 [n,D] with that pack's D, unit length.

    Raises:
        NoFace: that pack's detector does not find the face; `context["pack_id"]` names the pack.
        PackMismatch: that pack does not serve.
    """
    if event.migrating_to is None:
        return None
    line = services.lines.of(event.migrating_to)
    crops = await asyncio.gather(
        *(
            _find_crop(line, place, picture, face, deadline)
            for place, (picture, face) in enumerate(zip(pictures, faces, strict=True))
        )
    )
    return await line.stages.embed(np.stack(crops), deadline.remaining_s())


async def _find_crop(
    line: ServedPack, place: int, picture: bytes, face: Face, deadline: Deadline
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    found = await line.stages.detect(picture, deadline.remaining_s())
    best = max(found.faces, key=lambda each: overlap(each.box, face.box), default=None)
    if best is None or overlap(best.box, face.box) < LEAST_OVERLAP:
        raise NoFace(
            f"picture {place}: {line.pack.id}, to which the event moves, does not find this face",
            pack_id=line.pack.id,
            picture=place,
        )
    return best.crop


def overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes (x, y, width, height), 0..1."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    total = one[2] * one[3] + other[2] * other[3] - shared
    return shared / total if total > 0 else 0.0
