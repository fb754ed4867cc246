"""How likely two boxes are the same face a moment apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""
Floats = NDArray[np.float64]
Boxes = Floats
"""Boxes as rows, [n,4]: of a crowd every pair is looked at, in every frame."""

REACH_SIDES = 0.5
"""What a face may be off the place it was expected at, in sides of the face: jitter of the box, a nod."""
REACH_SIDES_PER_S = 6.0
"""What it may move beside: a face is about 0.25 m high, and people at a door walk 1.5 m/s."""
MAX_REACH_SIDES = 2.5
"""Beyond it a new face is more likely than one that moved so far."""
MAX_SIZE_RATIO = 1.6
"""Of the sides of two boxes: a face coming from 2 m to 1.25 m, in no more than a second."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What speaks for two boxes being the same face.

    Attributes:
        overlap: intersection over union, 0..1.
        distance: between the centres, in mean sides of the boxes.
    """

    overlap: float
    distance: float

    @property
    def score(self) -> float:
        """More is likelier: overlap decides, and distance where there is none."""
        return self.overlap - self.distance


def find_overlaps(a: Boxes, b: Boxes) -> Floats:
    """Intersection over union of each of `a` with each of `b`, [n,m], 0..1; 0 where either has no area."""
    a, b = a[:, None], b[None]
    sides = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inside = np.prod(np.maximum(sides, 0.0), axis=-1)
    union = a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - inside
    overlaps: Floats = np.divide(inside, union, out=np.zeros_like(inside), where=inside > 0)
    return overlaps


def measure_distances(expected: Boxes, found: Boxes, elapsed_s: Floats) -> Floats:
    """How far each of `found` is from where it was `expected` `elapsed_s` [n] after it was last seen.

    Returns:
        [n,m], between the centres, in mean sides of the two boxes; infinite where it is out of reach.
    """
    side, other = _measure_sides(expected)[:, None], _measure_sides(found)[None]
    steps = (expected[:, None, :2] + expected[:, None, 2:] / 2) - (
        found[None, :, :2] + found[None, :, 2:] / 2
    )
    mean = np.maximum((side + other) / 2, 1e-9)
    distances = np.hypot(steps[..., 0], steps[..., 1]) / mean
    reach = np.minimum(MAX_REACH_SIDES, REACH_SIDES + REACH_SIDES_PER_S * elapsed_s)[:, None]
    smaller, larger = np.minimum(side, other), np.maximum(side, other)
    is_within = (smaller > 0) & (larger <= MAX_SIZE_RATIO * smaller) & (distances <= reach)
    return np.where(is_within, distances, np.inf)


def find_centre(box: Box) -> tuple[float, float]:
    """Its middle."""
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def move(box: Box, velocity: tuple[float, float], elapsed_s: float) -> Box:
    """Where a box is after so long at a velocity in pixels a second."""
    return box[0] + velocity[0] * elapsed_s, box[1] + velocity[1] * elapsed_s, box[2], box[3]


def _measure_sides(boxes: Boxes) -> Floats:
    sides: Floats = np.sqrt(np.prod(np.maximum(boxes[:, 2:], 0.0), axis=1))
    return sides
