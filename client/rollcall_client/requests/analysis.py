"""Made by client_generator from docs/openapi.json: requests of analysis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rollcall_client.bodies import Picture, make_picture_body
from rollcall_client.inputs import ReferenceInput, SampleInput
from rollcall_client.models import (
    Comparison,
    Detection,
    Embedding,
    FaceChoice,
    QualityLevel,
    SingleFace,
    Strictness,
)
from rollcall_client.request import Request


def detect(
    picture: Picture,
    *,
    pack_id: str | None = None,
    faces: FaceChoice | None = None,
    quality: QualityLevel | None = None,
) -> Request[Detection]:
    """Find the faces in a picture."""
    return Request(
        "POST",
        "/v1/detect",
        Detection,
        body=make_picture_body(picture, {"pack_id": pack_id, "faces": faces, "quality": quality}),
        can_repeat=True,
        takes_timeout=True,
    )


def embed(
    pictures: Picture | Sequence[Picture],
    *,
    pack_id: str | None = None,
    faces: FaceChoice | None = None,
    quality: QualityLevel | None = None,
    encoding: Literal["json", "base64"] | None = None,
) -> Request[Embedding]:
    """Turn faces into vectors."""
    return Request(
        "POST",
        "/v1/embed",
        Embedding,
        body=make_picture_body(
            pictures, {"pack_id": pack_id, "faces": faces, "quality": quality, "encoding": encoding}
        ),
        can_repeat=True,
        takes_timeout=True,
    )


def compare(
    pictures: Picture | Sequence[Picture] | None = None,
    *,
    pack_id: str | None = None,
    threshold: float | None = None,
    false_match_rate: float | None = None,
    strictness: Strictness | None = None,
    metric: Literal["cosine", "euclidean"] | None = None,
    face: SingleFace | None = None,
    quality: QualityLevel | None = None,
    query: SampleInput | None = None,
    references: Sequence[ReferenceInput] | None = None,
) -> Request[Comparison]:
    """Compare two faces, or one with several."""
    return Request(
        "POST",
        "/v1/compare",
        Comparison,
        body=make_picture_body(
            pictures,
            {
                "pack_id": pack_id,
                "threshold": threshold,
                "false_match_rate": false_match_rate,
                "strictness": strictness,
                "metric": metric,
                "face": face,
                "quality": quality,
            },
            {"query": query, "references": references},
        ),
        can_repeat=True,
        takes_timeout=True,
    )
