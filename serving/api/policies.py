"""From what an event or a request asks for to the raw cosine that decides.

A decision policy is given in one of three ways: a raw cosine, a target false match rate, or a strictness. The
pack's calibration turns all of them into a raw cosine. An event says which thresholds its requests may ask
for: none of their own, stricter ones than its own, or any.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from serving.errors import FalseMatchRateNotSupported, InvalidRequest, PolicyNotAllowed
from serving.graph.lines import ServedPack
from serving.packs.calibration import Calibration
from serving.registry.records import Event, EventFields


class Strictness(str, Enum):
    """How readily a face counts as a match, for those who want no numbers."""

    strict = "strict"
    balanced = "balanced"
    lenient = "lenient"


FALSE_MATCH_RATES = {Strictness.strict: 1e-4, Strictness.balanced: 1e-3, Strictness.lenient: 1e-2}
"""What each strictness means. 1e-2 suits an album, not a door."""


class RequestPolicy(str, Enum):
    """Which thresholds of their own an event lets requests ask for."""

    none = "none"
    stricter = "stricter"
    any = "any"


@dataclass(frozen=True, slots=True)
class Policy:
    """A decision policy as it was given; at most one of the three.

    Attributes:
        threshold: raw cosine, -1..1.
        false_match_rate: target share of pairs of different people that may match, above 0, at most 1.
        strictness: a name for a false match rate.
    """

    threshold: float | None = None
    false_match_rate: float | None = None
    strictness: Strictness | None = None

    def __post_init__(self) -> None:
        given = [
            each for each in (self.threshold, self.false_match_rate, self.strictness) if each is not None
        ]
        if len(given) > 1:
            raise InvalidRequest("give one of threshold, false_match_rate and strictness, not several")

    @property
    def is_given(self) -> bool:
        """Whether it says anything."""
        return not (self.threshold is None and self.false_match_rate is None and self.strictness is None)

    def to_cosine(self, calibration: Calibration) -> float | None:
        """The raw cosine from which a face counts as a match; None when nothing is given.

        Raises:
            FalseMatchRateNotSupported: the calibration rests on too few pairs to say.
        """
        if self.threshold is not None:
            return self.threshold
        rate = self.false_match_rate
        if self.strictness is not None:
            rate = max(FALSE_MATCH_RATES[self.strictness], calibration.floor)
        if rate is None:
            return None
        if rate < calibration.floor:
            raise FalseMatchRateNotSupported(floor=calibration.floor, asked=rate)
        return calibration.threshold_for(rate)


def policy_of(event: Event) -> Policy:
    """What the event itself says."""
    strictness = None if event.strictness is None else Strictness(event.strictness)
    return Policy(event.threshold, event.target_false_match_rate, strictness)


def decide_threshold(
    event: Event, asked: Policy, calibration: Calibration, configured: float | None = None
) -> float:
    """The raw cosine that decides a request: its own, else the event's, the settings', the pack's.

    Args:
        event: whose policy, and whose word on the policies of requests, holds.
        asked: what the request asks for.
        calibration: of the event's pack.
        configured: what the settings give that pack; see `lines.configured_threshold`.

    Raises:
        PolicyNotAllowed: the event does not let the request ask for that.
        FalseMatchRateNotSupported: as `Policy.to_cosine`.
    """
    own = policy_of(event).to_cosine(calibration)
    if own is None:
        own = calibration.default_threshold if configured is None else configured
    wanted = asked.to_cosine(calibration)
    if wanted is None:
        return own
    allowed = RequestPolicy(event.request_policy)
    if allowed is RequestPolicy.none or (allowed is RequestPolicy.stricter and wanted < own):
        raise PolicyNotAllowed(
            f"the request's threshold is {wanted:.4f}, the event's {own:.4f}",
            allowed=allowed.value,
            event_threshold=round(own, 6),
            asked_threshold=round(wanted, 6),
        )
    return wanted


def decide_sign_in(event: Event, calibration: Calibration, configured: float | None = None) -> float:
    """The raw cosine from which a face signs in: the event's, or that of `balanced` where that is more.

    Who recognises an album may let everybody match; an account is not opened on those terms.

    Raises:
        FalseMatchRateNotSupported: as `Policy.to_cosine`, for the event's own policy.
    """
    least = calibration.threshold_for(max(FALSE_MATCH_RATES[Strictness.balanced], calibration.floor))
    return max(least, decide_threshold(event, Policy(), calibration, configured))


def decide_alone(asked: Policy, calibration: Calibration, configured: float | None = None) -> float:
    """The raw cosine that decides apart from any event: the request's, else the settings', the pack's.

    Raises:
        FalseMatchRateNotSupported: as `Policy.to_cosine`.
    """
    wanted = asked.to_cosine(calibration)
    if wanted is not None:
        return wanted
    return calibration.default_threshold if configured is None else configured


def convert_policy(
    event: Event, old: ServedPack, new: ServedPack, threshold: float | None = None
) -> EventFields:
    """What of an event's policy changes when it goes from one pack to another; empty when nothing does.

    A false match rate and a strictness mean the same in both. A raw cosine does not: the false match rate
    that it stands for in the old pack takes its place, or `threshold`, a cosine of the new one, if given.

    Raises:
        FalseMatchRateNotSupported: the new pack's calibration does not reach that far. A laxer threshold in
            its place would let in who was kept out.
    """
    if threshold is not None:
        return {"threshold": threshold}
    if event.threshold is None:
        policy_of(event).to_cosine(new.calibration)
        return {}
    # Seven digits, as the rate of an event is shown.
    rate = float(f"{old.calibration.false_match_rate(event.threshold):.6e}")
    Policy(false_match_rate=rate).to_cosine(new.calibration)
    return {"target_false_match_rate": rate}
