"""What a recognition may ask for, what it may not, and what it shows to whom."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
import pytest_asyncio

from serving.api.statistics import StatisticsRecorder
from tests.unit.api.api_fakes import picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA, LIKE_ADA = picture("ada"), picture("ada:0.9")
RECOGNISE = "/v1/events/gala/recognise"


@pytest_asyncio.fixture
async def gala(make_api: Callable[..., Any]) -> Api:
    """An event with Ada, at which requests decide by themselves and people may look alike."""
    api: Api = await make_api(enrolment={"on_duplicate": "allow"})
    await api.create_event(request_policy="any")
    await api.enrol("ada", ADA, name="Ada")
    return api


def forms(**options: Any) -> dict[str, dict[str, Any]]:
    """`options` with a picture of somebody like Ada, by each way that a request may say them."""
    encoded = base64.b64encode(LIKE_ADA).decode()
    return {
        "query": {"params": options, "content": LIKE_ADA},
        "form": {"data": options, "files": {"picture": LIKE_ADA}},
        "json": {"json": {**options, "picture": encoded}},
        "json of texts": {
            "json": {**{name: str(value) for name, value in options.items()}, "picture": encoded}
        },
        "query and form": {"params": options, "data": options, "files": {"picture": LIKE_ADA}},
        "query and json": {"params": options, "json": {**options, "picture": encoded}},
    }


@pytest.mark.parametrize("way", forms())
@pytest.mark.parametrize(
    ("option", "value", "outcome"),
    [
        ("threshold", 0.9, "match"),
        ("threshold", 0.91, "unknown"),
        ("false_match_rate", 1.0, "match"),
        ("false_match_rate", 1e-3, "unknown"),
        ("strictness", "lenient", "unknown"),
    ],
)
async def test_the_policy_of_a_request(gala: Api, way: str, option: str, value: Any, outcome: str) -> None:
    answer = await gala.client.post(RECOGNISE, **forms(**{option: value})[way])
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["faces"][0]["outcome"] == outcome
    if option == "threshold":
        assert body["threshold"] == value
    else:
        rates = {"lenient": 1e-2}
        expected = gala.line.calibration.threshold_for(rates.get(value, value))
        assert body["threshold"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": 0.9, "strictness": "strict"}, "not several"),
        ({"threshold": "nan"}, "threshold"),
        ({"threshold": 1.5}, "threshold"),
        ({"false_match_rate": 0}, "false_match_rate"),
        ({"false_match_rate": 2}, "false_match_rate"),
        ({"strictness": "severe"}, "strictness"),
        ({"faces": "smallest"}, "faces"),
        ({"quality": "perfect"}, "quality"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 21}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"treshold": 0.9}, "treshold"),
    ],
)
@pytest.mark.parametrize("way", ["query", "form", "json"])
async def test_options_nobody_can_mean(gala: Api, way: str, options: dict[str, Any], words: str) -> None:
    calls = len(gala.stages.calls)
    answer = await gala.client.post(RECOGNISE, **forms(**options)[way])
    assert words in check_problem(answer, "invalid_request")["detail"]
    assert len(gala.stages.calls) == calls
    assert (gala.services.gate.requests, gala.services.gate.bytes) == (0, 0)


async def test_options_that_contradict(gala: Api) -> None:
    answer = await gala.client.post(
        RECOGNISE, params={"top_k": 2}, data={"top_k": "3"}, files={"picture": ADA}
    )
    assert check_problem(answer, "invalid_request")["context"]["field"] == "top_k"
    answer = await gala.client.post(RECOGNISE, params=[("top_k", "2"), ("top_k", "2")], content=ADA)
    check_problem(answer, "invalid_request")
    answer = await gala.client.post(
        RECOGNISE, params={"threshold": 0.9}, data={"strictness": "strict"}, files={"picture": ADA}
    )
    check_problem(answer, "invalid_request")


async def test_a_rate_below_what_the_calibration_supports(gala: Api) -> None:
    answer = await gala.client.post(RECOGNISE, params={"false_match_rate": 1e-9}, content=ADA)
    problem = check_problem(answer, "false_match_rate_not_supported")
    assert problem["context"]["floor"] == gala.line.calibration.floor


@pytest.mark.parametrize(
    ("allowed", "asked", "status"),
    [
        ("none", None, 200), ("none", 0.9, 403), ("none", 0.95, 403),
        ("stricter", None, 200), ("stricter", 0.95, 200), ("stricter", 0.9, 403), ("stricter", 0.89, 403),
        ("any", 0.2, 200), ("any", 0.99, 200),
    ],
)  # fmt: skip
async def test_the_event_says_what_a_request_may_ask_for(
    gala: Api, allowed: str, asked: float | None, status: int
) -> None:
    await gala.create_event("door", policy={"threshold": 0.92}, request_policy=allowed)
    options = {} if asked is None else {"threshold": asked}
    answer = await gala.client.post("/v1/events/door/recognise", params=options, content=ADA)
    assert answer.status_code == status, answer.text
    if status == 403:
        problem = check_problem(answer, "policy_not_allowed")
        assert problem["context"] == {"allowed": allowed, "event_threshold": 0.92, "asked_threshold": asked}


async def test_which_faces_are_meant(gala: Api) -> None:
    crowd = picture("bob", "ada", "cleo", width=64, height=32)  # boxes from x = 10, 20, 30, each 8 wide
    for choice, people in (("all", [None, "ada", None]), ("centre", [None]), ("largest", [None])):
        faces = (await gala.recognise(crowd, faces=choice))["faces"]
        assert [face["person"] and face["person"]["person_id"] for face in faces] == people
    [centre] = (await gala.recognise(crowd, faces="centre"))["faces"]
    assert centre["box"]["x"] == 30.0
    [ada] = (await gala.recognise(picture("bob", "ada", "cleo", width=48, height=32), faces="centre"))[
        "faces"
    ]
    assert ada["person"]["person_id"] == "ada"
    assert gala.stages.calls[-2] == ("embed", 1)


async def test_scores_are_given_with_their_meaning(gala: Api) -> None:
    calibration = gala.line.calibration
    for cosine, band in ((1.0, "high"), (0.94, "medium"), (0.92, "low"), (0.7, "none")):
        face = (await gala.recognise(picture(f"ada:{cosine}")))["faces"][0]
        [candidate] = face["candidates"]
        assert candidate["band"] == calibration.band_of(cosine) == band
        assert candidate["cosine"] == face["best_cosine"] == pytest.approx(cosine, abs=1e-6)
        assert candidate["false_match_rate"] == calibration.false_match_rate(candidate["cosine"])


async def test_a_face_without_quality_is_refused_and_not_compared(gala: Api) -> None:
    crowd = picture("ada", "ada:1:blurred,too_dark")
    faces = (await gala.recognise(crowd, quality="standard"))["faces"]
    assert [face["outcome"] for face in faces] == ["match", "refused"]
    assert [fault["reason"] for fault in faces[1]["faults"]] == ["blurred", "too_dark"]
    for fault in faces[1]["faults"]:
        assert fault["value"] < fault["limit"]
        assert fault["hint"]
    assert (faces[1]["person"], faces[1]["best_cosine"], faces[1]["candidates"]) == (None, None, [])
    assert faces[1]["quality"]["sharpness"] == 0.1
    assert gala.stages.calls[-2] == ("embed", 1)
    faces = (await gala.recognise(crowd))["faces"]
    assert [(face["outcome"], face["faults"]) for face in faces] == [("match", [])] * 2


async def test_when_every_face_is_refused_no_model_works(gala: Api) -> None:
    calls = len(gala.stages.calls)
    [face] = (await gala.recognise(picture("ada:1:tilted"), quality="strict"))["faces"]
    assert face["outcome"] == "refused"
    assert gala.stages.names()[calls:] == ["detect"]


async def test_who_may_not_read_people_sees_only_the_match(gala: Api) -> None:
    await gala.enrol("twin", picture("ada:0.99"), name="Twin")
    member = gala.client_for("member")
    for probe, outcome, people in (
        (ADA, "match", ["ada", "twin"]),
        (picture("ada:0.8"), "unknown", ["twin", "ada"]),
    ):
        seen = (await gala.client.post(RECOGNISE, params={"top_k": 5}, content=probe)).json()["faces"][0]
        shown = (await member.post(RECOGNISE, params={"top_k": 5}, content=probe)).json()["faces"][0]
        assert (seen["outcome"], shown["outcome"]) == (outcome, outcome)
        assert [each["person_id"] for each in seen["candidates"]] == people
        assert seen["best_cosine"] == seen["candidates"][0]["cosine"]
        if outcome == "match":
            assert shown["person"] == seen["person"]
            assert shown["candidates"] == [seen["person"]]
            assert shown["best_cosine"] == seen["best_cosine"]
        else:
            assert (shown["person"], shown["candidates"], shown["best_cosine"]) == (None, [], None)


async def test_what_is_counted_is_what_was_decided(gala: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[Any] = []

    def note(self: StatisticsRecorder, event_key: str, faces: Any, *rest: Any) -> None:
        noted.append((event_key, list(faces)))

    monkeypatch.setattr(StatisticsRecorder, "note_recognition", note)
    key = (await gala.registry.get_event("gala")).key
    member = gala.client_for("member")
    await member.post(
        RECOGNISE, params={"quality": "standard"}, content=picture("ada", "ada:0.5", "x:1:blurred")
    )
    assert noted == [(key, [("match", 1.0), ("unknown", 0.5), ("refused", None)])]


async def test_a_closed_event_recognises_nobody(gala: Api) -> None:
    assert (await gala.client.post("/v1/events/gala/close")).status_code == 200
    check_problem(await gala.client.post(RECOGNISE, content=ADA), "event_closed")
