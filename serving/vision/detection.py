"""What a face detector is and returns, and what detectors share: scaling, non-maximum suppression."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
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


def suppress_overlaps(
    boxes: Floats,
    scores: Floats,
    max_iou: float,
    owners: NDArray[np.intp] | None = None,
    max_kept: int | None = None,
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression, for many pictures at once.

    In each round every picture keeps its best remaining box and drops what overlaps it, so there are as many
    rounds as the fullest picture has faces. What a picture keeps does not depend on the other pictures.

    Args:
        boxes: [n, 4] as x, y, width, height.
        scores: [n].
        max_iou: a box that overlaps a better one by more than this intersection over union is dropped.
        owners: [n], the picture that each box is from; None means one picture.
        max_kept: at most this many boxes are kept per picture; None means no limit.

    Returns:
        Indices of the kept boxes, by picture and then best score first; equal scores keep their input order.
    """
    if owners is None:
        owners = np.zeros(len(scores), np.intp)
    order = np.lexsort((-scores, owners))
    x1, y1, width, height = boxes[order].T
    x2, y2, areas = x1 + width, y1 + height, width * height
    of = owners[order]
    left = np.arange(len(order))
    kept: list[NDArray[np.intp]] = []
    while len(left) and (max_kept is None or len(kept) < max_kept):
        is_best = np.append(True, of[left][1:] != of[left][:-1])
        kept.append(left[is_best])
        best = left[is_best][np.cumsum(is_best) - 1]
        overlap_x = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left])
        overlap_y = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left])
        overlap = np.clip(overlap_x, 0, None) * np.clip(overlap_y, 0, None)
        alive = overlap <= max_iou * (areas[best] + areas[left] - overlap)
        left = left[alive & ~is_best]
    return order[np.sort(np.concatenate(kept))] if kept else order[:0]


def detect_in_batches(
    pictures: Sequence[Picture],
    side_px: int,
    max_batch: int,
    choose_shape: Callable[[Picture], tuple[int, int]],
    find: Callable[[Sequence[Picture], tuple[int, int]], Sequence[Detections]],
) -> list[Detections]:
    """Scale pictures down, search those of equal padded shape together, and map what is found back.

    Args:
        pictures: uint8 [h, w, 3] RGB each, of any sizes.
        side_px: pictures are scaled down until their longer side is at most this; never up.
        max_batch: at most this many pictures are given to find at once.
        choose_shape: the (height, width) that a scaled picture is padded to.
        find: the faces of each of some scaled pictures, to be padded to one shape; in their pixels.
    """
    scaled = [scale_down(picture, side_px) for picture in pictures]
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, picture in enumerate(scaled):
        groups[choose_shape(picture)].append(index)
    results: list[Detections] = [no_detections()] * len(pictures)
    for shape, members in groups.items():
        for start in range(0, len(members), max_batch):
            chunk = members[start : start + max_batch]
            for index, found in zip(chunk, find([scaled[i] for i in chunk], shape), strict=True):
                results[index] = map_back(found, pictures[index].shape, scaled[index].shape)
    return results


def pad_together(pictures: Sequence[Picture], shape: tuple[int, int], count: int) -> NDArray[np.uint8]:
    """A batch uint8 [count, *shape, 3]: pictures at the top left, black elsewhere; count may exceed them."""
    batch = np.zeros((count, *shape, 3), np.uint8)
    for row, picture in enumerate(pictures):
        batch[row, : picture.shape[0], : picture.shape[1]] = picture
    return batch


def scale_down(picture: Picture, side_px: int) -> Picture:
    """The picture with its longer side at most side_px, by area averaging; a smaller one as it is."""
    height, width = picture.shape[:2]
    scale = side_px / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def map_back(found: Detections, full: tuple[int, ...], scaled: tuple[int, ...]) -> Detections:
    """Take boxes and points from the scaled picture to the full one; both shapes begin with height, width."""
    factors = np.array([full[1] / scaled[1], full[0] / scaled[0]], np.float32)
    return Detections(found.boxes * np.tile(factors, 2), found.landmarks * factors, found.scores)


def make_check_pictures(side_px: int) -> NDArray[np.uint8]:
    """A fixed colour gradient for health checks, uint8 [1, side_px, side_px, 3]."""
    ramp = np.linspace(0, 255, side_px).astype(np.uint8)
    across, down = np.meshgrid(ramp, ramp)
    return np.stack([across, down, 255 - across], axis=2)[None]
