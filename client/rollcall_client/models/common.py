"""Made by client_generator from docs/openapi.json: what several groups of routes answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

from rollcall_client.request import Answer

Role: TypeAlias = Literal["member", "operator", "administrator"]
"""What an account is for; each role may do all that the ones before it may."""


Scope: TypeAlias = Literal["recognise", "enrol", "read", "manage"]
"""What an API key is for. No scope manages accounts or keys, so that a key never makes another."""


class ProblemView(Answer):
    """What went wrong with one picture of several; as in an error answer of its own."""

    code: str
    """Stable; branch on this."""
    title: str
    detail: str
    cure: str
    context: dict[str, Any]


class FailedPicture(Answer):
    """A picture of several that could not be answered."""

    status: Literal["error"] = "error"
    problem: ProblemView


class Box(Answer):
    """Where a face is, in pixels of the upright picture; a face cut by the edge reaches beyond it."""

    x: float
    y: float
    width: float
    height: float


QualityReason: TypeAlias = Literal[
    "face_too_small",
    "low_detection_score",
    "blurred",
    "too_dark",
    "too_bright",
    "low_contrast",
    "turned_sideways",
    "looking_up_or_down",
    "tilted",
    "cut_by_edge",
    "several_faces",
    "presentation_attack",
    "liveness_unknown",
]
"""What can be wrong with a face. The values are part of the API: they never change their meaning."""


class FaultView(Answer):
    """One way in which a face falls short of a quality level."""

    reason: QualityReason | str
    """Stable; branch on this."""
    value: float
    """What was measured; of an angle, its amount without sign."""
    limit: float
    """The smallest or largest value that would have been good enough."""
    hint: str
    """What to do about it, for the person at the camera."""


class Landmarks(Answer):
    """Five points (x, y) in pixels; left and right as seen in the picture."""

    left_eye: tuple[float, float]
    right_eye: tuple[float, float]
    nose: tuple[float, float]
    left_mouth: tuple[float, float]
    right_mouth: tuple[float, float]


LivenessStatus: TypeAlias = Literal["live", "spoof", "not_checked", "unavailable"]
"""What is known of a face. The values are part of the API: they never change their meaning."""


class LivenessView(Answer):
    """Whether the face is that of a person before the camera; docs/liveness.md says how far to trust it."""

    status: LivenessStatus | str
    """`not_checked`: nobody asked, or the picture shows too little around the face; `unavailable`: the
    check did not answer in time.
    """
    score: float | None
    """How probably it is live; null to callers who may not read people."""
    threshold: float | None
    """From which score it counts as live."""


class QualityView(Answer):
    """What was measured of a face, whatever level is asked for; docs/quality.md explains the measures."""

    face_px: float
    """Shorter side of the box, in pixels of the picture."""
    sharpness: float
    """0 to about 1.5; below 0.55 a face is blurred."""
    brightness: float
    """Mean luma of the face, 0 to 255."""
    contrast: float
    """From the 5th to the 95th percentile of the luma, 0 to 255."""
    yaw_degrees: float
    """Positive when the nose points to the right of the picture."""
    pitch_degrees: float
    """Positive when the head looks up."""
    roll_degrees: float
    """Positive when the head is turned clockwise in the picture."""
    cut_fraction: float
    """Share of the box that lies outside the picture, 0 to 1."""


class Timings(Answer):
    """Milliseconds spent on each part; 0 where there was nothing to do."""

    read_ms: float = 0.0
    """Until the whole request had arrived and was understood."""
    detect_ms: float = 0.0
    """Decoding, finding and aligning faces."""
    liveness_ms: float = 0.0
    """Telling live faces from pictures of faces, where enforced."""
    embed_ms: float = 0.0
    """From faces to vectors."""
    match_ms: float = 0.0
    """Comparing vectors."""
    names_ms: float = 0.0
    """Looking up who is enrolled."""
    total_ms: float = 0.0


class FaceView(Answer):
    """A face in a picture."""

    box: Box
    landmarks: Landmarks
    detection_score: float
    quality: QualityView
    liveness: LivenessView


Strictness: TypeAlias = Literal["strict", "balanced", "lenient"]
"""How readily a face counts as a match, for those who want no numbers."""


class EventPolicy(Answer):
    """From which cosine a face is a match, in one of three forms; without any, as the pack says."""

    threshold: float | None = None
    """Raw cosine, never rescaled. It belongs to the pack: GET /v1/model says what it means."""
    false_match_rate: float | None = None
    """Share of pairs of different people that may match; the calibration finds the cosine."""
    strictness: Strictness | str | None = None
    """strict, balanced or lenient: a false match rate of 1e-4, 1e-3 or 1e-2."""


LivenessMode: TypeAlias = Literal["off", "observe", "enforce"]
"""What becomes of a face that does not look live: nothing is asked, it is told, or it is refused."""


QualityLevel: TypeAlias = Literal["off", "standard", "strict"]
"""How much is asked of a face."""


RequestPolicy: TypeAlias = Literal["none", "stricter", "any"]
"""Which thresholds of their own an event lets requests ask for."""


class EventView(Answer):
    """An event, as it was set and what follows from that."""

    id: str
    name: str | None
    pack_id: str
    """The model pack whose vectors this event holds."""
    policy: EventPolicy | None
    """As it was given; null when it was not."""
    decision_threshold: float | None
    """Raw cosine at or above which a face is a match here; null while another pack serves, or when its
    calibration supports no false match rate that small any more.
    """
    decision_false_match_rate: float | None
    """What that threshold stands for; never below what the calibration supports."""
    request_policy: RequestPolicy | str
    quality_level: QualityLevel | str | None
    """As it was given; null when it was not."""
    effective_quality_level: QualityLevel | str
    """What faces are held to at enrolment."""
    liveness: LivenessMode | str | None
    """As it was given; null when it was not."""
    effective_liveness: LivenessMode | str
    """What becomes of faces that are not live."""
    retention_days: int | None
    consent_required: bool
    created_at: datetime
    closed_at: datetime | None
    """Since when nobody is enrolled or recognised."""
    people: int
    """People enrolled."""
    faces: int
    """Faces enrolled."""


FaceChoice: TypeAlias = Literal["all", "largest", "centre"]
"""Which faces of a picture are meant."""


JobKind: TypeAlias = Literal["import_pictures", "import_vectors", "export"]
"""What a job does."""


JobState: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]
"""How far a job is; the last three are final."""


Permission: TypeAlias = Literal[
    "recognise",
    "analyse",
    "read_events",
    "read_people",
    "enrol",
    "erase_people",
    "export_people",
    "manage_events",
    "read_audit",
    "manage_api_keys",
    "read_operations",
    "manage_accounts",
]
"""One thing that can be allowed."""


SingleFace: TypeAlias = Literal["only", "largest", "centre"]
"""Which face of a picture is meant, where one person is asked about."""
