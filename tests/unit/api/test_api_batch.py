"""Many pictures at once, each of which fails or succeeds alone."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
import pytest_asyncio

from serving.api.statistics import StatisticsRecorder
from serving.errors import DeadlineExceeded, InternalError, Overloaded
from tests.unit.api.api_fakes import fail_next, picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA = picture("ada")
BATCH = "/v1/events/gala/recognise/batch"
PICTURES = [picture("ada"), b"no picture", picture("x", "bob"), picture(width=20), picture(), ADA[:60]]


@pytest_asyncio.fixture
async def gala(make_api: Callable[..., Any]) -> Api:
    """An event with Ada and Bob."""
    api: Api = await make_api()
    await api.create_event()
    await api.enrol("ada", ADA, name="Ada")
    await api.enrol("bob", picture("bob"))
    return api


def as_form(*pictures: bytes) -> dict[str, Any]:
    return {"files": [("picture", ("p", each)) for each in pictures]}


def as_json(*pictures: bytes) -> dict[str, Any]:
    return {"json": {"pictures": [base64.b64encode(each).decode() for each in pictures]}}


@pytest.mark.parametrize("form", [as_form, as_json])
async def test_each_picture_is_answered_as_if_it_were_alone(gala: Api, form: Callable[..., Any]) -> None:
    body = (await gala.client.post(BATCH, **form(*PICTURES))).json()
    assert len(body["results"]) == len(PICTURES)
    for sent, result in zip(PICTURES, body["results"], strict=True):
        alone = await gala.client.post("/v1/events/gala/recognise", content=sent)
        if alone.status_code == 200:
            assert result["status"] == "ok"
            for key in ("width", "height", "faces"):
                assert result[key] == alone.json()[key]
        else:
            assert result["status"] == "error"
            for key in ("code", "title", "detail", "cure", "context"):
                assert result["problem"][key] == alone.json()[key]
    assert body["threshold"] == gala.line.calibration.default_threshold
    assert (gala.services.gate.requests, gala.services.gate.bytes) == (0, 0)


async def test_text_that_is_no_base64_fails_alone(gala: Api) -> None:
    good = base64.b64encode(ADA).decode()
    sent = {"pictures": [good, "!!!!", 7, None, "https://example.org/a.jpg", good]}
    results = (await gala.client.post(BATCH, json=sent)).json()["results"]
    assert [result["status"] for result in results] == ["ok", *["error"] * 4, "ok"]
    assert {result["problem"]["code"] for result in results[1:5]} == {"invalid_request"}


@pytest.mark.parametrize("stage", ["detect", "embed", "search"])
@pytest.mark.parametrize(
    "error", [Overloaded(), DeadlineExceeded(), InternalError("the words of a bug: KeyError")]
)
async def test_a_stage_that_fails_once_spoils_one_picture(gala: Api, stage: str, error: Any) -> None:
    fail_next(gala.stages, stage, error)
    body = await gala.client.post(BATCH, **as_form(ADA, ADA, ADA))
    statuses = [result["status"] for result in body.json()["results"]]
    assert sorted(statuses) == ["error", "ok", "ok"]
    [failed] = [result["problem"] for result in body.json()["results"] if result["status"] == "error"]
    assert failed["code"] == error.code
    assert "KeyError" not in body.text


async def test_a_bug_is_nobodys_result(gala: Api) -> None:
    fail_next(gala.stages, "embed", KeyError("secret"))
    check_problem(await gala.client.post(BATCH, **as_form(ADA, ADA)), "internal_error")
    assert (gala.services.gate.requests, gala.services.gate.bytes) == (0, 0)


async def test_names_are_looked_up_once(gala: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    names_of = type(gala.registry).names_of

    async def count(self: Any, event_key: str, people: Any) -> Any:
        asked.append(set(people))
        return await names_of(self, event_key, people)

    monkeypatch.setattr(type(gala.registry), "names_of", count)
    body = (await gala.client.post(BATCH, **as_form(ADA, picture("bob"), ADA))).json()
    assert asked == [{"ada", "bob"}]
    names = [result["faces"][0]["person"]["name"] for result in body["results"]]
    assert names == ["Ada", None, "Ada"]


async def test_each_picture_is_counted(gala: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[Any] = []
    monkeypatch.setattr(
        StatisticsRecorder, "note_recognition", lambda self, key, faces, *rest: noted.append(list(faces))
    )
    await gala.client.post(BATCH, **as_form(picture("ada", "x"), b"no picture", picture()))
    assert noted == [[("match", 1.0), ("unknown", 0.0)], []]


async def test_options_hold_for_all(gala: Api) -> None:
    crowd = picture("x", "ada", "y", width=48, height=32)
    sent = {**as_form(crowd, picture("ada:1:blurred")), "data": {"faces": "centre", "quality": "standard"}}
    first, second = (await gala.client.post(BATCH, **sent)).json()["results"]
    assert [face["outcome"] for face in first["faces"]] == ["match"]
    assert [face["outcome"] for face in second["faces"]] == ["refused"]
    problem = await gala.client.post(BATCH, params={"threshold": 0.5}, **as_form(ADA))
    check_problem(problem, "policy_not_allowed")


async def test_no_picture_and_too_many(make_api: Callable[..., Any]) -> None:
    api = await make_api(picture={"max_per_request": 3})
    await api.create_event()
    for form in (as_form(*[ADA] * 4), as_json(*[ADA] * 4), as_json(), {"files": {"x": (None, "y")}}):
        check_problem(await api.client.post(BATCH, **form), "invalid_request")
    assert api.stages.calls == []
    assert len((await api.client.post(BATCH, **as_form(*[ADA] * 3))).json()["results"]) == 3
    assert len((await api.client.post(BATCH, content=ADA)).json()["results"]) == 1
