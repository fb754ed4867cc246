"""The stages of the graph as plain objects: finding faces in pictures, and recognising them in process."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.errors import DeadlineExceeded, InternalError, RollcallError
from serving.vision.alignment import AlignmentTemplate, align_face
from serving.vision.centerface import CenterFace
from serving.vision.detection import Detections, Floats
from serving.vision.embedding import FaceEmbedder, Vectors
from serving.vision.liveness import Liveness
from serving.vision.liveness_crops import LivenessCropper, LivenessCrops
from serving.vision.picture import Picture, PictureLimits, decode_picture, read_header
from serving.vision.quality import FaceQuality, QualityMeter


@dataclass(slots=True)
class Face:
    """One face of a picture.

    box: x, y, width, height in picture pixels. landmarks: float32 [5, 2]. detection_score: 0..1.
    crop: the aligned chip, uint8 [S, S, 3] RGB. quality: what was measured of it.
    liveness_crops: what the liveness models look at; None where it was not asked for, or where the picture
    shows too little around the face. liveness: what they said; None: they were not asked.
    """

    box: tuple[float, float, float, float]
    landmarks: Floats
    detection_score: float
    crop: Picture
    quality: FaceQuality
    liveness_crops: LivenessCrops | None = None
    liveness: Liveness | None = None


@dataclass(slots=True)
class PictureFaces:
    """The faces of one picture, best detection first, and its upright size in pixels."""

    width: int
    height: int
    faces: list[Face]


class FaceFinder:
    """Decodes pictures, finds their faces and cuts the chips.

    limits are applied again here, because not every caller comes through the ingress.

    Attributes:
        liveness_cropper: cuts what the liveness models look at; None where there are none.
    """

    def __init__(
        self, detector: CenterFace, template: AlignmentTemplate, limits: PictureLimits | None = None
    ) -> None:
        self._detector = detector
        self._template = template
        self._meter = QualityMeter(template)
        self._limits = limits or PictureLimits()
        self.liveness_cropper: LivenessCropper | None = None

    def find(
        self,
        pictures: Sequence[bytes],
        deadlines: Sequence[float] | None = None,
        wants_liveness: Sequence[bool] | None = None,
    ) -> list[PictureFaces | RollcallError]:
        """Find the faces of encoded pictures; a bad picture yields its error and harms no other.

        As many pictures as the detector takes in one run are decoded at a time, because a decoded one can
        take 150 MB.

        Args:
            pictures: the files.
            deadlines: of each, on the clock of `time.monotonic`; a picture whose time is up when its turn
                comes is not decoded and yields DeadlineExceeded. None means no deadline.
            wants_liveness: of each, whether crops for the liveness models are cut too. None means of none.
        """
        limits_s = [math.inf] * len(pictures) if deadlines is None else list(deadlines)
        wants = [False] * len(pictures) if wants_liveness is None else list(wants_liveness)
        turns = list(zip(pictures, limits_s, wants, strict=True))
        at_once = self._detector.max_batch
        results: list[PictureFaces | RollcallError] = []
        for start in range(0, len(turns), at_once):
            results += self._find_group(turns[start : start + at_once])
        return results

    def find_decoded(
        self, pictures: Sequence[Picture], wants_liveness: Sequence[bool] | None = None
    ) -> list[PictureFaces]:
        """Find the faces of upright RGB pictures, uint8 [h, w, 3]; for the rest see `find`."""
        found = self._detector.detect(pictures)
        wants = [False] * len(pictures) if wants_liveness is None else wants_liveness
        return [self._cut(*each) for each in zip(pictures, found, wants, strict=True)]

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

    def _find_group(self, turns: Sequence[tuple[bytes, float, bool]]) -> list[PictureFaces | RollcallError]:
        results: list[PictureFaces | RollcallError] = []
        decoded: list[Picture] = []
        places: list[int] = []
        wants: list[bool] = []
        for place, (data, deadline, wants_liveness) in enumerate(turns):
            try:
                if time.monotonic() >= deadline:
                    raise DeadlineExceeded
                picture = decode_picture(data, read_header(data, self._limits))
            except RollcallError as error:
                results.append(error)
                continue
            results.append(InternalError("the picture was not searched"))
            decoded.append(picture)
            places.append(place)
            wants.append(wants_liveness)
        for place, found in zip(places, self.find_decoded(decoded, wants), strict=True):
            results[place] = found
        return results

    def _cut(self, picture: Picture, found: Detections, wants_liveness: bool) -> PictureFaces:
        height, width = picture.shape[:2]
        cropper = self.liveness_cropper if wants_liveness else None
        faces = []
        for box, landmarks, score in zip(found.boxes, found.landmarks, found.scores, strict=True):
            x, y, w, h = (float(value) for value in box)
            crop = align_face(picture, landmarks, self._template)
            quality = self._meter.measure(crop, (x, y, w, h), landmarks, float(score), width, height)
            liveness_crops = None if cropper is None else cropper.cut(picture, (x, y, w, h), landmarks)
            faces.append(Face((x, y, w, h), landmarks, float(score), crop, quality, liveness_crops))
        return PictureFaces(width, height, faces)


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
