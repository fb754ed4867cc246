"""SCRFD: an anchor-based face detector with five landmarks.

Decoding follows Guo et al., "Sample and Computation Redistribution for Efficient Face Detection"
(arXiv:2105.04714) and the exports of the InsightFace project: at each stride, every cell has one or two
anchors at its corner, each with a score, the distances to the four sides of a box and five points, in units
of the stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.errors import InternalError, PackError
from serving.vision.detection import (
    Detections,
    Floats,
    detect_in_batches,
    make_check_pictures,
    pad_together,
    suppress_overlaps,
)
from serving.vision.picture import Picture

_FINEST_STRIDE = 8
_LEVELS = (3, 5)
_SCORES, _BOXES, _POINTS = 1, 4, 10
_ANCHORS = (1, 2)
_MAX_CANDIDATES = 4096
"""Per picture, best first: bounds the time of suppression for pictures made to light up every cell."""

_ASPECTS = ((1, 1), (3, 4), (4, 3), (9, 16), (16, 9))
_SQUARE_SHARES = (3 / 4, 1 / 2, 3 / 8, 1 / 4)
_CHECK_SIDE_PX = 128
_CHECK_TOLERANCE = 1e-2


class Scrfd:
    """Finds faces in batches of RGB pictures.

    The model runs on a small fixed set of shapes only, so that the memory of a GPU stays flat: pictures are
    padded at the right and the bottom to one of the shapes of `list_shapes`, batches with empty pictures to a
    power of two.

    Args:
        session: ONNX Runtime session of a model made by `serving.packs.scrfd_onnx`: uint8 [n, h, w, 3] in;
            per stride, from fine to coarse, scores [n, m, 1], box distances [n, m, 4] and points [n, m, 10]
            out, in any order and under any names.
        score_threshold: anchors below this score (0..1) are ignored.
        nms_iou: overlap above which the weaker of two boxes is dropped.
        max_faces: at most this many faces per picture are returned, best first.
        max_batch: at most this many pictures per model run; lowered to a power of two.

    Raises:
        PackError: the model has other inputs or outputs.
    """

    def __init__(
        self,
        session: Any,
        *,
        score_threshold: float = 0.5,
        nms_iou: float = 0.4,
        max_faces: int = 256,
        max_batch: int = 8,
    ) -> None:
        self._session = session
        self._score_threshold = score_threshold
        self._nms_iou = nms_iou
        self._max_faces = max_faces
        self.max_batch = 1 << (max(1, max_batch).bit_length() - 1)
        model_input = session.get_inputs()[0]
        if model_input.type != "tensor(uint8)":
            raise PackError("the detector does not take raw pixels; it needs the conversion `scrfd`")
        self._input_name: str = model_input.name
        self._outputs = {
            kind: [one.name for one in session.get_outputs() if one.shape[-1] == kind]
            for kind in (_SCORES, _BOXES, _POINTS)
        }
        levels = len(self._outputs[_SCORES])
        if not self._outputs[_POINTS]:
            raise PackError("the detector finds no landmarks, which alignment needs")
        if levels not in _LEVELS or any(len(names) != levels for names in self._outputs.values()):
            raise PackError("the detector's outputs are not those of SCRFD at 3 or 5 strides")
        self._strides = tuple(_FINEST_STRIDE << level for level in range(levels))
        self._multiple = max(32, self._strides[-1])
        self._check_values: Floats | None = None

    def detect(self, pictures: Sequence[Picture], side_px: int) -> list[Detections]:
        """Find the faces of each picture; pictures of equal padded shape share a model run.

        Args:
            pictures: uint8 [h, w, 3] RGB each, of any sizes.
            side_px: pictures are scaled down until their longer side is at most this; never up.

        Returns:
            For each picture its faces, in pixels of the picture as given.
        """
        return detect_in_batches(
            pictures,
            side_px,
            self.max_batch,
            lambda picture: _choose_shape(picture, side_px, self._multiple),
            self._find,
        )

    def warm_up(self, side_px: int) -> None:
        """Run every shape and batch that pictures at side_px lead to, then the health check."""
        for height, width in list_shapes(side_px, self._multiple):
            count = 1
            while count <= self.max_batch:
                self._run(np.zeros((count, height, width, 3), np.uint8))
                count *= 2
        self.check()

    def check(self) -> None:
        """Run the model on a small fixed picture and compare its raw outputs with the first time.

        Raises:
            InternalError: a value is not finite or has changed.
        """
        outputs = self._run(make_check_pictures(_CHECK_SIDE_PX))
        values = np.concatenate([one.ravel() for levels in outputs.values() for one in levels])
        if not np.isfinite(values).all():
            raise InternalError("the detector returned values that are not finite")
        if self._check_values is None:
            self._check_values = values
        elif float(np.abs(values - self._check_values).max()) > _CHECK_TOLERANCE:
            raise InternalError("the detector's answer to a fixed picture has changed")

    def _run(self, batch: NDArray[np.uint8]) -> dict[int, list[Floats]]:
        """The raw outputs by kind, each from fine to coarse."""
        names = [name for levels in self._outputs.values() for name in levels]
        values = iter(self._session.run(names, {self._input_name: batch}))
        return {kind: [next(values) for _ in levels] for kind, levels in self._outputs.items()}

    def _find(self, pictures: Sequence[Picture], shape: tuple[int, int]) -> list[Detections]:
        """Faces of scaled pictures, in their pixels."""
        count = len(pictures)
        batch = pad_together(pictures, shape, _round_to_power(count))
        boxes, points, scores, owners = self._decode(self._run(batch), shape, count)
        best = _limit_candidates(scores, owners, count)
        boxes, points, scores, owners = boxes[best], points[best], scores[best], owners[best]
        kept = suppress_overlaps(boxes, scores, self._nms_iou, owners, self._max_faces)
        ends = np.searchsorted(owners[kept], np.arange(1, count))
        return [Detections(boxes[mine], points[mine], scores[mine]) for mine in np.split(kept, ends)]

    def _decode(
        self, outputs: dict[int, list[Floats]], shape: tuple[int, ...], count: int
    ) -> tuple[Floats, Floats, Floats, NDArray[np.intp]]:
        """Boxes [k, 4], points [k, 5, 2], scores [k] and pictures [k] of all anchors over the threshold."""
        parts = []
        for level, stride in enumerate(self._strides):
            scores = outputs[_SCORES][level][:count, :, 0]
            columns = shape[1] // stride
            anchors, rest = divmod(scores.shape[1], columns * (shape[0] // stride))
            if rest or anchors not in _ANCHORS:
                raise InternalError(f"the detector gave {scores.shape[1]} scores at stride {stride}")
            owners, places = np.nonzero(scores >= self._score_threshold)
            cells = places // anchors
            centres = np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)
            distances = outputs[_BOXES][level][owners, places]
            corner = (centres - distances[:, :2]) * stride
            size = (distances[:, :2] + distances[:, 2:]) * stride
            points = outputs[_POINTS][level][owners, places].reshape(-1, 5, 2)
            points = (points + centres[:, None]) * stride
            boxes = np.concatenate([corner, size], axis=1)
            parts.append((boxes, points, scores[owners, places], owners))
        boxes, points, scores, owners = (np.concatenate(part) for part in zip(*parts, strict=True))
        return boxes, points, scores, owners


@cache
def list_shapes(side_px: int, multiple: int = 32) -> tuple[tuple[int, int], ...]:
    """The (height, width) that pictures searched at side_px are padded to, smallest area first.

    At the full side: square, 4:3 and 16:9, both ways up. For pictures that are smaller to begin with: squares
    of three quarters, a half, three eighths and a quarter of the side. All are rounded up to the multiple.
    """
    wanted = [(side_px * min(1, h / w), side_px * min(1, w / h)) for h, w in _ASPECTS]
    wanted += [(side_px * share, side_px * share) for share in _SQUARE_SHARES]
    rounded = {(_round_up(height, multiple), _round_up(width, multiple)) for height, width in wanted}
    return tuple(sorted(rounded, key=lambda shape: (shape[0] * shape[1], shape)))


def _choose_shape(picture: Picture, side_px: int, multiple: int) -> tuple[int, int]:
    height, width = picture.shape[:2]
    return next(one for one in list_shapes(side_px, multiple) if height <= one[0] and width <= one[1])


def _round_up(length: float, multiple: int) -> int:
    return int(-(-length // multiple)) * multiple


def _round_to_power(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _limit_candidates(scores: Floats, owners: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Positions of the best candidates of each picture, in their order where none has too many."""
    if np.bincount(owners, minlength=count).max(initial=0) <= _MAX_CANDIDATES:
        return np.arange(len(scores))
    order = np.lexsort((-scores, owners))
    starts = np.searchsorted(owners[order], np.arange(count))
    rank = np.arange(len(order)) - starts[owners[order]]
    return order[rank < _MAX_CANDIDATES]
