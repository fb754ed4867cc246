"""At which sizes a picture is searched for faces.

A detector finds faces of some sizes well: those that fill the picture are lost at a large scale, small ones
at a small scale, and most of its time goes into the largest scale, which most pictures do not need. So a
picture is searched at a small scale first, and at others only when what was found asks for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.vision.detection import Detections, FaceDetector, Floats, no_detections, suppress_overlaps
from serving.vision.picture import Picture

ScaleMode = Literal["auto", "one", "all"]

HINT_SCORE = 0.2
"""Of candidates that are no faces yet, but a reason to look again. In crowds a face too small for a scale
scores more than this there; see docs/accuracy.md for what is lost."""

_LEAST_SIDE_PX = 256
_NEARLY = 1.25
"""A picture that is hardly larger than a scale is searched as it is instead."""

_SMALL_FACE_PX = 40.0
"""A face below this, in pixels of the scale, may have neighbours that the scale does not show, has a lower
score than at a larger scale, and its landmarks are less exact."""

_LARGE_FACE_PX = 96.0
"""A doubtful face above this is one that is too large for the scale rather than too small."""

_IDEAL_FACE_PX = 96.0
"""Where a face was found at several scales, the one at which it was nearest to this size has measured it."""

_SAME_FACE_IOU = 0.5


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """Where to look, and what counts as a face.

    side_px: longer side of the largest scale. mode: `one` searches at that scale only; `all` at that one, its
    half and so on down to about 256 px, and the half of the last; `auto` starts at the smallest but one and
    goes on as needed.
    score_threshold: what is a face, 0..1; nms_iou: overlap above which two boxes are one face; max_faces: per
    picture, best first.
    """

    side_px: int = 640
    mode: ScaleMode = "auto"
    score_threshold: float = 0.45
    nms_iou: float = 0.3
    max_faces: int = 256

    @property
    def hint_score(self) -> float:
        """The score that a detector must report for this plan to work."""
        return self.score_threshold if self.mode == "one" else min(HINT_SCORE, self.score_threshold)

    @property
    def ladder(self) -> tuple[int, ...]:
        """Longer sides of the scales, smallest first, without `lowest_px`."""
        sides = [self.side_px]
        while self.mode != "one" and sides[0] // 2 >= _LEAST_SIDE_PX:
            sides.insert(0, sides[0] // 2)
        return tuple(sides)

    @property
    def lowest_px(self) -> int | None:
        """Longer side of the scale for faces that reach over the edges of the picture; None in mode `one`."""
        return None if self.mode == "one" else max(1, self.ladder[0] // 2)

    def rungs_for(self, longer_px: int) -> tuple[int, ...]:
        """The part of the ladder that makes a difference to a picture of that longer side."""
        smaller = [side for side in self.ladder if side * _NEARLY <= longer_px]
        top = next((side for side in self.ladder if side >= longer_px), self.side_px)
        return tuple(smaller if top in smaller else [*smaller, top])


@dataclass(slots=True)
class _Search:
    """How far the search of one picture has come.

    picture: shrunk by a whole number where it is far larger than any scale. factor: pixels of the picture as
    given for each of its pixels. rungs: sides to search at, smallest first. done: those searched. boxes,
    landmarks, scores: all candidates so far, in pixels of `picture`; scales: for each, pixels of the scale
    per pixel of `picture`.
    """

    picture: Picture
    factor: int
    rungs: tuple[int, ...]
    done: list[int] = field(default_factory=list)
    boxes: Floats = field(default_factory=lambda: no_detections().boxes)
    landmarks: Floats = field(default_factory=lambda: no_detections().landmarks)
    scores: Floats = field(default_factory=lambda: no_detections().scores)
    scales: Floats = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def longer_px(self) -> int:
        return int(max(self.picture.shape[:2]))

    def scale_at(self, side_px: int) -> float:
        return min(1.0, side_px / self.longer_px)

    def add(self, found: Detections, side_px: int) -> None:
        """Take what was found at a scale, but for candidates with a number that is none."""
        self.done.append(side_px)
        numbers = np.concatenate([found.boxes, found.landmarks.reshape(-1, 10)], axis=1)
        finite = np.isfinite(numbers).all(axis=1)
        if not finite.all():
            found = Detections(found.boxes[finite], found.landmarks[finite], found.scores[finite])
        self.boxes = np.concatenate([self.boxes, found.boxes])
        self.landmarks = np.concatenate([self.landmarks, found.landmarks])
        self.scores = np.concatenate([self.scores, found.scores])
        scale = np.full(len(found), self.scale_at(side_px), np.float32)
        self.scales = np.concatenate([self.scales, scale])

    def sizes_px(self) -> Floats:
        """Of each candidate, in pixels of the scale at which it was found: root of the area of its box."""
        area = np.maximum(self.boxes[:, 2] * self.boxes[:, 3], 0)
        return np.asarray(np.sqrt(area) * self.scales, np.float32)


class ScaledDetector:
    """A face detector that is run at the scales that each picture needs.

    Args:
        detector: reports candidates down to `plan.hint_score`, and at least `plan.max_faces` of them.
    """

    def __init__(self, detector: FaceDetector, plan: ScalePlan) -> None:
        self._detector = detector
        self._plan = plan

    @property
    def max_batch(self) -> int:
        """At most this many pictures go through the model in one run."""
        return self._detector.max_batch

    @property
    def side_px(self) -> int:
        """Longer side of the largest scale; more pixels than that find no more faces."""
        return self._plan.side_px

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Find the faces of each picture, whatever pictures it shares the call with.

        Args:
            pictures: uint8 [h, w, 3] RGB each, of any sizes.

        Returns:
            For each picture its faces, best score first, in pixels of the picture as given.
        """
        searches = [self._begin(picture) for picture in pictures]
        while True:
            turns: dict[int, list[_Search]] = defaultdict(list)
            for search in searches:
                side_px = self._choose_next(search)
                if side_px is not None:
                    turns[side_px].append(search)
            if not turns:
                return [self._finish(search) for search in searches]
            for side_px, members in sorted(turns.items()):
                results = self._detector.detect([search.picture for search in members], side_px)
                for search, found in zip(members, results, strict=True):
                    search.add(found, side_px)

    def warm_up(self) -> None:
        """Run every scale, so that the first request pays for none."""
        for side_px in self._sides():
            self._detector.warm_up(side_px)

    def check(self) -> None:
        """Run the model on a small fixed picture and compare with the first time.

        Raises:
            InternalError: the result is not finite or has changed.
        """
        self._detector.check()

    def _sides(self) -> tuple[int, ...]:
        lowest = self._plan.lowest_px
        return self._plan.ladder if lowest is None else (lowest, *self._plan.ladder)

    def _begin(self, picture: Picture) -> _Search:
        height, width = picture.shape[:2]
        factor = max(1, min(max(height, width) // (2 * self._plan.side_px), height, width))
        shrunk = shrink_by(picture, factor)
        return _Search(shrunk, factor, self._plan.rungs_for(max(shrunk.shape[:2])))

    def _choose_next(self, search: _Search) -> int | None:
        """The side to search at next; None when all that there is will have been found."""
        left = [side for side in search.rungs if side not in search.done]
        lowest = self._plan.lowest_px
        if lowest is not None and (lowest in search.done or search.scale_at(lowest) == 1):
            lowest = None
        if self._plan.mode == "all":
            return left[0] if left else lowest
        if not any(side in search.done for side in search.rungs):
            return left[0]
        if self._plan.mode == "one":
            return None
        kept = suppress_overlaps(search.boxes, search.scores, self._plan.nms_iou)
        sizes, scores, scales = search.sizes_px()[kept], search.scores[kept], search.scales[kept]
        is_face = scores >= self._plan.score_threshold
        if lowest is not None and (~is_face & (sizes >= _LARGE_FACE_PX)).any():
            return lowest
        newest = scales == scales.max(initial=0)
        is_small = sizes < np.where(is_face, _SMALL_FACE_PX, _LARGE_FACE_PX)
        if left and (not is_face.any() or (newest & is_small).any()):
            return left[0]
        return lowest if not is_face.any() else None

    def _finish(self, search: _Search) -> Detections:
        """The faces among the candidates, in pixels of the picture as given."""
        is_face = search.scores >= self._plan.score_threshold
        boxes, landmarks, scores = search.boxes[is_face], search.landmarks[is_face], search.scores[is_face]
        kept = suppress_overlaps(boxes, scores, self._plan.nms_iou, max_kept=self._plan.max_faces)
        measured = kept
        if len(search.done) > 1:
            measured = _choose_best_measured(boxes, search.sizes_px()[is_face], kept)
        factor = np.float32(search.factor)
        return Detections(boxes[measured] * factor, landmarks[measured] * factor, scores[kept])


def shrink_by(picture: Picture, factor: int) -> Picture:
    """Average squares of factor x factor pixels; what is left over at the right and the bottom is cut off.

    By a whole number OpenCV takes a tenth of the time that any other number takes.
    """
    height, width = (side // factor for side in picture.shape[:2])
    if factor == 1 or min(height, width) == 0:
        return picture
    whole = picture[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _choose_best_measured(boxes: Floats, sizes_px: Floats, kept: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each kept box, the one of the same face that was found nearest to the ideal size."""
    misfit = np.abs(np.log(np.maximum(sizes_px, 1e-3) / _IDEAL_FACE_PX))
    x, y, width, height = boxes.T
    chosen = []
    for one in kept:
        overlap_x = np.minimum(x[one] + width[one], x + width) - np.maximum(x[one], x)
        overlap_y = np.minimum(y[one] + height[one], y + height) - np.maximum(y[one], y)
        overlap = np.clip(overlap_x, 0, None) * np.clip(overlap_y, 0, None)
        union = width[one] * height[one] + width * height - overlap
        same = overlap > _SAME_FACE_IOU * union
        same[one] = True
        chosen.append(int(np.argmin(np.where(same, misfit, np.inf))))
    return np.array(chosen, np.intp)
