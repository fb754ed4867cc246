"""Policies in three forms, and what an event lets its requests ask for."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pytest

from serving.api.policies import (
    FALSE_MATCH_RATES,
    Policy,
    RequestPolicy,
    Strictness,
    decide_alone,
    decide_threshold,
    policy_of,
)
from serving.errors import FalseMatchRateNotSupported, InvalidRequest, PolicyNotAllowed
from serving.packs.calibration import Calibration, load_calibration
from serving.packs.catalogue import find_pack
from serving.registry.records import Event

EVENT = Event(
    key="k",
    id="gala",
    name=None,
    pack_id="starter-int8-mirror",
    threshold=None,
    created_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
    state="open",
)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return load_calibration(find_pack("starter"))


def policies(calibration: Calibration) -> list[Policy]:
    rates = np.geomspace(calibration.floor, 1, 15)
    return [
        *(Policy(threshold=float(each)) for each in np.linspace(-1, 1, 15)),
        *(Policy(false_match_rate=min(1.0, max(float(each), calibration.floor))) for each in rates),
        *(Policy(strictness=each) for each in Strictness),
    ]


def test_no_request_gets_round_what_the_event_allows(calibration: Calibration) -> None:
    own = [Policy(), *policies(calibration)]
    for of_event, asked, allowed in itertools.product(own, policies(calibration), RequestPolicy):
        event = replace(
            EVENT,
            threshold=of_event.threshold,
            target_false_match_rate=of_event.false_match_rate,
            strictness=of_event.strictness and of_event.strictness.value,
            request_policy=allowed.value,
        )
        base = decide_threshold(event, Policy(), calibration)
        wanted = asked.to_cosine(calibration)
        if allowed is RequestPolicy.any or (allowed is RequestPolicy.stricter and wanted >= base):
            assert decide_threshold(event, asked, calibration) == wanted
        else:
            with pytest.raises(PolicyNotAllowed) as caught:
                decide_threshold(event, asked, calibration)
            assert caught.value.context["allowed"] == allowed.value


def test_the_order_of_what_decides(calibration: Calibration) -> None:
    assert decide_threshold(EVENT, Policy(), calibration) == calibration.default_threshold
    assert decide_threshold(EVENT, Policy(), calibration, 0.5) == 0.5
    assert decide_threshold(replace(EVENT, threshold=0.0), Policy(), calibration, 0.5) == 0.0
    assert decide_threshold(EVENT, Policy(threshold=0.6), calibration, 0.5) == 0.6
    assert decide_alone(Policy(), calibration) == calibration.default_threshold
    assert decide_alone(Policy(), calibration, 0.5) == 0.5
    assert decide_alone(Policy(threshold=-1.0), calibration, 0.5) == -1.0


def test_stricter_names_are_stricter(calibration: Calibration) -> None:
    cosines = [Policy(strictness=each).to_cosine(calibration) for each in Strictness]
    assert cosines == sorted(cosines, reverse=True)
    for strictness, cosine in zip(Strictness, cosines, strict=True):
        assert calibration.false_match_rate(cosine) == pytest.approx(FALSE_MATCH_RATES[strictness], rel=1e-6)


def test_a_strictness_beyond_the_calibration_is_as_strict_as_it_gets(calibration: Calibration) -> None:
    coarse = replace(calibration, cosines=calibration.cosines[:20], rates=calibration.rates[:20], bands={})
    assert coarse.floor > FALSE_MATCH_RATES[Strictness.strict]
    assert Policy(strictness=Strictness.strict).to_cosine(coarse) == pytest.approx(coarse.cosines[-1])
    with pytest.raises(FalseMatchRateNotSupported) as caught:
        Policy(false_match_rate=1e-4).to_cosine(coarse)
    assert caught.value.context == {"floor": coarse.floor, "asked": 1e-4}


@pytest.mark.parametrize(
    "several",
    [
        {"threshold": 0.5, "false_match_rate": 0.1},
        {"threshold": 0.0, "strictness": Strictness.strict},
        {"false_match_rate": 0.1, "strictness": Strictness.strict},
    ],
)
def test_one_form_at_a_time(several: dict) -> None:
    with pytest.raises(InvalidRequest):
        Policy(**several)


def test_the_policy_of_an_event() -> None:
    assert policy_of(replace(EVENT, strictness="lenient")) == Policy(strictness=Strictness.lenient)
    assert policy_of(replace(EVENT, target_false_match_rate=0.01)) == Policy(false_match_rate=0.01)
    assert policy_of(replace(EVENT, threshold=0.0)).is_given
    assert not policy_of(EVENT).is_given
