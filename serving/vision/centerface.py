"""CenterFace: an anchor-free face detector with five landmarks.

Decoding follows Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point"
(arXiv:1911.03599): at stride 4, a heat map of face centres, the logarithm of the box size, the offset of the
centre inside its cell and the landmarks relative to the box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.errors import InternalError
from serving.vision.detection import (
    Detections,
    Floats,
    detect_in_batches,
    make_check_pictures,
    no_detections,
    pad_together,
    suppress_overlaps,
)
from serving.vision.picture import Picture

_STRIDE = 4
_SIZE_MULTIPLE = 32
_MAX_LOG_SIZE = 8.0
_MAX_CANDIDATES = 4096
"""Bounds the time of suppression for pictures made to light up the whole heat map."""

_COMMON_ASPECTS = ((1, 1), (3, 4), (4, 3), (9, 16))
_CHECK_SIDE_PX = 96
_CHECK_TOLERANCE = 1e-2
_OUTPUTS = ["heat", "log_size", "offset", "landmarks"]


class CenterFace:
    """Finds faces in batches of RGB pictures.

    Args:
        session: ONNX Runtime session of the converted model: `pictures` uint8 [n, h, w, 3] in; heat,
            log_size, offset, landmarks float32 [n, c, h/4, w/4] out.
        score_threshold: centres below this heat (0..1) are ignored.
        nms_iou: overlap above which the weaker of two boxes is dropped.
        max_faces: at most this many faces per picture are returned, best first.
        max_batch: at most this many pictures per model run.
    """

    def __init__(
        self,
        session: Any,
        *,
        score_threshold: float = 0.45,
        nms_iou: float = 0.3,
        max_faces: int = 256,
        max_batch: int = 8,
    ) -> None:
        self._session = session
        self._score_threshold = score_threshold
        self._nms_iou = nms_iou
        self._max_faces = max_faces
        self.max_batch = max_batch
        self._check_values: Floats | None = None

    def detect(self, pictures: Sequence[Picture], side_px: int) -> list[Detections]:
        """Find the faces of each picture; pictures of equal padded shape share a model run.

        Args:
            pictures: uint8 [h, w, 3] RGB each, of any sizes.
            side_px: pictures are scaled down until their longer side is at most this; never up.

        Returns:
            For each picture its faces, in pixels of the picture as given.
        """
        return detect_in_batches(pictures, side_px, self.max_batch, _padded_shape, self._find)

    def warm_up(self, side_px: int) -> None:
        """Run the commonest shapes (square, 3:4 both ways up, and 16:9), then the health check."""
        for height, width in _COMMON_ASPECTS:
            whole = side_px / max(height, width)
            self.detect([np.zeros((int(height * whole), int(width * whole), 3), np.uint8)], side_px)
        self.check()

    def check(self) -> None:
        """Run the model on a small fixed picture and compare its raw maps with the first time.

        Raises:
            InternalError: a value is not finite or has changed.
        """
        maps = self._session.run(_OUTPUTS, {"pictures": make_check_pictures(_CHECK_SIDE_PX)})
        values = np.concatenate([one.ravel() for one in maps])
        if not np.isfinite(values).all():
            raise InternalError("the detector returned values that are not finite")
        if self._check_values is None:
            self._check_values = values
        elif float(np.abs(values - self._check_values).max()) > _CHECK_TOLERANCE:
            raise InternalError("the detector's answer to a fixed picture has changed")

    def _find(self, pictures: Sequence[Picture], shape: tuple[int, int]) -> list[Detections]:
        """Faces of scaled pictures, in their pixels."""
        batch = pad_together(pictures, shape, len(pictures))
        maps = self._session.run(_OUTPUTS, {"pictures": batch})
        return [self._decode(heat[0], *others) for heat, *others in zip(*maps, strict=True)]

    def _decode(self, heat: Floats, log_size: Floats, offset: Floats, landmarks: Floats) -> Detections:
        """Turn the maps of one picture into boxes and points in pixels of the scaled picture."""
        rows, columns = np.nonzero(heat >= self._score_threshold)
        if len(rows) == 0:
            return no_detections()
        scores = heat[rows, columns]
        if len(scores) > _MAX_CANDIDATES:
            best = np.argsort(-scores, kind="stable")[:_MAX_CANDIDATES]
            rows, columns, scores = rows[best], columns[best], scores[best]
        sizes = np.exp(np.minimum(log_size[:, rows, columns], _MAX_LOG_SIZE)) * _STRIDE
        heights, widths = sizes
        # The landmarks start at this corner even where it lies outside the picture: clamping it first
        # moves the points of faces cut by the edge.
        x1 = (columns + offset[1, rows, columns] + 0.5) * _STRIDE - widths / 2
        y1 = (rows + offset[0, rows, columns] + 0.5) * _STRIDE - heights / 2
        boxes = np.stack([x1, y1, widths, heights], axis=1).astype(np.float32)
        kept = suppress_overlaps(boxes, scores, self._nms_iou, max_kept=self._max_faces)
        relative = landmarks[:, rows[kept], columns[kept]].T.reshape(-1, 5, 2)[:, :, ::-1]
        points = relative * boxes[kept, None, 2:] + boxes[kept, None, :2]
        return Detections(boxes[kept], points.astype(np.float32), scores[kept])


def _padded_shape(picture: Picture) -> tuple[int, int]:
    height, width = picture.shape[:2]
    return -(-height // _SIZE_MULTIPLE) * _SIZE_MULTIPLE, -(-width // _SIZE_MULTIPLE) * _SIZE_MULTIPLE
