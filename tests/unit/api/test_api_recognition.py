"""Recognition: who it is, by which threshold, and who must not be named."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import pytest_asyncio

from tests.unit.api.api_fakes import picture
from tests.unit.api.conftest import Api

ADA = picture("ada")
LIKE_ADA = picture("ada:0.9")
RECOGNISE, PEOPLE = "/v1/events/gala/recognise", "/v1/events/gala/people"


@pytest_asyncio.fixture
async def gala(make_api: Callable[..., Any]) -> Api:
    """An event at which requests decide by themselves and people may look alike."""
    api: Api = await make_api(enrolment={"on_duplicate": "allow"})
    await api.create_event(request_policy="any")
    return api


async def test_every_face_is_answered_in_order(gala: Api) -> None:
    await gala.enrol("ada", ADA, name="Ada")
    await gala.enrol("bob", picture("bob"))
    answer = await gala.client.post(RECOGNISE, content=picture("bob", "stranger", "ada", width=80, height=60))
    body = answer.json()
    assert (body["event_id"], body["pack_id"]) == ("gala", gala.line.pack.id)
    assert (body["width"], body["height"]) == (80, 60)
    assert body["request_id"] == answer.headers["x-request-id"]
    faces = body["faces"]
    assert [face["person"] and face["person"]["person_id"] for face in faces] == ["bob", None, "ada"]
    assert [face["outcome"] for face in faces] == ["match", "unknown", "match"]
    assert [face["person"] and face["person"]["name"] for face in faces] == [None, None, "Ada"]
    assert faces[2]["person"] == faces[2]["candidates"][0]
    assert faces[0]["landmarks"]["left_eye"] == [0.3, 1.3]
    assert faces[0]["landmarks"]["right_mouth"] == [8.3, 9.3]
    parts = dict(re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"]))
    assert list(parts) == ["read", "detect", "embed", "match", "names", "total"]
    assert set(body["timings"]) == {f"{part}_ms" for part in [*parts, "liveness"]}
    for part, spent_ms in parts.items():
        assert body["timings"][f"{part}_ms"] == pytest.approx(float(spent_ms), abs=0.06)
    spent = list(body["timings"].values())
    assert sum(spent[:-1]) <= spent[-1] + 0.05


async def test_a_picture_without_a_face(gala: Api) -> None:
    answer = await gala.client.post(RECOGNISE, content=picture())
    assert (answer.status_code, answer.json()["faces"]) == (200, [])
    assert gala.stages.names() == ["detect"]
    parts = re.findall(r"(\w+);dur=", answer.headers["server-timing"])
    assert parts == ["read", "detect", "names", "total"]
    assert answer.json()["timings"]["embed_ms"] == 0


async def test_an_event_without_people(gala: Api) -> None:
    body = await gala.recognise(ADA, top_k=5)
    assert (body["faces"][0]["outcome"], body["faces"][0]["candidates"]) == ("unknown", [])


async def test_the_threshold_of_the_request_the_event_the_settings_the_pack(
    make_api: Callable[..., Any],
) -> None:
    api = await make_api(recognition={"threshold": 0.7})
    await api.create_event("strict", policy={"threshold": 0.95}, request_policy="any")
    await api.create_event("plain", request_policy="any")
    await api.create_event("zero", policy={"threshold": 0})
    bare = await make_api()  # shares the application, so it is asked last
    for event, query, expected in (
        ("strict", {}, 0.95),
        ("strict", {"threshold": 0.5}, 0.5),
        ("strict", {"threshold": 0}, 0.0),
        ("plain", {}, 0.7),
        ("plain", {"threshold": -1}, -1.0),
        ("zero", {}, 0.0),
    ):
        api.app.state.services = api.services
        body = await api.recognise(ADA, event, **query)
        assert (event, body["threshold"]) == (event, expected)
        assert api.stages.calls[-1][-1] == expected
    api.app.state.services = bare.services
    await bare.create_event("plain")
    assert (await bare.recognise(ADA, "plain"))["threshold"] == bare.line.calibration.default_threshold


@pytest.mark.parametrize(("threshold", "outcome"), [(0.899, "match"), (0.9, "match"), (0.9001, "unknown")])
async def test_at_the_threshold_it_is_a_match(gala: Api, threshold: float, outcome: str) -> None:
    await gala.enrol("ada", ADA)
    face = (await gala.recognise(LIKE_ADA, threshold=threshold))["faces"][0]
    assert face["outcome"] == outcome
    assert (face["person"] is None) == (outcome == "unknown")
    candidate = face["candidates"][0]
    assert candidate["cosine"] == pytest.approx(0.9, abs=1e-6)
    assert candidate["false_match_rate"] == gala.line.calibration.false_match_rate(candidate["cosine"])


async def test_top_k(make_api: Callable[..., Any]) -> None:
    api = await make_api(recognition={"top_k": 2, "max_top_k": 3}, enrolment={"on_duplicate": "allow"})
    await api.create_event()
    for n in range(4):
        await api.enrol(f"p{n}", picture(f"ada:{0.9 - n / 10}"))
    assert len((await api.recognise(ADA))["faces"][0]["candidates"]) == 2
    three = (await api.recognise(ADA, top_k=3))["faces"][0]["candidates"]
    assert [candidate["person_id"] for candidate in three] == ["p0", "p1", "p2"]
    answer = await api.client.post(RECOGNISE, content=ADA, params={"top_k": 4})
    assert (answer.status_code, answer.json()["context"]) == (422, {"max_top_k": 3})


async def test_whoever_is_erased_during_the_search_is_not_named(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    await gala.enrol("bea", LIKE_ADA)
    await gala.enrol("cleo", picture("ada:0.5"))

    async def erase(event_key: str) -> None:
        await gala.registry.delete_person(event_key, "ada")

    gala.stages.after["search"] = erase
    face = (await gala.recognise(ADA, top_k=3, threshold=0.8))["faces"][0]
    assert [candidate["person_id"] for candidate in face["candidates"]] == ["bea", "cleo"]
    assert (face["outcome"], face["person"]["person_id"]) == ("match", "bea")
    face = (await gala.recognise(ADA, top_k=3, threshold=0.95))["faces"][0]
    assert (face["outcome"], face["person"]) == ("unknown", None)


async def test_an_event_deleted_during_the_search_names_nobody(gala: Api) -> None:
    await gala.enrol("ada", ADA)

    async def erase(event_key: str) -> None:
        await gala.registry.begin_event_deletion("gala")
        await gala.registry.finish_event_deletion(event_key)

    gala.stages.after["search"] = erase
    assert await gala.outcomes(ADA) == [("unknown", None)]


async def test_an_event_closed_during_the_search_names_nobody(gala: Api) -> None:
    await gala.enrol("ada", ADA)

    async def close(event_key: str) -> None:
        await gala.registry.begin_event_deletion("gala")

    gala.stages.after["search"] = close
    answer = await gala.client.post(RECOGNISE, content=ADA)
    assert answer.status_code == 404 or answer.json()["faces"][0]["outcome"] == "unknown"
