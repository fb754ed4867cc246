"""The stages of the graph as plain objects: finding faces in pictures, and recognising them in process."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.errors import DeadlineExceeded, InternalError, RollcallError
from serving.vision.alignment import AlignmentTemplate, align_face, fit_similarity
from serving.vision.detection import Detections, Floats
from serving.vision.embedding import FaceEmbedder, Vectors
from serving.vision.liveness_crops import LivenessCropper, LivenessCrops
from serving.vision.liveness_modes import Liveness
from serving.vision.picture import (
    REDUCTIONS,
    Picture,
    PictureHeader,
    PictureLimits,
    ReducedPicture,
    choose_reduction,
    decode_reduced,
    read_header,
)
from serving.vision.quality import STARTER_SCALE, FaceQuality, QualityMeter, QualityScale
from serving.vision.scales import ScaledDetector

_SEARCHED_SIDES = 1.5
"""JPEGs are decoded no smaller than this times the largest scale searched: the detector then sees a picture
that was scaled down with care, and most faces have the pixels that their chips need."""


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


@dataclass(frozen=True, slots=True)
class _Turn:
    """A picture that is being searched: its file, its deadline, and its pixels as far as decoded."""

    data: bytes
    deadline: float
    wants_liveness: bool
    header: PictureHeader
    decoded: ReducedPicture


class FaceFinder:
    """Decodes pictures, finds their faces and cuts the chips.

    A JPEG that is much larger than what the detector sees is decoded at a half, a quarter or an eighth of its
    size, and once more, finer, where a face's chip can show more than that; boxes, landmarks and sizes are
    always those of the whole picture.

    limits are applied again here, because not every caller comes through the ingress. reduces: False decodes
    every picture whole. quality_scale: that of the detector.

    Attributes:
        liveness_cropper: cuts what the liveness models look at; None where there are none.
    """

    def __init__(
        self,
        detector: ScaledDetector,
        template: AlignmentTemplate,
        limits: PictureLimits | None = None,
        *,
        reduces: bool = True,
        quality_scale: QualityScale = STARTER_SCALE,
    ) -> None:
        self._detector = detector
        self._template = template
        self._meter = QualityMeter(template, quality_scale)
        self._limits = limits or PictureLimits()
        self._reduces = reduces
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
        return [
            self._measure(
                faces, picture.shape[1], picture.shape[0], [ReducedPicture(picture)] * len(faces), want
            )
            for picture, faces, want in zip(pictures, found, wants, strict=True)
        ]

    def warm_up(self) -> None:
        """Run the commonest shapes of every scale, then the health check."""
        self._detector.warm_up()
        self.check()

    def check(self) -> None:
        """Run the detector on a small fixed picture and compare with the first time: a few milliseconds.

        Raises:
            InternalError: the result is not finite or has changed.
        """
        self._detector.check()

    def _find_group(self, group: Sequence[tuple[bytes, float, bool]]) -> list[PictureFaces | RollcallError]:
        results: list[PictureFaces | RollcallError] = []
        turns: list[_Turn] = []
        places: list[int] = []
        for place, each in enumerate(group):
            try:
                turns.append(self._begin(*each))
            except RollcallError as error:
                results.append(error)
                continue
            results.append(InternalError("the picture was not searched"))
            places.append(place)
        found = self._detector.detect([turn.decoded.pixels for turn in turns])
        for place, turn, faces in zip(places, turns, found, strict=True):
            try:
                results[place] = self._cut(turn, faces)
            except RollcallError as error:
                results[place] = error
        return results

    def _begin(self, data: bytes, deadline: float, wants_liveness: bool) -> _Turn:
        _check_time(deadline)
        header = read_header(data, self._limits)
        longer_px = round(_SEARCHED_SIDES * self._detector.side_px)
        # What a screen shows of itself is in the finest detail: liveness models get all of it.
        whole = wants_liveness or not self._reduces
        reduction = 1 if whole else choose_reduction(header, longer_px)
        return _Turn(data, deadline, wants_liveness, header, decode_reduced(data, header, reduction))

    def _cut(self, turn: _Turn, found: Detections) -> PictureFaces:
        """Cut and measure the faces that were found in what was decoded of a turn's picture."""
        decoded, header = turn.decoded, turn.header
        faces = _locate_in_whole(found, decoded)
        steps = [self._choose_step(landmarks, decoded.reduction) for landmarks in faces.landmarks]
        finest = min(steps, default=decoded.reduction)
        sources = [decoded] * len(faces)
        if finest < decoded.reduction:
            _check_time(turn.deadline)
            finer = decode_reduced(turn.data, header, finest)
            sources = [finer if step < decoded.reduction else decoded for step in steps]
        return self._measure(faces, header.width, header.height, sources, turn.wants_liveness)

    def _choose_step(self, landmarks: Floats, reduction: int) -> int:
        """The largest reduction, of at most the given, at which a face has a pixel for each of its chip."""
        if reduction == 1:
            return 1
        points = np.asarray(landmarks, np.float64)
        matrix = fit_similarity(points, self._template.points, self._template.weights)
        chip_px = float(np.hypot(matrix[0, 0], matrix[1, 0]))  # for each pixel of the whole picture
        return next((step for step in REDUCTIONS if step <= reduction and step * chip_px <= 1), 1)

    def _measure(
        self,
        found: Detections,
        width: int,
        height: int,
        sources: Sequence[ReducedPicture],
        wants_liveness: bool,
    ) -> PictureFaces:
        """The faces of a picture of that size; each is cut from the source in its place."""
        cropper = self.liveness_cropper if wants_liveness else None
        faces = []
        for number, source in enumerate(sources):
            x, y, w, h = (float(value) for value in found.boxes[number])
            landmarks, score = found.landmarks[number], float(found.scores[number])
            crop = align_face(source.pixels, source.locate(landmarks), self._template)
            quality = self._meter.measure(crop, (x, y, w, h), landmarks, score, width, height)
            liveness_crops = None if cropper is None else cropper.cut(source.pixels, (x, y, w, h), landmarks)
            faces.append(Face((x, y, w, h), landmarks, score, crop, quality, liveness_crops))
        return PictureFaces(width, height, faces)


def _locate_in_whole(found: Detections, decoded: ReducedPicture) -> Detections:
    """What was found in the pixels of `decoded`, in pixels of the whole picture."""
    sizes = found.boxes[:, 2:] * np.float32(decoded.reduction)
    boxes = np.concatenate([decoded.map_back(found.boxes[:, :2]), sizes], axis=1)
    return Detections(boxes, decoded.map_back(found.landmarks), found.scores)


def _check_time(deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise DeadlineExceeded


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
