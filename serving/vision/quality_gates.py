"""How good a face must be, by level, and what is wrong with one that is not.

docs/quality.md has the measurements behind every limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from serving.vision.liveness_modes import Liveness, LivenessStatus
from serving.vision.quality import FaceQuality


class QualityLevel(str, Enum):
    """How much is asked of a face."""

    off = "off"
    standard = "standard"
    strict = "strict"


class QualityReason(str, Enum):
    """What can be wrong with a face. The values are part of the API: they never change their meaning."""

    face_too_small = "face_too_small"
    low_detection_score = "low_detection_score"
    blurred = "blurred"
    too_dark = "too_dark"
    too_bright = "too_bright"
    low_contrast = "low_contrast"
    turned_sideways = "turned_sideways"
    looking_up_or_down = "looking_up_or_down"
    tilted = "tilted"
    cut_by_edge = "cut_by_edge"
    several_faces = "several_faces"
    presentation_attack = "presentation_attack"
    liveness_unknown = "liveness_unknown"


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """What a level asks of a `FaceQuality`, in its units; a value on the limit is good enough.

    The angles count in both directions.
    """

    min_face_px: float
    min_detection_score: float
    min_sharpness: float
    min_brightness: float
    max_brightness: float
    min_contrast: float
    max_yaw_degrees: float
    max_pitch_degrees: float
    max_roll_degrees: float
    max_cut_fraction: float


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a face falls short of a level.

    Attributes:
        value: what was measured; of an angle, its amount without sign.
        limit: the smallest or largest value that would have been good enough.
        hint: what to do about it, for the person at the camera.
    """

    reason: QualityReason
    value: float
    limit: float
    hint: str


LIMITS: Mapping[QualityLevel, QualityLimits] = MappingProxyType(
    {
        QualityLevel.standard: QualityLimits(
            min_face_px=32.0,
            min_detection_score=0.6,
            min_sharpness=0.5,
            min_brightness=25.0,
            max_brightness=205.0,
            min_contrast=25.0,
            max_yaw_degrees=40.0,
            max_pitch_degrees=12.0,
            max_roll_degrees=45.0,
            max_cut_fraction=0.1,
        ),
        QualityLevel.strict: QualityLimits(
            min_face_px=48.0,
            min_detection_score=0.8,
            min_sharpness=0.62,
            min_brightness=45.0,
            max_brightness=190.0,
            min_contrast=40.0,
            max_yaw_degrees=30.0,
            max_pitch_degrees=8.0,
            max_roll_degrees=20.0,
            max_cut_fraction=0.02,
        ),
    }
)
"""The limits of each level; `off` has none."""

HINTS: Mapping[QualityReason, str] = MappingProxyType(
    {
        QualityReason.face_too_small: "Move closer to the camera, or send a larger picture.",
        QualityReason.low_detection_score: "Show the whole face: nothing in front of it, and more light.",
        QualityReason.blurred: "Hold the camera and the head still, and focus on the face.",
        QualityReason.too_dark: "Turn towards the light, or add light in front of the face.",
        QualityReason.too_bright: "Step out of the glare, or lower the exposure.",
        QualityReason.low_contrast: "Avoid fog, glare and light from behind; clean the lens.",
        QualityReason.turned_sideways: "Turn the face to the camera.",
        QualityReason.looking_up_or_down: "Raise or lower the chin until the face looks into the camera.",
        QualityReason.tilted: "Hold the head and the camera upright.",
        QualityReason.cut_by_edge: "Bring the whole face into the picture.",
        QualityReason.several_faces: "Have one person alone in the picture.",
        QualityReason.presentation_attack: "Look into the camera yourself; paper and screens do not count.",
        QualityReason.liveness_unknown: "Show the whole face, with room around it, within the picture.",
    }
)
"""What to do about each reason."""


def find_faults(quality: FaceQuality, level: QualityLevel) -> list[Fault]:
    """Every way in which a face falls short of a level, in the order of `QualityReason`; `off` finds none.

    `several_faces` is not among them, see `find_crowd`; nor are those of liveness, see `find_attack`.
    """
    if level is QualityLevel.off:
        return []
    limits = LIMITS[level]
    at_least = (
        (QualityReason.face_too_small, quality.face_px, limits.min_face_px),
        (QualityReason.low_detection_score, quality.detection_score, limits.min_detection_score),
        (QualityReason.blurred, quality.sharpness, limits.min_sharpness),
        (QualityReason.too_dark, quality.brightness, limits.min_brightness),
        (QualityReason.low_contrast, quality.contrast, limits.min_contrast),
    )
    at_most = (
        (QualityReason.too_bright, quality.brightness, limits.max_brightness),
        (QualityReason.turned_sideways, abs(quality.yaw_degrees), limits.max_yaw_degrees),
        (QualityReason.looking_up_or_down, abs(quality.pitch_degrees), limits.max_pitch_degrees),
        (QualityReason.tilted, abs(quality.roll_degrees), limits.max_roll_degrees),
        (QualityReason.cut_by_edge, quality.cut_fraction, limits.max_cut_fraction),
    )
    # Asked as "not good enough", so that a value which is not a number is a fault.
    faults = [_fault(reason, value, limit) for reason, value, limit in at_least if not value >= limit]
    faults += [_fault(reason, value, limit) for reason, value, limit in at_most if not value <= limit]
    return sorted(faults, key=lambda fault: _ORDER[fault.reason])


def find_crowd(faces: int, level: QualityLevel) -> list[Fault]:
    """`several_faces` where a picture that needs one face has more, and the level is not `off`."""
    if level is QualityLevel.off or faces <= 1:
        return []
    return [_fault(QualityReason.several_faces, float(faces), 1.0)]


def find_attack(liveness: Liveness | None) -> list[Fault]:
    """Why a face is refused where liveness is enforced; empty for one that is live.

    The value is 1, for one presentation, and the limit 0: the score is not for everybody to see.
    """
    if liveness is not None and liveness.status is LivenessStatus.live:
        return []
    is_spoof = liveness is not None and liveness.status is LivenessStatus.spoof
    reason = QualityReason.presentation_attack if is_spoof else QualityReason.liveness_unknown
    return [_fault(reason, 1.0, 0.0)]


_ORDER = {reason: place for place, reason in enumerate(QualityReason)}


def _fault(reason: QualityReason, value: float, limit: float) -> Fault:
    return Fault(reason, value, limit, HINTS[reason])
