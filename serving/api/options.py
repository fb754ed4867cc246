"""Options of picture requests: in the query, or beside the pictures in the form or JSON, or in both alike."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from serving.api.policies import Policy, Strictness
from serving.api.services import Services
from serving.errors import InvalidRequest
from serving.vision.liveness_modes import LivenessMode
from serving.vision.quality_gates import QualityLevel

NUMBERS = frozenset({"top_k", "threshold", "false_match_rate"})
"""Options that may be numbers in JSON."""


class FaceChoice(str, Enum):
    """Which faces of a picture are meant."""

    all = "all"
    largest = "largest"
    centre = "centre"


class SingleFace(str, Enum):
    """Which face of a picture is meant, where one person is asked about."""

    only = "only"
    largest = "largest"
    centre = "centre"


class PolicyOptions(BaseModel):
    """The decision policy of one request."""

    threshold: float | None = Field(
        None, ge=-1, le=1, description="Raw cosine at or above which it is a match, for this request."
    )
    false_match_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="In place of a threshold: share of pairs of different people that may match.",
    )
    strictness: Strictness | None = Field(
        None, description="In place of a threshold: false match rate 1e-4, 1e-3 or 1e-2."
    )

    @property
    def policy(self) -> Policy:
        """What is asked for; raises InvalidRequest when that is several things."""
        return Policy(self.threshold, self.false_match_rate, self.strictness)


class RecognitionOptions(PolicyOptions):
    """Of recognition."""

    faces: FaceChoice = Field(
        FaceChoice.all, description="All faces, the one with the largest box, or the one nearest the centre."
    )
    top_k: int | None = Field(None, ge=1, description="Candidates wanted for each face.")
    quality: QualityLevel = Field(
        QualityLevel.off, description="Refuse faces that fall short of this level, instead of comparing them."
    )
    liveness: LivenessMode | None = Field(
        None, description="Check faces for being live at least so strictly; else as the event says."
    )


class VerificationOptions(PolicyOptions):
    """Of verification."""

    face: SingleFace = Field(
        SingleFace.only,
        description="Each picture must hold only one face; or its largest counts, or the one nearest the "
        "centre.",
    )
    quality: QualityLevel = Field(
        QualityLevel.off, description="Leave out pictures whose face falls short of this level."
    )
    liveness: LivenessMode | None = Field(
        None, description="Check faces for being live at least so strictly; else as the event says."
    )


class IdentificationOptions(VerificationOptions):
    """Of identification by several pictures."""

    top_k: int | None = Field(None, ge=1, description="Candidates wanted.")


class PackOptions(BaseModel):
    """Which of the packs that serve works on the request."""

    pack_id: str | None = Field(
        None, max_length=200, description="A pack that serves, see `GET /v1/model`; null: the default one."
    )


class DetectionOptions(PackOptions):
    """Of detection."""

    faces: FaceChoice = Field(
        FaceChoice.all, description="All faces, the one with the largest box, or the one nearest the centre."
    )
    quality: QualityLevel = Field(
        QualityLevel.standard, description="The level whose limits `faults` are counted against."
    )


class EmbeddingOptions(PackOptions):
    """Of embedding."""

    faces: FaceChoice = Field(
        FaceChoice.all, description="All faces, the one with the largest box, or the one nearest the centre."
    )
    quality: QualityLevel = Field(
        QualityLevel.off, description="Faces that fall short of this level get no vector."
    )
    encoding: Literal["json", "base64"] = Field(
        "json", description="Vectors as lists of numbers, or as base64 of little-endian float32."
    )


class ComparisonOptions(PolicyOptions, PackOptions):
    """Of comparison."""

    metric: Literal["cosine", "euclidean"] = Field(
        "cosine", description="What `score` is and results are ranked by; euclidean: between unit vectors."
    )
    face: SingleFace = Field(
        SingleFace.largest,
        description="Which face of a picture counts; `only` refuses pictures with several.",
    )
    quality: QualityLevel = Field(
        QualityLevel.off, description="Refuse pictures whose face falls short of this level."
    )


OptionsT = TypeVar("OptionsT", bound=BaseModel)


def read_query(request: Request, kind: type[OptionsT]) -> OptionsT:
    """The options in the query. FastAPI would read them too, for a tenth of what the whole request costs.

    Raises:
        InvalidRequest: an unknown option, or one given twice.
        RequestValidationError: one has no valid value.
    """
    given = request.query_params
    if not given:
        unsaid: OptionsT = _defaults(kind)
        return unsaid
    if len(given) < len(given.multi_items()):
        raise InvalidRequest("an option is given twice in the query")
    return _validate(kind, given, "query")


def merge_options(query: OptionsT, beside: Mapping[str, Any]) -> OptionsT:
    """The options of the query together with those sent beside the pictures.

    Raises:
        InvalidRequest: an unknown option, or one given twice with different values.
        RequestValidationError: one has no valid value.
    """
    if not beside:
        return query
    sent = _validate(type(query), beside, "body")
    for name in beside:
        if name in query.model_fields_set and getattr(query, name) != getattr(sent, name):
            raise InvalidRequest(f"{name} is given twice, with different values", field=name)
    return query.model_copy(update={name: getattr(sent, name) for name in beside})


@cache
def _defaults(kind: type[OptionsT]) -> OptionsT:
    return kind()


def _validate(kind: type[OptionsT], given: Mapping[str, Any], place: str) -> OptionsT:
    known = kind.model_fields
    for name in given:
        if name not in known:
            raise InvalidRequest(f"unknown field {name[:80]!r}; the fields are {', '.join(known)}")
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        raise RequestValidationError(
            [{**problem, "loc": (place, *problem["loc"])} for problem in error.errors(include_url=False)]
        ) from None


def decide_top_k(services: Services, asked: int | None) -> int:
    """How many candidates are answered; raises InvalidRequest above the settings' limit."""
    limits = services.settings.recognition
    if asked is None:
        return limits.top_k
    if asked > limits.max_top_k:
        raise InvalidRequest(f"top_k is {asked}", max_top_k=limits.max_top_k)
    return asked
