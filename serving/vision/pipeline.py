"""The stages of the graph as plain objects: finding faces in pictures, and recognising them in process."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.errors import DeadlineExceeded, InternalError, RollcallError
from serving.vision.alignment import AlignmentTemplate, align_face, measure_scale
from serving.vision.centerface import CenterFace
from serving.vision.detection import Detections, Floats
from serving.vision.embedding import FaceEmbedder, Vectors
from serving.vision.picture import (
    Picture,
    PictureHeader,
    PictureLimits,
    PictureView,
    decode_view,
    read_header,
)


_FACTORS = (8, 4, 2)
"""By how much a JPEG can be reduced while it is decoded."""


@dataclass(slots=True)
class Face:
    """One face of a picture.

    box: x, y, width, height in picture pixels. landmarks: float32 [5, 2]. detection_score: 0..1.
    crop: the aligned chip, uint8 [S, S, 3] RGB.
    """

    box: tuple[float, float, float, float]
    landmarks: Floats
    detection_score: float
    crop: Picture


@dataclass(slots=True)
class PictureFaces:
    """The faces of one picture, best detection first, and its upright size in pixels."""

    width: int
    height: int
    faces: list[Face]


class FaceFinder:
    """Decodes pictures, finds their faces and cuts the chips.

    The detector sees a large picture at a fraction of its size only, and chips are small too. So a JPEG is
    decoded at such a fraction, and once more, finer, only where a chip needs more pixels than that has.

    limits are applied again here, because not every caller comes through the ingress.
    """

    def __init__(
        self, detector: CenterFace, template: AlignmentTemplate, limits: PictureLimits | None = None
    ) -> None:
        self._detector = detector
        self._template = template
        self._limits = limits or PictureLimits()

    def find(
        self, pictures: Sequence[bytes], deadlines: Sequence[float] | None = None
    ) -> list[PictureFaces | RollcallError]:
        """Find the faces of encoded pictures; a bad picture yields its error and harms no other.

        As many pictures as the detector takes in one run are decoded at a time, because a decoded one can
        take 150 MB.

        Args:
            pictures: the files.
            deadlines: of each, on the clock of `time.monotonic`; a picture whose time is up when its turn
                comes is not decoded and yields DeadlineExceeded. None means no deadline.
        """
        limits_s = [math.inf] * len(pictures) if deadlines is None else list(deadlines)
        turns = list(zip(pictures, limits_s, strict=True))
        at_once = self._detector.max_batch
        results: list[PictureFaces | RollcallError] = []
        for start in range(0, len(turns), at_once):
            results += self._find_group(turns[start : start + at_once])
        return results

    def find_decoded(self, pictures: Sequence[Picture]) -> list[PictureFaces]:
        """Find the faces of upright RGB pictures, uint8 [h, w, 3]."""
        faces_of = []
        for picture, found in zip(pictures, self._detector.detect(pictures), strict=True):
            view = PictureView(picture)
            faces = [self._cut(view, found, index) for index in range(len(found))]
            faces_of.append(PictureFaces(picture.shape[1], picture.shape[0], faces))
        return faces_of

    def warm_up(self) -> None:
        """Run the commonest shapes (4:3 and 16:9, both ways up, and square), then the health check."""
        side = self._detector.max_side_px
        for height, width in (
            (side, side),
            (side * 3 // 4, side),
            (side, side * 3 // 4),
            (side * 9 // 16, side),
        ):
            self._detector.detect([np.zeros((height, width, 3), np.uint8)])
        self.check()

    def check(self) -> None:
        """Run the detector on a small fixed picture and compare with the first time: a few milliseconds.

        Raises:
            InternalError: the result is not finite or has changed.
        """
        self._detector.check()

    def _find_group(self, turns: Sequence[tuple[bytes, float]]) -> list[PictureFaces | RollcallError]:
        results: list[PictureFaces | RollcallError] = []
        opened: list[tuple[bytes, PictureHeader, PictureView]] = []
        places: list[int] = []
        for place, (data, deadline) in enumerate(turns):
            try:
                if time.monotonic() >= deadline:
                    raise DeadlineExceeded
                header = read_header(data, self._limits)
                view = decode_view(data, header, self._reduction_of(header))
            except RollcallError as error:
                results.append(error)
                continue
            results.append(InternalError("the picture was not searched"))
            opened.append((data, header, view))
            places.append(place)
        detections = self._detector.detect([view.pixels for _, _, view in opened])
        for place, (data, header, view), found in zip(places, opened, detections, strict=True):
            try:
                faces = self._cut_all(data, header, view, _map_to_full(found, view))
            except RollcallError as error:
                results[place] = error
            else:
                results[place] = PictureFaces(header.width, header.height, faces)
        return results

    def _reduction_of(self, header: PictureHeader) -> int:
        """The largest factor by which a picture can be reduced without the detector seeing less."""
        if header.format != "jpeg":
            return 1
        longer_px, needed_px = max(header.width, header.height), self._detector.max_side_px
        return next((factor for factor in _FACTORS if longer_px >= factor * needed_px), 1)

    def _cut_all(
        self, data: bytes, header: PictureHeader, view: PictureView, found: Detections
    ) -> list[Face]:
        """The faces of a picture, each cut from a view that is as fine as its chip."""
        if view.factor == 1:
            return [self._cut(view, found, index) for index in range(len(found))]
        scales = [measure_scale(landmarks, self._template) for landmarks in found.landmarks]
        finest = max(scales, default=0.0)
        finer = None
        if finest * view.factor > 1:
            enough = (factor for factor in _FACTORS if factor < view.factor and finest * factor <= 1)
            finer = decode_view(data, header, next(enough, 1))
        return [
            self._cut(finer if finer is not None and scale * view.factor > 1 else view, found, index)
            for index, scale in enumerate(scales)
        ]

    def _cut(self, view: PictureView, found: Detections, index: int) -> Face:
        """One face; what was found is in full-resolution pixels."""
        x, y, w, h = (float(value) for value in found.boxes[index])
        landmarks = found.landmarks[index]
        # Alignment counts from the centre of the first pixel, which lies elsewhere in a reduced picture.
        seen = (landmarks + 0.5 - np.array(view.origin, np.float32)) / view.factor - 0.5
        crop = align_face(view.pixels, landmarks if view.factor == 1 else seen, self._template)
        return Face((x, y, w, h), landmarks, float(found.scores[index]), crop)


def _map_to_full(found: Detections, view: PictureView) -> Detections:
    """Boxes and points of a view in full-resolution pixels."""
    if view.factor == 1:
        return found
    origin = np.array(view.origin, np.float32)
    boxes = found.boxes * view.factor
    boxes[:, :2] += origin
    return Detections(boxes, found.landmarks * view.factor + origin, found.scores)


class FacePipeline:
    """Both stages in one process, for commands and evaluation."""

    def __init__(self, finder: FaceFinder, embedder: FaceEmbedder) -> None:
        self.finder = finder
        self.embedder = embedder

    def recognise(self, pictures: Sequence[bytes]) -> list[list[tuple[Face, Vectors]] | RollcallError]:
        """Return, per picture, its faces with their unit vectors float32 [dimension], or its error."""
        found = self.finder.find(pictures)
        size = self.embedder.size_px
        crops = [face.crop for item in found if isinstance(item, PictureFaces) for face in item.faces]
        batch = np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8)
        vectors = iter(self.embedder.embed(batch))
        results: list[list[tuple[Face, Vectors]] | RollcallError] = []
        for item in found:
            if isinstance(item, RollcallError):
                results.append(item)
            else:
                results.append([(face, next(vectors)) for face in item.faces])
        return results
