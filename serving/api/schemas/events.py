"""Events."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, cast

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from serving.api.policies import Policy, RequestPolicy, Strictness
from serving.api.schemas.base import Cosine, Schema
from serving.registry.events import MAX_RETENTION_DAYS
from serving.registry.identifiers import EVENT_ID_PATTERN, MAX_NAME_CHARS
from serving.registry.records import EventFields
from serving.vision.liveness_modes import LivenessMode
from serving.vision.quality_gates import QualityLevel

NEW_EVENT_EXAMPLE: JsonDict = {
    "id": "gala-2026",
    "name": "Winter gala",
    "policy": {"strictness": "strict"},
    "quality_level": "standard",
    "retention_days": 30,
    "consent_required": True,
}
CHANGES_EXAMPLE: JsonDict = {"name": "Winter gala, moved to May", "retention_days": 60, "quality_level": None}

RetentionDays = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_RETENTION_DAYS,
        description="Days without change after which a person is erased, and after closing the event itself; "
        "null: never.",
    ),
]
Name = Annotated[
    str | None,
    Field(
        description="For people to read: printable and not all blank.",
        json_schema_extra={"minLength": 1, "maxLength": MAX_NAME_CHARS},
    ),
]


class EventPolicy(Schema):
    """From which cosine a face is a match, in one of three forms; without any, as the pack says."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"strictness": "strict"}]}
    )

    threshold: Cosine | None = Field(
        None,
        description="Raw cosine, never rescaled. It belongs to the pack: GET /v1/model says what it means.",
    )
    false_match_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of pairs of different people that may match; the calibration finds the cosine.",
    )
    strictness: Strictness | None = Field(
        None, description="strict, balanced or lenient: a false match rate of 1e-4, 1e-3 or 1e-2."
    )

    @model_validator(mode="after")
    def _is_one(self) -> EventPolicy:
        given = (self.threshold, self.false_match_rate, self.strictness)
        if sum(each is not None for each in given) > 1:
            raise ValueError("give one of threshold, false_match_rate and strictness")
        return self

    def to_policy(self) -> Policy:
        """The same as the decision takes it."""
        return Policy(self.threshold, self.false_match_rate, self.strictness)


class _Changeable(Schema):
    """What can be said at creation and changed later."""

    name: Name = None
    policy: EventPolicy | None = Field(None, description="Null: as the settings or the pack say.")
    request_policy: RequestPolicy | None = Field(
        None,
        description="Which thresholds a request may ask for: none, only stricter ones than the event's (the "
        "default), or any.",
    )
    quality_level: QualityLevel | None = Field(
        None, description="What faces are held to at enrolment; null: as the settings say."
    )
    liveness: LivenessMode | None = Field(
        None,
        description="What becomes of faces that are not live: nothing is asked, it is told in the answer, or "
        "they are refused; null: as the settings say. Needs a liveness model.",
    )
    retention_days: RetentionDays | None = None
    consent_required: bool | None = Field(
        None, description="Whether nobody is enrolled without a consent reference; false when left out."
    )

    def to_fields(self) -> EventFields:
        """What was given, with defaults in the place of nulls, as the registry takes it."""
        given = self.model_dump(mode="json", exclude_unset=True)
        simple = ("name", "quality_level", "liveness", "retention_days")
        fields: dict[str, object] = {name: given[name] for name in simple if name in given}
        if "request_policy" in given:
            fields["request_policy"] = given["request_policy"] or RequestPolicy.stricter.value
        if "consent_required" in given:
            fields["consent_required"] = given["consent_required"] or False
        if "policy" in given:
            forms = dict.fromkeys(EventPolicy.model_fields) if given["policy"] is None else given["policy"]
            for form, value in forms.items():
                fields["target_false_match_rate" if form == "false_match_rate" else form] = value
        return cast(EventFields, fields)


class NewEvent(_Changeable):
    """An event to create."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [NEW_EVENT_EXAMPLE]}
    )

    id: str | None = Field(
        None,
        description="Your own id; one is made when it is left out.",
        json_schema_extra={"pattern": EVENT_ID_PATTERN},
    )
    pack_id: str | None = Field(
        None,
        max_length=128,
        description="The model pack you count on; another than the one that serves is refused.",
    )


class EventChanges(_Changeable):
    """A JSON merge patch (RFC 7396): what is left out stays, null brings the default back.

    The forms of the policy exclude each other, so that giving one removes the others.
    """

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [CHANGES_EXAMPLE]})


class EventView(Schema):
    """An event, as it was set and what follows from that."""

    id: str = Field(examples=["gala-2026"])
    name: str | None = Field(examples=["Winter gala"])
    pack_id: str = Field(
        description="The model pack whose vectors this event holds.", examples=["starter-int8"]
    )
    policy: EventPolicy | None = Field(description="As it was given; null when it was not.")
    decision_threshold: Cosine | None = Field(
        description="Raw cosine at or above which a face is a match here; null while another pack serves, or "
        "when its calibration supports no false match rate that small any more.",
        examples=[0.9426],
    )
    decision_false_match_rate: float | None = Field(
        description="What that threshold stands for; never below what the calibration supports.",
        examples=[0.0001],
    )
    request_policy: RequestPolicy
    quality_level: QualityLevel | None = Field(description="As it was given; null when it was not.")
    effective_quality_level: QualityLevel = Field(description="What faces are held to at enrolment.")
    liveness: LivenessMode | None = Field(description="As it was given; null when it was not.")
    effective_liveness: LivenessMode = Field(description="What becomes of faces that are not live.")
    retention_days: RetentionDays | None
    consent_required: bool
    created_at: datetime
    closed_at: datetime | None = Field(description="Since when nobody is enrolled or recognised.")
    people: int = Field(description="People enrolled.")
    faces: int = Field(description="Faces enrolled.")


class EventPage(Schema):
    """One page of events."""

    events: list[EventView]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null at the end.")


class ScoreBin(Schema):
    """Faces whose best candidate's cosine was at least `from` and below `to`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    from_: Cosine = Field(alias="from", examples=[0.94])
    to: Cosine = Field(examples=[0.96])
    matches: int
    unknowns: int


class EventStatistics(Schema):
    """What became of the faces in the pictures that were recognised at an event."""

    event_id: str = Field(examples=["gala-2026"])
    people: int = Field(description="People enrolled.")
    faces: int = Field(description="Faces enrolled.")
    recognitions: int = Field(description="Pictures answered, each of a batch too.")
    recognised_faces: int = Field(description="Faces found in them: the sum of the next three.")
    matches: int
    unknowns: int
    refusals: int = Field(
        description="Faces that a quality gate refused, where one was asked for, or enforced liveness."
    )
    spoofs: int = Field(
        description="Of the faces, those taken for presentation attacks, where liveness was asked for."
    )
    counted_since: datetime | None = Field(
        description="When the first picture was counted; null before that."
    )
    scores: list[ScoreBin] = Field(
        description="How often the best candidate's cosine fell where, in steps of 0.02; empty steps are "
        "left out. Faces without any candidate are in none."
    )
