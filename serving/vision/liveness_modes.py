"""What is asked of the liveness stage, and what it says. Needs nothing else: the settings import it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class LivenessMode(str, Enum):
    """What becomes of a face that does not look live: nothing is asked, it is told, or it is refused."""

    off = "off"
    observe = "observe"
    enforce = "enforce"

    @property
    def strictness(self) -> int:
        """0, 1 or 2: more is stricter."""
        return list(LivenessMode).index(self)


class LivenessStatus(str, Enum):
    """What is known of a face. The values are part of the API: they never change their meaning."""

    live = "live"
    spoof = "spoof"
    not_checked = "not_checked"
    unavailable = "unavailable"


@dataclass(frozen=True, slots=True)
class Liveness:
    """What the liveness stage says of a face.

    score: probability of being live, 0..1, by the model; None where there is none. threshold: the score from
    which a face counts as live; None when no model is in use.
    """

    status: LivenessStatus
    score: float | None = None
    threshold: float | None = None


def judge_liveness(score: float | None, threshold: float) -> Liveness:
    """What a score says at a threshold; None is of a face that could not be cut as the models need it."""
    if score is None:
        return Liveness(LivenessStatus.not_checked, None, threshold)
    status = LivenessStatus.live if score >= threshold else LivenessStatus.spoof
    return Liveness(status, score, threshold)
