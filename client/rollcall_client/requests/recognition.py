"""Made by client_generator from docs/openapi.json: requests of recognition."""

from __future__ import annotations

from collections.abc import Sequence

from rollcall_client.bodies import JsonBody, Picture, make_picture_body
from rollcall_client.models import (
    BatchRecognition,
    FaceChoice,
    Identification,
    LivenessMode,
    QualityLevel,
    Recognition,
    SingleFace,
    Strictness,
    VectorVerdicts,
    Verification,
)
from rollcall_client.request import Request, drop_none, fill_path


def recognise(
    event: str,
    picture: Picture,
    *,
    threshold: float | None = None,
    false_match_rate: float | None = None,
    strictness: Strictness | None = None,
    faces: FaceChoice | None = None,
    top_k: int | None = None,
    quality: QualityLevel | None = None,
    liveness: LivenessMode | None = None,
) -> Request[Recognition]:
    """Recognise the faces in a picture."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/recognise", event=event),
        Recognition,
        body=make_picture_body(
            picture,
            {
                "threshold": threshold,
                "false_match_rate": false_match_rate,
                "strictness": strictness,
                "faces": faces,
                "top_k": top_k,
                "quality": quality,
                "liveness": liveness,
            },
        ),
        can_repeat=True,
        takes_timeout=True,
    )


def recognise_batch(
    event: str,
    pictures: Picture | Sequence[Picture],
    *,
    threshold: float | None = None,
    false_match_rate: float | None = None,
    strictness: Strictness | None = None,
    faces: FaceChoice | None = None,
    top_k: int | None = None,
    quality: QualityLevel | None = None,
    liveness: LivenessMode | None = None,
) -> Request[BatchRecognition]:
    """Recognise the faces in many pictures."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/recognise/batch", event=event),
        BatchRecognition,
        body=make_picture_body(
            pictures,
            {
                "threshold": threshold,
                "false_match_rate": false_match_rate,
                "strictness": strictness,
                "faces": faces,
                "top_k": top_k,
                "quality": quality,
                "liveness": liveness,
            },
        ),
        can_repeat=True,
        takes_timeout=True,
    )


def identify(
    event: str,
    pictures: Picture | Sequence[Picture],
    *,
    threshold: float | None = None,
    false_match_rate: float | None = None,
    strictness: Strictness | None = None,
    face: SingleFace | None = None,
    quality: QualityLevel | None = None,
    liveness: LivenessMode | None = None,
    top_k: int | None = None,
) -> Request[Identification]:
    """Identify one person by several pictures."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/identify", event=event),
        Identification,
        body=make_picture_body(
            pictures,
            {
                "threshold": threshold,
                "false_match_rate": false_match_rate,
                "strictness": strictness,
                "face": face,
                "quality": quality,
                "liveness": liveness,
                "top_k": top_k,
            },
        ),
        can_repeat=True,
        takes_timeout=True,
    )


def verify(
    event: str,
    person: str,
    pictures: Picture | Sequence[Picture],
    *,
    threshold: float | None = None,
    false_match_rate: float | None = None,
    strictness: Strictness | None = None,
    face: SingleFace | None = None,
    quality: QualityLevel | None = None,
    liveness: LivenessMode | None = None,
) -> Request[Verification]:
    """Verify that it is this person."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/people/{person}/verify", event=event, person=person),
        Verification,
        body=make_picture_body(
            pictures,
            {
                "threshold": threshold,
                "false_match_rate": false_match_rate,
                "strictness": strictness,
                "face": face,
                "quality": quality,
                "liveness": liveness,
            },
        ),
        can_repeat=True,
        takes_timeout=True,
    )


def search(
    event: str,
    *,
    pack_id: str,
    vectors: Sequence[Sequence[float]],
    top_k: int | None = None,
    threshold: float | None = None,
    false_match_rate: float | None = None,
    strictness: Strictness | None = None,
) -> Request[VectorVerdicts]:
    """Search by ready vectors."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/search", event=event),
        VectorVerdicts,
        body=JsonBody(
            drop_none(
                {
                    "pack_id": pack_id,
                    "vectors": vectors,
                    "top_k": top_k,
                    "threshold": threshold,
                    "false_match_rate": false_match_rate,
                    "strictness": strictness,
                }
            )
        ),
        can_repeat=True,
        takes_timeout=True,
    )
