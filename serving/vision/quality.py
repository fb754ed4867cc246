"""How good a face is for recognition: size, sharpness, light, pose and how much of it the picture cuts off.

The measures of all packs mean the same: chips of any size are brought to one scale first, the pose comes from
the landmarks, and a `QualityScale` evens out how detectors differ in placing them and in being sure.
docs/quality.md says what the measures were found to mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.vision.alignment import AlignmentTemplate, fit_similarity
from serving.vision.detection import Floats
from serving.vision.picture import Picture

_Box = tuple[float, float, float, float]
_Mask = NDArray[np.uint8]
_Doubles = NDArray[np.float64]

_EYE_DISTANCE_PX = 27.0
"""Scale of the measured luma: what is finer is mostly noise, and hardly helps recognition."""

_MIN_SIDE_PX = 16
_MIN_REGION_PX = 64.0
_ROUNDING = 0.25
"""Mean squared second difference, in grey levels, that rounding to 8 bits leaves in a chip halved in size:
the variance 1/12, once for the chip and once for its luma, times 1 + 4 + 1, over the 4 pixels averaged."""

_GRADIENT_FLOOR = 0.25
"""Mean squared gradient, in (grey levels per pixel)^2, below which there is no detail to speak of."""

_FACE_MARGIN = 0.5
"""What the ellipse of the face adds around the landmarks on every side, in eye distances."""

_CONTRAST_QUANTILES = np.array([0.05, 0.95])
_GREYS = np.arange(256, dtype=np.float64)
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)

# Centres of the eyes (mean of the two corners, vertices 33 and 133, 362 and 263), tip of the nose (vertex 1)
# and corners of the mouth (61, 291) of the canonical face model of MediaPipe (Apache-2.0), in cm; here x goes
# right and y down as in a picture, z away from the viewer. The nose lies 0.17 cm lower than the vertex, where
# detectors are taught to mark it: so the median portrait of LFW has the pitch 0.
_FACE_CM = np.array(
    [
        [-3.151, -2.625, -3.466],
        [3.151, -2.625, -3.466],
        [0.0, 1.297, -7.476],
        [-2.456, 4.343, -4.284],
        [2.456, 4.343, -4.284],
    ]
)
_TO_AFFINE: _Doubles = np.linalg.pinv(_FACE_CM - _FACE_CM.mean(axis=0))  # [3, 5]
_MIN_SHAPE = 1e-4
"""Singular values of the fitted projection whose product is a smaller share of their squares: no face."""


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """Measures of one face; always finite.

    Attributes:
        face_px: shorter side of the box in picture pixels.
        detection_score: 0..1, of the detector, on the scale of the starter's; see `QualityScale`.
        sharpness: 0..about 1.5 radians per pixel; see `QualityMeter`.
        brightness: mean luma of the face, 0..255.
        contrast: 5th to 95th percentile of the luma of the face, 0..255.
        yaw_degrees, pitch_degrees, roll_degrees: see `HeadPose`.
        cut_fraction: share of the box that lies outside the picture, 0..1.
    """

    face_px: float
    detection_score: float
    sharpness: float
    brightness: float
    contrast: float
    yaw_degrees: float
    pitch_degrees: float
    roll_degrees: float
    cut_fraction: float


@dataclass(frozen=True, slots=True)
class QualityScale:
    """From what a detector says to what the starter's says of the same faces, on which the limits rest.

    Yaw and roll need none: they agree between detectors. Measured by
    `python -m serving.evaluation.measure_quality_scale`.

    Attributes:
        pitch_centre_degrees: the pitch by this detector's landmarks that counts as 0.
        pitch_gain: > 0, degrees of the starter's for one beyond that.
        score_exponent: > 0, power of the detection score.
    """

    pitch_centre_degrees: float = 0.0
    pitch_gain: float = 1.0
    score_exponent: float = 1.0

    def convert_pitch(self, degrees: float) -> float:
        """-90..90."""
        return max(-90.0, min(90.0, (degrees - self.pitch_centre_degrees) * self.pitch_gain))

    def convert_score(self, score: float) -> float:
        """0..1, and 0 for what is no number."""
        return float(max(0.0, min(1.0, score)) ** self.score_exponent) if math.isfinite(score) else 0.0


STARTER_SCALE = QualityScale()
"""Changes nothing."""


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Which way a head points, in degrees; 0, 0, 0 looks straight into the camera.

    Attributes:
        yaw_degrees: -180..180, positive when the nose points to the right of the picture.
        pitch_degrees: -90..90, positive when the head looks up.
        roll_degrees: -180..180, positive when the head is turned clockwise in the picture.
    """

    yaw_degrees: float
    pitch_degrees: float
    roll_degrees: float


UNKNOWN_POSE = HeadPose(90.0, 0.0, 0.0)
"""Of points that make no face; a full profile, so that no gate takes them for a good one."""


def estimate_pose(landmarks: Floats | _Doubles) -> HeadPose:
    """The pose whose scaled orthographic view of a generic face best explains five landmarks.

    The 2x3 projection is fitted by least squares and the nearest one with orthogonal rows of equal length
    taken (its polar factor), as in POS, the linear step of DeMenthon and Davis, IJCV 15 (1995). The rotation
    is read as roll after pitch after yaw, so turning the picture changes the roll and nothing else, and
    mirroring it changes the signs of yaw and roll.

    Args:
        landmarks: [5, 2] as in `Detections`. Points that are not finite, coincide or lie on a line give
            `UNKNOWN_POSE`.
    """
    points = np.asarray(landmarks, np.float64)
    if not np.isfinite(points).all():
        return UNKNOWN_POSE
    (a, b, c), (d, e, f) = (_TO_AFFINE @ (points - points[2])).T.tolist()
    p, q, r = a * a + b * b + c * c, a * d + b * e + c * f, d * d + e * e + f * f
    if not 0 < p + r < math.inf:
        return UNKNOWN_POSE
    root = math.sqrt(max(0.0, p * r - q * q))
    if not root > _MIN_SHAPE * (p + r):
        return UNKNOWN_POSE
    norm = root * math.sqrt(p + r + 2 * root)
    u, v, w = (r + root) / norm, -q / norm, (p + root) / norm
    x1, y1, z1 = u * a + v * d, u * b + v * e, u * c + v * f
    x2, y2, z2 = v * a + w * d, v * b + w * e, v * c + w * f
    x3, y3, z3 = y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2
    return HeadPose(
        yaw_degrees=math.degrees(math.atan2(x3, z3)),
        pitch_degrees=-math.degrees(math.asin(max(-1.0, min(1.0, y3)))),
        roll_degrees=math.degrees(math.atan2(-y1, y2)),
    )


def measure_cut(box: _Box, width: int, height: int) -> float:
    """Share 0..1 of a box x, y, width, height outside a picture; 1 for a box without area."""
    x, y, w, h = box
    area = w * h
    if not (w > 0 and h > 0 and 0 < area < math.inf):
        return 1.0
    inside = max(0.0, min(x + w, width) - max(x, 0.0)) * max(0.0, min(y + h, height) - max(y, 0.0))
    return min(1.0, max(0.0, 1 - inside / area))


class QualityMeter:
    """Measures faces that were aligned to one template; 0.15 to 0.2 ms of CPU each.

    The luma (BT.601) of the chip is first scaled to eyes 27 px apart, or to the resolution that the face had
    in the picture where that is coarser. So sharpness hardly falls with the upscaling of small faces, nor
    does it rise with noise that recognition does not see.

    Sharpness is the root mean squared spatial frequency of the gradient, sqrt(mean I_xx^2 / mean I_x^2) by
    Parseval's theorem, in radians per pixel of that luma; of the two axes the lower counts, because a shaken
    camera blurs along one only. Being a ratio of two energies it does not change with contrast.

    Brightness, contrast and sharpness are those of the ellipse around the landmarks of the template, without
    what lies outside the picture.
    """

    def __init__(self, template: AlignmentTemplate, scale: QualityScale = STARTER_SCALE) -> None:
        self._quality_scale = scale
        points = template.points
        eyes_px = max(1.0, float(np.hypot(*(points[1] - points[0]))))
        low, high = points.min(axis=0) - _FACE_MARGIN * eyes_px, points.max(axis=0) + _FACE_MARGIN * eyes_px
        self._template = template
        self._scale = _EYE_DISTANCE_PX / eyes_px
        self._centre, self._radii = (low + high) / 2, np.maximum(1.0, (high - low) / 2)
        # Of the chip only this part is looked at.
        self._left, self._top = np.clip(np.floor(low), 0, template.size_px - 1).astype(int).tolist()
        self._right, self._bottom = np.clip(np.ceil(high) + 1, 1, template.size_px).astype(int).tolist()
        self._ellipses: dict[tuple[int, int], _Mask] = {}

    def measure(
        self, crop: Picture, box: _Box, landmarks: Floats, detection_score: float, width: int, height: int
    ) -> FaceQuality:
        """Measure one face.

        Args:
            crop: the chip that `align_face` cut by these landmarks, uint8 [S, S, 3] RGB.
            box: x, y, width, height in picture pixels.
            landmarks: [5, 2] as x, y in picture pixels.
            detection_score: 0..1.
            width, height: of the picture.
        """
        pose = estimate_pose(landmarks)
        sharpness, brightness, contrast = self._measure_luma(crop, landmarks, width, height)
        return FaceQuality(
            face_px=_finite(max(0.0, min(box[2], box[3]))),
            detection_score=self._quality_scale.convert_score(detection_score),
            sharpness=sharpness,
            brightness=brightness,
            contrast=contrast,
            yaw_degrees=pose.yaw_degrees,
            pitch_degrees=self._quality_scale.convert_pitch(pose.pitch_degrees),
            roll_degrees=pose.roll_degrees,
            cut_fraction=measure_cut(box, width, height),
        )

    def _measure_luma(
        self, crop: Picture, landmarks: Floats, width: int, height: int
    ) -> tuple[float, float, float]:
        """Sharpness, brightness and contrast; all 0 where nothing of the face lies in the picture."""
        points = np.asarray(landmarks, np.float64)
        if not np.isfinite(points).all():
            return 0.0, 0.0, 0.0
        matrix = fit_similarity(points, self._template.points, self._template.weights)
        (a, b, shift_x), (_, _, shift_y) = matrix.tolist()  # a turn and a scale: the rows are (a, b), (-b, a)
        upscaling = math.hypot(a, b)
        if not (upscaling > 0 and math.isfinite(upscaling + shift_x + shift_y)):
            return 0.0, 0.0, 0.0
        scale = min(self._scale, 1 / upscaling, 1.0)
        part = crop[self._top : self._bottom, self._left : self._right]
        rows, columns = (max(_MIN_SIDE_PX, round(length * scale)) for length in part.shape[:2])
        u = _spread(self._left, self._right, columns)
        v = _spread(self._top, self._bottom, rows)
        mask = self._ellipse(u, v)
        if _reaches_out(matrix, self._template.size_px, width, height):
            mask = mask & _find_inside(matrix, u, v, width, height)
        grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
        luma = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA)
        counts = cv2.calcHist([luma], [0], mask, [256], [-0.5, 255.5]).ravel()
        below = counts.cumsum()
        weight = float(below[-1])
        if weight < _MIN_REGION_PX:
            return 0.0, 0.0, 0.0
        low, high = below.searchsorted(_CONTRAST_QUANTILES * weight)
        brightness = float(counts @ _GREYS) / weight
        return _measure_sharpness(luma, mask), brightness, float(high - low)

    def _ellipse(self, u: _Doubles, v: _Doubles) -> _Mask:
        """1 within the ellipse of the face, else 0, at the columns u and rows v of the chip."""
        size = len(u), len(v)
        if size not in self._ellipses:
            x, y = (u - self._centre[0]) / self._radii[0], (v - self._centre[1]) / self._radii[1]
            self._ellipses[size] = (x[None, :] ** 2 + y[:, None] ** 2 <= 1).astype(np.uint8)
        return self._ellipses[size]


def _measure_sharpness(luma: Floats, mask: _Mask) -> float:
    # Pixels count when all their neighbours do, or the edge of the picture would look sharp.
    inside = cv2.erode(mask, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(np.float32)
    count = max(1.0, float(inside.sum()))
    frequencies = []
    for along in ((1, 0), (0, 1)):
        slope = cv2.Sobel(luma, cv2.CV_32F, *along, ksize=1, scale=0.5)  # (-1, 0, 1) / 2
        bend = cv2.Sobel(luma, cv2.CV_32F, 2 * along[0], 2 * along[1], ksize=1)  # (1, -2, 1)
        slope *= inside
        bend *= inside
        steepness = float(np.vdot(slope, slope)) / count
        bending = max(0.0, float(np.vdot(bend, bend)) / count - _ROUNDING)
        frequencies.append(math.sqrt(bending / max(steepness, _GRADIENT_FLOOR)))
    return min(frequencies)


def _reaches_out(matrix: _Doubles, size_px: int, width: int, height: int) -> bool:
    """Whether a chip shows anything beyond the picture; matrix [2, 3] leads from picture to chip."""
    (a, b, shift_x), (_, _, shift_y) = matrix.tolist()
    norm = a * a + b * b
    margin = 2 / math.sqrt(norm)
    for u, v in ((0, 0), (size_px, 0), (0, size_px), (size_px, size_px)):
        x = (a * (u - shift_x) - b * (v - shift_y)) / norm
        y = (b * (u - shift_x) + a * (v - shift_y)) / norm
        if not (margin <= x <= width - 1 - margin and margin <= y <= height - 1 - margin):
            return True
    return False


def _find_inside(matrix: _Doubles, u: _Doubles, v: _Doubles, width: int, height: int) -> _Mask:
    """1 where the chip shows the picture, 0 where it shows the black beyond, at the columns u and rows v.

    matrix: [2, 3] from picture to chip.
    """
    a, b = matrix[0, 0], matrix[0, 1]
    norm = a * a + b * b
    reach = max(u[1] - u[0], v[1] - v[0]) / 2 + 1  # averaging, and the bilinear sampling of the chip
    across, down = (u - matrix[0, 2])[None, :], (v - matrix[1, 2])[:, None]
    x, y = (a * across - b * down) / norm, (b * across + a * down) / norm
    margin = reach / math.sqrt(norm)
    inside = (x >= margin) & (y >= margin) & (x <= width - 1 - margin) & (y <= height - 1 - margin)
    return np.asarray(inside, np.uint8)


def _spread(start: int, stop: int, count: int) -> _Doubles:
    """Where the centres of count pixels lie that share the pixels start..stop of the chip evenly, [count]."""
    return np.asarray((np.arange(count) + 0.5) * ((stop - start) / count) + (start - 0.5), np.float64)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
