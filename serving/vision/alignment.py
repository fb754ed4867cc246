"""Cutting an aligned face chip out of a picture by its five landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.vision.detection import Floats
from serving.vision.picture import Picture

_MARGIN_PX = 4
_MIN_SPREAD_PX2 = 1e-6


@dataclass(frozen=True)
class AlignmentTemplate:
    """Where the landmarks belong in a chip.

    points: [5, 2] as x, y in chip pixels. weights: [5], how much each point counts. size_px: chip side.
    """

    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    size_px: int


def fit_similarity(
    source: NDArray[np.float64], target: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Similarity [2, 3] (rotation, uniform scale, shift) that best takes source [n, 2] to target [n, 2].

    Best in weighted least squares, by the closed form of Umeyama (IEEE PAMI 13(4), 1991) in two dimensions:
    with centred points as complex
    numbers s and t, scale and rotation are sum(w conj(s) t) / sum(w |s|^2). Source points that all coincide
    give the scale 1.
    """
    share = weights / weights.sum()
    source_centre, target_centre = share @ source, share @ target
    s, t = source - source_centre, target - target_centre
    spread = share @ (s**2).sum(axis=1)
    if spread < _MIN_SPREAD_PX2:
        a, b = 1.0, 0.0
    else:
        a = float(share @ (s * t).sum(axis=1) / spread)
        b = float(share @ (s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]) / spread)
    matrix = np.array([[a, -b, 0.0], [b, a, 0.0]])
    matrix[:, 2] = target_centre - matrix[:, :2] @ source_centre
    return matrix


def align_face(picture: Picture, landmarks: Floats, template: AlignmentTemplate) -> Picture:
    """Return the chip uint8 [size_px, size_px, 3]; what lies outside the picture is black.

    The picture is halved (Gaussian pyramid) while it is at least twice as fine as the chip, then sampled
    bilinearly; without that, large faces alias. Only the region under the chip is touched, so the cost does
    not grow with the picture.

    Args:
        picture: uint8 [h, w, 3].
        landmarks: float [5, 2] as x, y in picture pixels.
    """
    points = np.asarray(landmarks, np.float64)
    matrix = fit_similarity(points, template.points, template.weights)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    black = np.zeros((template.size_px, template.size_px, 3), np.uint8)
    if not np.isfinite(matrix).all() or scale <= 0:
        return black

    halvings = max(0, int(np.floor(np.log2(1 / scale))))
    left, top, right, bottom = _covered_region(
        matrix, template.size_px, picture.shape, margin=_MARGIN_PX << halvings
    )
    if left >= right or top >= bottom:
        return black
    region = picture[top:bottom, left:right]
    matrix[:, 2] += matrix[:, :2] @ (left, top)
    for _ in range(halvings):
        if min(region.shape[:2]) < 2:
            break
        region = np.asarray(cv2.pyrDown(region), np.uint8)
        matrix[:, :2] *= 2  # pyrDown keeps every even pixel: x = 2 x'
    chip = cv2.warpAffine(region, matrix, (template.size_px, template.size_px), flags=cv2.INTER_LINEAR)
    return np.asarray(chip, np.uint8)


def _covered_region(
    matrix: NDArray[np.float64], size_px: int, shape: tuple[int, ...], margin: int
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the part of the picture that the chip can see, with a margin in pixels.

    Left and top are multiples of the margin, a power of two above any halving, so that the pixels kept by
    pyrDown are those it would keep in the whole picture.
    """
    corners = np.array([[0, 0], [size_px, 0], [0, size_px], [size_px, size_px]], np.float64)
    inverse = np.linalg.inv(matrix[:, :2])
    seen = (corners - matrix[:, 2]) @ inverse.T
    height, width = shape[:2]
    low = np.clip(np.floor(seen.min(axis=0)) - margin, 0, (width, height)).astype(int)
    high = np.clip(np.ceil(seen.max(axis=0)) + margin, 0, (width, height)).astype(int)
    left, top = low // margin * margin
    return int(left), int(top), int(high[0]), int(high[1])
