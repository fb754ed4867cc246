"""What a face detector is and returns, and non-maximum suppression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.vision.picture import Picture

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


class FaceDetector(Protocol):
    """Finds faces in RGB pictures; one instance serves one thread at a time."""

    max_batch: int
    """At most this many pictures go through the model in one run."""

    def detect(self, pictures: Sequence[Picture], side_px: int) -> list[Detections]:
        """Find the faces of each picture, whatever pictures it shares the call with.

        Args:
            pictures: uint8 [h, w, 3] RGB each, of any sizes.
            side_px: pictures are searched scaled down until their longer side is at most this; never up.

        Returns:
            For each picture its faces, in pixels of the picture as given.
        """
        ...

    def warm_up(self, side_px: int) -> None:
        """Run the shapes that pictures at side_px lead to, so that the first request pays for none."""
        ...

    def check(self) -> None:
        """Run the model on a small fixed picture and compare with the first time.

        Raises:
            InternalError: a value is not finite or has changed.
        """
        ...


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
