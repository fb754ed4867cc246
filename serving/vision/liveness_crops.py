"""Cutting what liveness models look at: more than the face, because paper and screens have edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.vision.alignment import fit_similarity
from serving.vision.detection import Floats
from serving.vision.picture import Picture

Box = tuple[float, float, float, float]

LivenessCrops = tuple[Picture, ...]
"""Of one face: for each model its crop, uint8 [S, S, 3] RGB, S being the model's."""


@dataclass(frozen=True, slots=True)
class BoxCut:
    """The box of the face, made `scale` times as wide and as high, and squeezed into a square.

    As Silent-Face-Anti-Spoofing trains and asks its models (minivision, `CropImage`): a cut that would be
    larger than the picture is made smaller, one that reaches over an edge is moved inside.

    size_px: side of the square.
    """

    size_px: int
    scale: float

    def cut(self, picture: Picture, box: Box, landmarks: Floats) -> Picture:
        """The crop, uint8 [size_px, size_px, 3], of a face of a picture uint8 [h, w, 3]; never None."""
        left, top, right, bottom = place_cut(box, self.scale, picture.shape[1], picture.shape[0])
        region = picture[top:bottom, left:right]
        # Bilinear without smoothing, as the models saw it in training: what a screen shows would be lost.
        return np.asarray(cv2.resize(region, (self.size_px, self.size_px), interpolation=cv2.INTER_LINEAR))


@dataclass(frozen=True, slots=True)
class AlignedCut:
    """The face turned so that its landmarks lie on given points; what is outside repeats the edge.

    As the liveness add-on of InsightFace asks its model.

    size_px: side of the square. points: x, y of the five landmarks in it. max_outside: the share of the crop,
    0..1, that may lie outside the picture.
    """

    size_px: int
    points: tuple[tuple[float, float], ...]
    max_outside: float

    def cut(self, picture: Picture, box: Box, landmarks: Floats) -> Picture | None:
        """The crop, uint8 [size_px, size_px, 3], or None when too much of it is outside the picture."""
        source, target = np.asarray(landmarks, np.float64), np.asarray(self.points, np.float64)
        matrix = fit_similarity(source, target, np.ones(len(target)))
        if not np.isfinite(matrix).all() or np.linalg.det(matrix[:, :2]) <= 0:
            return None
        height, width = picture.shape[:2]
        if _share_outside(matrix, self.size_px, width, height) > self.max_outside:
            return None
        crop = cv2.warpAffine(
            picture,
            matrix,
            (self.size_px, self.size_px),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(crop)


LivenessCut = BoxCut | AlignedCut


class LivenessCropper:
    """Cuts what each of several liveness models wants to see of a face."""

    def __init__(self, cuts: Sequence[LivenessCut]) -> None:
        self._cuts = tuple(cuts)

    def cut(self, picture: Picture, box: Box, landmarks: Floats) -> LivenessCrops | None:
        """The crops of one face, or None when a model could not judge it from this picture.

        Args:
            picture: full resolution, upright, uint8 [h, w, 3] RGB.
            box: x, y, width, height in its pixels.
            landmarks: float32 [5, 2] in its pixels.
        """
        crops = []
        for cut in self._cuts:
            crop = cut.cut(picture, box, landmarks)
            if crop is None:
                return None
            crops.append(crop)
        return tuple(crops)


def place_cut(box: Box, scale: float, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) of the cut around a box, inside width x height pixels.

    The scale is lowered until the cut fits, along both axes alike; then the cut is moved inside.
    """
    x, y, w, h = box
    w, h = max(w, 1.0), max(h, 1.0)
    scale = min(scale, (width - 1) / w, (height - 1) / h)
    left, right = _place(x + w / 2, w * scale, width)
    top, bottom = _place(y + h / 2, h * scale, height)
    return left, top, right, bottom


def _place(centre: float, length: float, limit: int) -> tuple[int, int]:
    """First and one past the last pixel of a span of `length` around `centre`, moved into 0..limit."""
    start = min(max(centre - length / 2, 0.0), max(limit - 1 - length, 0.0))
    first = int(start)
    return first, max(first + 1, min(int(start + length) + 1, limit))


def _share_outside(matrix: NDArray[np.float64], size_px: int, width: int, height: int) -> float:
    """The share of the crop's pixels whose centres fall outside the picture, 0..1."""
    steps = np.arange(size_px, dtype=np.float64)
    points = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    seen = (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    inside = (seen >= 0).all(axis=1) & (seen[:, 0] <= width - 1) & (seen[:, 1] <= height - 1)
    return float(1.0 - inside.mean())
