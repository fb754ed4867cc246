"""Events, the people enrolled at them, and which faces exist; the faces' vectors live in the gallery."""

from serving.registry.records import (
    Counts,
    Erasure,
    Event,
    FaceSummary,
    NewFace,
    Page,
    Person,
    PersonSummary,
    StaleEnrolment,
)
from serving.registry.registry import Registry

__all__ = [
    "Counts",
    "Erasure",
    "Event",
    "FaceSummary",
    "NewFace",
    "Page",
    "Person",
    "PersonSummary",
    "Registry",
    "StaleEnrolment",
]
