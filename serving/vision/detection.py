"""What a face detector returns, and non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Detections:
    """The faces of one picture, best score first, in pixels of the full-resolution picture.

    boxes: float32 [n, 4] as x, y, width, height; they may reach over the edge.
    landmarks: float32 [n, 5, 2] as x, y: left eye, right eye, nose, left and right mouth corner, left being
        left in the picture.
    scores: float32 [n] in 0..1.
    """

    boxes: Floats
    landmarks: Floats
    scores: Floats

    def __len__(self) -> int:
        return len(self.scores)


def no_detections() -> Detections:
    """An empty result."""
    return Detections(np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32))


def suppress_overlaps(boxes: Floats, scores: Floats, max_iou: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        boxes: [n, 4] as x, y, width, height.
        scores: [n].
        max_iou: a box that overlaps a better one by more than this intersection over union is dropped.

    Returns:
        Indices of the kept boxes, best score first; equal scores keep their input order.
    """
    order = np.argsort(-scores, kind="stable")
    x1, y1, width, height = boxes[order].T
    x2, y2, areas = x1 + width, y1 + height, width * height
    alive = np.ones(len(order), bool)
    kept = []
    for index in range(len(order)):
        if not alive[index]:
            continue
        kept.append(index)
        rest = slice(index + 1, None)
        overlap_x = np.minimum(x2[index], x2[rest]) - np.maximum(x1[index], x1[rest])
        overlap_y = np.minimum(y2[index], y2[rest]) - np.maximum(y1[index], y1[rest])
        overlap = np.clip(overlap_x, 0, None) * np.clip(overlap_y, 0, None)
        union = areas[index] + areas[rest] - overlap
        alive[rest] &= overlap <= max_iou * union
    return order[kept]
