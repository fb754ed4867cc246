"""Faces of pictures apart from any event: found, embedded, compared, and nothing kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from serving.api.options import SingleFace
from serving.api.policies import Strictness
from serving.api.schemas.base import Cosine, Schema
from serving.api.schemas.faces import FaceView, FaultView, ProblemView, Timings
from serving.api.schemas.recognition import MAX_VECTORS, FailedPicture, Rate, Vector
from serving.packs.calibration import Band
from serving.vision.quality_gates import QualityLevel


class DetectedFace(FaceView):
    """A face that was found."""

    faults: list[FaultView] = Field(description="How it falls short of the quality level asked about.")


class Detection(Schema):
    """The faces of a picture, the surest first; empty when there is none."""

    request_id: str
    pack_id: str
    width: int = Field(description="Of the upright picture, in pixels.")
    height: int
    faces: list[DetectedFace]
    timings: Timings


class EmbeddedFace(DetectedFace):
    """A face and its vector."""

    vector: list[float] | str | None = Field(
        description="Unit length: numbers to 8 decimals, or base64 of little-endian float32; null when the "
        "face has faults."
    )


class EmbeddedPicture(Schema):
    """A picture whose faces were embedded."""

    status: Literal["ok"] = "ok"
    width: int = Field(description="Of the upright picture, in pixels.")
    height: int
    faces: list[EmbeddedFace]


class Embedding(Schema):
    """One result for each picture, in the order in which they were sent."""

    request_id: str
    pack_id: str = Field(description="Vectors of another pack cannot be compared with these.")
    dimension: int = Field(description="Numbers in a vector.")
    results: list[Annotated[EmbeddedPicture | FailedPicture, Field(discriminator="status")]]
    timings: Timings = Field(
        description="Pictures are worked on side by side: each part is that of the slowest picture."
    )


class Sample(Schema):
    """A picture or a vector, one of the two."""

    picture: str | None = Field(None, description="Base64 or a data URI.")
    vector: Vector | None = None


class Reference(Sample):
    """What the query is compared with."""

    id: str | None = Field(None, min_length=1, max_length=128, description="Yours; the answer repeats it.")


_EXAMPLE_PICTURE = "/9j/4AAQSkZJRgABAQAAAQABAAD..."


class ComparisonRequest(Schema):
    """Either `pictures`, or `query` and `references`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"pictures": [_EXAMPLE_PICTURE, _EXAMPLE_PICTURE]},
                {
                    "pack_id": "starter-int8-mirror",
                    "query": {"picture": _EXAMPLE_PICTURE},
                    "references": [{"id": "ada", "vector": [0.12, -0.03, 0.08]}],
                    "metric": "euclidean",
                },
            ]
        },
    )

    pictures: Annotated[list[str], Field(fail_fast=True)] | None = Field(
        None, min_length=2, description="Base64: the first is compared with each of the others."
    )
    query: Sample | None = None
    references: list[Reference] | None = Field(None, min_length=1, max_length=MAX_VECTORS)
    pack_id: str | None = Field(
        None, max_length=200, description="The model pack of the vectors; needed when there are vectors."
    )
    metric: Literal["cosine", "euclidean"] | None = Field(
        None, description="What `score` is and results are ranked by; euclidean: between unit vectors."
    )
    face: SingleFace | None = Field(None, description="Which face of a picture counts; largest by default.")
    quality: QualityLevel | None = Field(
        None, description="Refuse pictures whose face falls short of this level."
    )
    threshold: Cosine | None = Field(None, description="Raw cosine at or above which it is the same person.")
    false_match_rate: float | None = Field(None, gt=0, le=1, description="Target, in place of a threshold.")
    strictness: Strictness | None = Field(None, description="In place of a threshold.")


class ComparedReference(Schema):
    """A reference that was compared."""

    index: int = Field(
        description="Its place in the request: among the references, or the pictures after the first."
    )
    id: str | None = Field(description="As in the request.")
    face: FaceView | None = Field(description="The face that counted; null for a vector.")
    score: float = Field(description="In the metric asked for: a cosine, or a distance from 0 to 2.")
    cosine: Cosine
    false_match_rate: Rate
    band: Band
    same_person: bool = Field(description="Whether the cosine reaches the threshold.")


class FailedReference(Schema):
    """A reference that could not be compared."""

    index: int
    id: str | None
    problem: ProblemView


class Comparison(Schema):
    """How alike the query and each reference are."""

    request_id: str
    pack_id: str
    dimension: int = Field(description="Numbers in a vector.")
    metric: Literal["cosine", "euclidean"]
    threshold: Cosine = Field(description="The raw cosine that decided.")
    query_face: FaceView | None = Field(description="The face of the query; null for a vector.")
    best: ComparedReference = Field(description="The first of `results`.")
    results: list[ComparedReference] = Field(description="Best first.")
    failed: list[FailedReference]
    timings: Timings
