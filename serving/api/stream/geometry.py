"""How likely two boxes are the same face a moment apart."""

from __future__ import annotations

from dataclasses import dataclass

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""

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


def find_overlap(a: Box, b: Box) -> float:
    """Intersection over union, 0..1; 0 where either has no area."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inside = width * height
    return inside / (a[2] * a[3] + b[2] * b[3] - inside)


def compare_boxes(expected: Box, found: Box, elapsed_s: float) -> Likeness | None:
    """How well `found` fits what was `expected` `elapsed_s` after it was last seen; None: out of reach."""
    side, other = _side(expected), _side(found)
    if side <= 0 or other <= 0 or max(side, other) > MAX_SIZE_RATIO * min(side, other):
        return None
    (x, y), (u, v) = find_centre(expected), find_centre(found)
    distance = ((x - u) ** 2 + (y - v) ** 2) ** 0.5 / ((side + other) / 2)
    if distance > min(MAX_REACH_SIDES, REACH_SIDES + REACH_SIDES_PER_S * elapsed_s):
        return None
    return Likeness(find_overlap(expected, found), distance)


def find_centre(box: Box) -> tuple[float, float]:
    """Its middle."""
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def move(box: Box, velocity: tuple[float, float], elapsed_s: float) -> Box:
    """Where a box is after so long at a velocity in pixels a second."""
    return box[0] + velocity[0] * elapsed_s, box[1] + velocity[1] * elapsed_s, box[2], box[3]


def _side(box: Box) -> float:
    return float((max(box[2], 0.0) * max(box[3], 0.0)) ** 0.5)
