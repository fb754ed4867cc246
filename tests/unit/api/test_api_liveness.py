"""Liveness at events: what is asked, what is answered, and what becomes of a face that is not live."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from serving.errors import InternalError, Overloaded, StageUnavailable
from serving.telemetry import recording
from tests.unit.api.api_fakes import picture
from tests.unit.api.conftest import Api

MODEL = {"model": "minifasnet"}
ADA, SPOOF, UNSEEN = picture("ada"), picture("ada:1::0.2"), picture("ada:1::none")
PNG = {"Content-Type": "image/png"}
NOT_CHECKED = {"status": "not_checked", "score": None, "threshold": None}


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the metrics are told of liveness."""
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr(recording, "note_liveness", lambda *args: told.append(args))
    return told


async def make(make_api: Callable[..., Any], mode: str, **event: Any) -> Api:
    """An application with a liveness model, and an event `gala` of that mode, where Ada is enrolled."""
    api = await make_api(liveness=MODEL)
    await api.create_event(liveness="off", **event)
    await api.enrol("ada", ADA, name="Ada")
    changed = await api.client.patch("/v1/events/gala", json={"liveness": mode})
    assert changed.status_code == 200, changed.text
    return api


async def post(api: Api, path: str, *pictures: bytes, **query: Any) -> tuple[int, dict[str, Any]]:
    files = [("picture", ("p.png", each, "image/png")) for each in pictures]
    answer = await api.client.post(f"/v1/events/gala/{path}", files=files, params=query)
    return answer.status_code, answer.json()


async def test_events_carry_their_mode_and_fall_back_on_the_settings(make_api: Callable[..., Any]) -> None:
    api = await make_api(liveness={**MODEL, "default_mode": "observe"})
    await api.create_event()
    read = (await api.client.get("/v1/events/gala")).json()
    assert (read["liveness"], read["effective_liveness"]) == (None, "observe")
    for mode, effective in (("enforce", "enforce"), ("off", "off"), (None, "observe")):
        changed = (await api.client.patch("/v1/events/gala", json={"liveness": mode})).json()
        assert (changed["liveness"], changed["effective_liveness"]) == (mode, effective)
        listed = (await api.client.get("/v1/events")).json()["events"][0]
        assert (listed["liveness"], listed["effective_liveness"]) == (mode, effective)
    await api.create_event("door", liveness="enforce")
    assert (await api.client.get("/v1/events/door")).json()["liveness"] == "enforce"
    bad = await api.client.patch("/v1/events/gala", json={"liveness": "sometimes"})
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("mode", ["observe", "enforce"])
async def test_without_a_model_no_event_may_ask_for_it(api: Api, mode: str) -> None:
    refused = await api.client.post("/v1/events", json={"id": "gala", "liveness": mode})
    assert (refused.status_code, refused.json()["code"]) == (409, "liveness_not_configured")
    await api.create_event(liveness="off")
    refused = await api.client.patch("/v1/events/gala", json={"liveness": mode})
    assert (refused.status_code, refused.json()["code"]) == (409, "liveness_not_configured")
    assert "liveness.model" in refused.json()["cure"]
    answer = await api.client.post(
        "/v1/events/gala/recognise", content=ADA, params={"liveness": mode}, headers=PNG
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "liveness_not_configured")
    assert (await api.client.get("/v1/model")).json()["liveness"] is None


async def test_an_event_that_enforces_is_closed_to_faces_once_the_model_is_gone(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    key = (await gala.registry.get_event("gala")).key
    await gala.registry.update_event(key, {"liveness": "enforce"})
    for path, data in (("recognise", ADA), ("people", ADA), ("people/ada/verify", ADA), ("check-ins", ADA)):
        status, body = await post(gala, path, data)
        assert (status, body["code"]) == (409, "liveness_not_configured"), path
    await gala.registry.update_event(key, {"liveness": "observe"})
    face = (await gala.recognise(ADA))["faces"][0]
    assert (face["outcome"], face["liveness"]["status"]) == ("match", "unavailable")


async def test_off_costs_nothing(make_api: Callable[..., Any], notes: list[tuple[Any, ...]]) -> None:
    api = await make(make_api, "off")
    api.stages.wanted_liveness.clear()
    face = (await api.recognise(SPOOF))["faces"][0]
    assert (face["outcome"], face["liveness"]) == ("match", NOT_CHECKED)
    assert api.stages.wanted_liveness == [False]
    assert api.liveness.calls == []
    assert notes == []


async def test_observing_tells_and_changes_nothing(
    make_api: Callable[..., Any], notes: list[tuple[Any, ...]]
) -> None:
    api = await make(make_api, "observe")
    faces = (await api.recognise(picture("ada:1::0.2", "ada", "ada:1::none")))["faces"]
    assert [face["outcome"] for face in faces] == ["match"] * 3
    assert [face["liveness"] for face in faces] == [
        {"status": "spoof", "score": 0.2, "threshold": 0.5},
        {"status": "live", "score": 1.0, "threshold": 0.5},
        {"status": "not_checked", "score": None, "threshold": 0.5},
    ]
    assert api.liveness.calls == [2]
    assert [(pack, mode, outcome) for pack, mode, outcome, _ in notes] == [
        ("minifasnet", "observe", outcome) for outcome in ("spoof", "live", "not_checked")
    ]
    assert notes[0][3] == pytest.approx(0.2)


async def test_enforcing_compares_no_spoof_with_anybody(make_api: Callable[..., Any]) -> None:
    api = await make(make_api, "enforce")
    api.stages.calls.clear()
    body = await api.recognise(
        picture("ada:1::0.2", "ada:1::none", "ada", "ada:1:blurred:0.1"), quality="standard"
    )
    faces = body["faces"]
    assert [face["outcome"] for face in faces] == ["refused", "refused", "match", "refused"]
    assert [[fault["reason"] for fault in face["faults"]] for face in faces] == [
        ["presentation_attack"],
        ["liveness_unknown"],
        [],
        ["blurred"],
    ]
    assert faces[0]["person"] is None
    assert faces[0]["candidates"] == []
    assert all(fault["hint"] for face in faces for fault in face["faults"])
    # What a quality gate has refused is not asked about; what is no live face is not embedded.
    assert faces[3]["liveness"] == NOT_CHECKED
    assert [call for call in api.stages.calls if call[0] == "embed"] == [("embed", 1)]
    assert body["timings"]["liveness_ms"] > 0


async def test_without_a_live_face_nothing_is_searched(make_api: Callable[..., Any]) -> None:
    api = await make(make_api, "enforce")
    api.stages.calls.clear()
    assert await api.outcomes(SPOOF) == [("refused", None)]
    assert api.stages.names() == ["detect"]


async def test_a_batch_keeps_pictures_apart(make_api: Callable[..., Any]) -> None:
    api = await make(make_api, "enforce")
    status, body = await post(api, "recognise/batch", SPOOF, ADA)
    assert status == 200
    assert [result["faces"][0]["outcome"] for result in body["results"]] == ["refused", "match"]


@pytest.mark.parametrize("path", ["identify", "people/ada/verify"])
async def test_one_person_in_several_pictures(make_api: Callable[..., Any], path: str) -> None:
    api = await make(make_api, "enforce")
    status, body = await post(api, path, SPOOF)
    assert (status, body["code"]) == (422, "presentation_attack")
    assert body["context"]["faults"][0]["reason"] == "presentation_attack"
    status, body = await post(api, path, SPOOF, ADA)
    assert status == 200
    assert [each["status"] for each in body["pictures"]] == ["error", "ok"]
    assert body["pictures"][0]["problem"]["code"] == "presentation_attack"
    assert body["pictures"][1]["face"]["liveness"]["status"] == "live"


async def test_observing_one_person_in_several_pictures(make_api: Callable[..., Any]) -> None:
    api = await make(make_api, "observe")
    status, body = await post(api, "people/ada/verify", SPOOF, ADA)
    assert (status, body["verified"]) == (200, True)
    assert [each["face"]["liveness"]["status"] for each in body["pictures"]] == ["spoof", "live"]


async def test_check_in_lets_no_spoof_arrive(make_api: Callable[..., Any]) -> None:
    api = await make(make_api, "enforce")
    status, body = await post(api, "check-ins", SPOOF)
    assert (status, body["faces"][0]["outcome"], body["faces"][0]["arrived"]) == (200, "refused", None)
    assert (await api.client.get("/v1/events/gala/check-ins")).json()["check_ins"] == []
    status, body = await post(api, "check-ins", ADA)
    assert (body["faces"][0]["outcome"], body["faces"][0]["arrived"]) == ("match", "now")


async def test_enrolment_refuses_a_spoof_and_stores_nothing(make_api: Callable[..., Any]) -> None:
    api = await make(make_api, "enforce")
    for data, reason in (
        (picture("eve:1::0.3"), "presentation_attack"),
        (picture("eve:1::none"), "liveness_unknown"),
    ):
        status, body = await post(api, "people", picture("eve"), data, person_id="eve")
        assert (status, body["code"]) == (422, "presentation_attack")
        assert body["context"]["picture"] == 1
        assert [fault["reason"] for fault in body["context"]["faults"]] == [reason]
    assert (await api.client.get("/v1/events/gala/people/eve")).status_code == 404
    status, body = await post(api, "people", picture("eve"), person_id="eve")
    assert (status, body["faces"][0]["liveness"]["status"]) == (201, "live")
    status, body = await post(api, "people/eve/faces", picture("eve:1::0.3", salt="2"))
    assert (status, body["code"]) == (422, "presentation_attack")


async def test_enrolment_that_is_observed_tells(make_api: Callable[..., Any]) -> None:
    api = await make(make_api, "observe")
    status, body = await post(api, "people", picture("eve:1::0.3"), person_id="eve")
    assert (status, body["faces"][0]["liveness"]) == (
        201,
        {"status": "spoof", "score": 0.3, "threshold": 0.5},
    )


@pytest.mark.parametrize(
    ("own", "policy", "asked", "outcome"),
    [
        ("off", "stricter", "enforce", "refused"),
        ("off", "stricter", "observe", "match"),
        ("observe", "stricter", "enforce", "refused"),
        ("observe", "any", "off", None),
        ("enforce", "any", "off", None),
        ("enforce", "any", "observe", None),
        ("enforce", "none", "enforce", "refused"),
        ("observe", "none", "enforce", None),
    ],
)
async def test_a_request_may_ask_for_more_and_never_for_less(
    make_api: Callable[..., Any], own: str, policy: str, asked: str, outcome: str | None
) -> None:
    api = await make(make_api, own, request_policy=policy)
    status, body = await post(api, "recognise", SPOOF, liveness=asked)
    if outcome is None:
        assert (status, body["code"]) == (403, "policy_not_allowed")
        assert body["context"]["event_liveness"] == own
    else:
        assert body["faces"][0]["outcome"] == outcome
    for path in ("identify", "check-ins", "people/ada/verify"):
        status, body = await post(api, path, ADA, liveness=asked)
        assert status == (403 if outcome is None else 200), (path, body)
    status, _ = await post(api, "people", picture("eve"), person_id="eve", liveness=asked)
    assert status == (403 if outcome is None else 201)


@pytest.mark.parametrize("error", [StageUnavailable(), Overloaded(), InternalError()])
async def test_a_stage_that_is_down_fails_closed_where_it_is_enforced(
    make_api: Callable[..., Any], error: Exception, notes: list[tuple[Any, ...]]
) -> None:
    api = await make(make_api, "enforce")
    for path in ("recognise", "people/ada/verify", "check-ins", "people"):
        api.liveness.failures = [error]
        status, body = await post(api, path, picture("ada", salt=path))
        assert (status, body["code"]) == (error.status, error.code), path  # type: ignore[attr-defined]
    assert {outcome for _, _, outcome, *_ in notes} == {"unavailable"}
    assert (await api.client.get("/v1/events/gala/check-ins")).json()["check_ins"] == []


@pytest.mark.parametrize("error", [StageUnavailable(), Overloaded(), InternalError()])
async def test_a_stage_that_is_down_is_told_where_it_only_observes(
    make_api: Callable[..., Any], error: Exception
) -> None:
    api = await make(make_api, "observe")
    api.liveness.failures = [error]
    face = (await api.recognise(ADA))["faces"][0]
    assert face["outcome"] == "match"
    assert face["liveness"] == {"status": "unavailable", "score": None, "threshold": 0.5}


async def test_an_answer_does_not_wait_long_for_a_stage_that_only_observes(
    make_api: Callable[..., Any],
) -> None:
    api = await make(make_api, "observe")
    api.liveness.delay_s = 3.0  # less than the request has, more than a stage that observes may take
    start_s = time.monotonic()
    face = (await api.recognise(ADA))["faces"][0]
    assert (face["outcome"], face["liveness"]["status"]) == ("match", "unavailable")
    assert time.monotonic() - start_s < 60


async def test_the_score_is_for_those_who_may_read_people(make_api: Callable[..., Any]) -> None:
    """Whoever could try one picture after another would learn from it how near a spoof comes."""
    api = await make(make_api, "observe")
    for role, score in (("administrator", 0.2), ("member", None)):
        async with api.client_for(role) as client:
            answer = await client.post("/v1/events/gala/recognise", content=SPOOF, headers=PNG)
            face = answer.json()["faces"][0]
            assert face["liveness"] == {"status": "spoof", "score": score, "threshold": 0.5}
    enforced = await make(make_api, "enforce")
    answer = await enforced.client.post("/v1/events/gala/recognise", content=SPOOF, headers=PNG)
    fault = answer.json()["faces"][0]["faults"][0]
    assert (fault["value"], fault["limit"]) == (1.0, 0.0)
    status, body = await post(enforced, "identify", SPOOF)
    assert "0.2" not in str(body)
    assert status == 422


async def test_spoofs_are_counted_and_audited(make_api: Callable[..., Any]) -> None:
    api = await make(make_api, "observe")
    await api.recognise(picture("ada:1::0.2", "ada"))
    await api.client.patch("/v1/events/gala", json={"liveness": "enforce"})
    await api.recognise(SPOOF)
    await api.services.statistics.flush()
    counted = (await api.client.get("/v1/events/gala/statistics")).json()
    assert (counted["recognised_faces"], counted["matches"], counted["refusals"]) == (3, 2, 1)
    assert counted["spoofs"] == 2
    await api.services.audit.flush()
    entries = (await api.client.get("/v1/audit")).json()["entries"]
    assert [entry["details"]["spoofs"] for entry in entries if "spoofs" in (entry["details"] or {})] == [1, 1]


async def test_the_model_is_told(make_api: Callable[..., Any]) -> None:
    api = await make_api(liveness=MODEL)
    told = (await api.client.get("/v1/model")).json()["liveness"]
    assert (told["pack_id"], told["threshold"]) == ("minifasnet", 0.5)
    assert told["threshold_provenance"]
    assert "Apache" in told["licence"]


@pytest.mark.parametrize(("default_mode", "status"), [("enforce", 503), ("observe", 200)])
async def test_readiness_waits_for_the_stage_where_events_enforce_it_by_default(
    make_api: Callable[..., Any], default_mode: str, status: int
) -> None:
    api = await make_api(liveness={**MODEL, "default_mode": default_mode})
    api.liveness.failures = [StageUnavailable()]
    assert (await api.client.get("/readyz")).status_code == status
