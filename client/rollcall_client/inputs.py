"""Made by client_generator from docs/openapi.json: objects within what is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from rollcall_client.bodies import Picture
from rollcall_client.models.common import Strictness


class EventPolicyInput(TypedDict, total=False):
    """From which cosine a face is a match, in one of three forms; without any, as the pack says."""

    threshold: float | None
    """Raw cosine, never rescaled. It belongs to the pack: GET /v1/model says what it means."""
    false_match_rate: float | None
    """Share of pairs of different people that may match; the calibration finds the cosine."""
    strictness: Strictness | None
    """strict, balanced or lenient: a false match rate of 1e-4, 1e-3 or 1e-2."""


class ReferenceInput(TypedDict, total=False):
    """What the query is compared with."""

    picture: Picture | None
    vector: Sequence[float] | None
    id: str | None
    """Yours; the answer repeats it."""


class SampleInput(TypedDict, total=False):
    """A picture or a vector, one of the two."""

    picture: Picture | None
    vector: Sequence[float] | None
