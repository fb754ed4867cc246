"""Health, readiness and the model."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

import serving
from serving.api.routes import operations
from serving.errors import Overloaded, StageUnavailable
from tests.unit.api.api_fakes import fail_next
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api


async def test_alive_without_asking_anybody(api: Api) -> None:
    await api.registry.close()
    answer = await api.anonymous().get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert api.stages.calls == []


async def test_ready_is_remembered_for_a_second(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(operations.time, "monotonic", lambda: now)
    client = api.anonymous()
    for _ in range(3):
        assert (await client.get("/readyz")).json() == {"status": "ok"}
    fail_next(api.stages, "check", StageUnavailable())
    now += 0.99
    assert (await client.get("/readyz")).status_code == 200
    assert api.stages.counts["check"] == 1
    now += 0.02
    for _ in range(2):
        check_problem(await client.get("/readyz"), "stage_unavailable")
    assert api.stages.counts["check"] == 2
    now += 1.01
    assert (await client.get("/readyz")).status_code == 200
    assert api.stages.counts["check"] == 3


async def test_not_ready_without_the_registry(api: Api) -> None:
    await api.registry.close()
    check_problem(await api.anonymous().get("/readyz"), "stage_unavailable")


async def test_many_probes_cost_one_check(api: Api) -> None:
    client = api.anonymous()
    await asyncio.gather(*(client.get("/readyz") for _ in range(20)))
    assert api.stages.counts["check"] == 1


async def test_a_busy_stage_is_not_ready_and_says_no_more(api: Api) -> None:
    fail_next(api.stages, "check", Overloaded("secret"))
    answer = await api.anonymous().get("/readyz")
    check_problem(answer, "stage_unavailable")
    assert "secret" not in answer.text


async def test_the_model(api: Api) -> None:
    body = (await api.client_for("member").get("/v1/model")).json()
    pack, calibration = api.line.pack, api.line.calibration
    assert (body["pack_id"], body["dimension"], body["version"]) == (pack.id, 128, serving.__version__)
    assert body["default_threshold"] == calibration.default_threshold
    assert body["licence"]
    rates = [point["false_match_rate"] for point in body["calibration"]]
    thresholds = [point["threshold"] for point in body["calibration"]]
    assert rates == sorted(rates, reverse=True)
    assert thresholds == sorted(thresholds)
    for rate, threshold in zip(rates, thresholds, strict=True):
        assert calibration.false_match_rate(threshold) == pytest.approx(rate, rel=0.05)
    assert rates[-1] == calibration.floor  # what a policy may ask for at most


async def test_the_curve_can_be_read_between_the_points_that_are_told(api: Api) -> None:
    """As `serving/console/charts/rates.js` reads it: the logarithm of the rate along a straight line."""
    told = (await api.client_for("member").get("/v1/model")).json()["calibration"]
    cosines = [point["threshold"] for point in told]
    logarithms = [math.log(point["false_match_rate"]) for point in told]
    for cosine in np.linspace(cosines[0], cosines[-1], 200):
        rate = math.exp(np.interp(cosine, cosines, logarithms))
        assert rate == pytest.approx(api.line.calibration.false_match_rate(float(cosine)), rel=0.1)
