"""Check-in: who is at the door, who has arrived, and who may know."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from serving.registry.check_ins import MIN_INTERVAL_S
from tests.unit.api.api_fakes import picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA, BOB = picture("ada"), picture("bob")
CHECK_INS = "/v1/events/gala/check-ins"


async def see(api: Api, data: bytes, client: Any = None, **query: Any) -> list[dict[str, Any]]:
    """The faces of a check-in."""
    answer = await (client or api.client).post(CHECK_INS, content=data, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["faces"]


async def arrivals(api: Api, **query: Any) -> list[dict[str, Any]]:
    answer = await api.client.get(CHECK_INS, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["check_ins"]


async def test_whoever_is_recognised_has_arrived_once(gala: Api) -> None:
    await gala.enrol("ada", ADA, name="Ada")
    before = datetime.now(timezone.utc)
    answer = await gala.client.post(CHECK_INS, content=ADA, params={"place": "north door"})
    body = answer.json()
    [face] = body["faces"]
    assert face["person"] == {"person_id": "ada", "name": "Ada"}
    assert (face["outcome"], face["arrived"], face["times"]) == ("match", "now", 1)
    assert face["cosine"] == pytest.approx(1, abs=1e-6)
    assert face["false_match_rate"] == gala.line.calibration.false_match_rate(face["cosine"])
    assert face["band"] == "high"
    moment = datetime.fromisoformat(face["first_at"].replace("Z", "+00:00"))
    assert before <= moment <= datetime.fromisoformat(body["at"].replace("Z", "+00:00"))
    assert (body["event_id"], body["width"], body["height"]) == ("gala", 64, 48)
    assert body["request_id"] == answer.headers["x-request-id"]
    assert "detect;dur=" in answer.headers["server-timing"]

    [again] = await see(gala, picture("ada:0.95"))
    assert (again["arrived"], again["first_at"], again["times"]) == ("before", face["first_at"], 1)
    [arrival] = await arrivals(gala)
    assert {name: arrival[name] for name in ("person_id", "name", "first_at", "times", "place")} == {
        "person_id": "ada",
        "name": "Ada",
        "first_at": face["first_at"],
        "times": 1,
        "place": "north door",
    }
    assert arrival["best_cosine"] == face["cosine"]


async def test_only_the_nearest_arrives_unless_all_are_meant(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    await gala.enrol("bob", BOB)
    crowd = picture("stranger", "ada", "bob", "ada:0.97")
    assert [face["outcome"] for face in await see(gala, crowd)] == ["unknown"]
    assert await arrivals(gala) == []
    faces = await see(gala, crowd, faces="all")
    assert [(face["person"] and face["person"]["person_id"], face["arrived"]) for face in faces] == [
        (None, None),
        ("ada", "now"),
        ("bob", "now"),
        ("ada", "now"),
    ]
    assert faces[1]["first_at"] == faces[3]["first_at"]
    assert [face["cosine"] for face in faces][1::2] == [pytest.approx(1), pytest.approx(0.97)]
    best = {each["person_id"]: each["best_cosine"] for each in await arrivals(gala)}
    assert best == {"ada": pytest.approx(1), "bob": pytest.approx(1)}
    assert gala.stages.names()[-3:] == ["detect", "embed", "search"]


async def test_nobody_at_the_door(gala: Api) -> None:
    assert await see(gala, picture()) == []
    assert await arrivals(gala) == []


async def test_every_form_of_body_takes_the_options(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    text = base64.b64encode(ADA).decode()
    forms: list[dict[str, Any]] = [
        {"content": ADA, "params": {"place": "door 0"}},
        {"files": {"picture": ADA}, "data": {"place": "door 1", "faces": "all"}},
        {"json": {"picture": text, "place": "door 2", "threshold": 0.95}},
        {"json": {"picture": f"data:image/png;base64,{text}", "place": "door 3", "quality": "off"}},
    ]
    for n, form in enumerate(forms):
        answer = await gala.client.post(CHECK_INS, **form)
        assert answer.status_code == 200, answer.text
        assert [each["place"] for each in await arrivals(gala)] == [f"door {n}"]


@pytest.mark.parametrize(
    ("query", "body", "code"),
    [
        ({"place": "x" * 101}, ADA, "invalid_request"),
        ({"place": ""}, ADA, "invalid_request"),
        ({"place": " "}, ADA, "invalid_request"),
        ({"place": "a\nb"}, ADA, "invalid_request"),
        ({"place": "\x00"}, ADA, "invalid_request"),
        ({"faces": "some"}, ADA, "invalid_request"),
        ({"threshold": 2}, ADA, "invalid_request"),
        ({"threshold": 0.9, "strictness": "strict"}, ADA, "invalid_request"),
        ({"threshold": -1}, ADA, "policy_not_allowed"),
        ({}, b"not a picture", "not_an_image"),
        ({}, b"", "not_an_image"),
    ],
)
async def test_what_is_refused_records_nothing(
    gala: Api, query: dict[str, Any], body: bytes, code: str
) -> None:
    await gala.enrol("ada", ADA)
    answer = await gala.client.post(CHECK_INS, content=body, params=query)
    assert answer.json()["code"] == code, answer.text
    assert await arrivals(gala) == []


async def test_a_place_that_is_no_text(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    text = base64.b64encode(ADA).decode()
    for place in (r'"\ud800"', "5", "[]", '"\u2028"', r'"\u0000"'):
        body = f'{{"picture": "{text}", "place": {place}}}'.encode()
        answer = await gala.client.post(CHECK_INS, content=body, headers={"Content-Type": "application/json"})
        check_problem(answer, "invalid_request")
    assert await arrivals(gala) == []


async def test_a_stricter_policy_holds_at_the_door(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    [face] = await see(gala, picture("ada:0.97"), threshold=0.99)
    assert (face["outcome"], face["person"], face["arrived"], face["times"]) == ("unknown", None, None, None)
    assert face["cosine"] == pytest.approx(0.97)
    assert await arrivals(gala) == []


async def test_a_closed_event_lets_nobody_in_but_can_be_read(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    await see(gala, ADA)
    assert (await gala.client.post("/v1/events/gala/close")).status_code == 200
    check_problem(await gala.client.post(CHECK_INS, content=ADA), "event_closed")
    assert len(await arrivals(gala)) == 1
    assert (await gala.client.get(CHECK_INS + "/summary")).json()["arrived"] == 1
    assert (await gala.client.delete(CHECK_INS + "/ada")).status_code == 204


async def test_members_may_check_in_and_not_see_who_came(gala: Api) -> None:
    await gala.enrol("ada", ADA, name="Ada")
    member = gala.client_for("member", ["gala"])
    [face] = await see(gala, ADA, member)
    assert (face["person"]["name"], face["arrived"]) == ("Ada", "now")
    [stranger] = await see(gala, picture("ada:0.5"), member)
    assert (stranger["outcome"], stranger["cosine"], stranger["band"]) == ("unknown", None, None)
    for method, path in (("GET", ""), ("GET", "/summary"), ("DELETE", "/ada")):
        check_problem(await member.request(method, CHECK_INS + path), "forbidden")


async def test_events_are_walls(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    await see(gala, ADA)
    await gala.create_event("fair")
    await gala.enrol("ada", ADA, event="fair")
    stranger = gala.client_for("administrator", ["fair"])
    for method, path in (("POST", ""), ("GET", ""), ("GET", "/summary"), ("DELETE", "/ada")):
        answer = await stranger.request(method, CHECK_INS + path, content=ADA if method == "POST" else None)
        check_problem(answer, "unknown_event")
    assert (await stranger.get("/v1/events/fair/check-ins")).json()["check_ins"] == []
    assert (await stranger.delete("/v1/events/fair/check-ins/ada")).status_code == 204
    assert len(await arrivals(gala)) == 1


async def test_whoever_is_erased_meanwhile_is_unknown(gala: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await gala.enrol("ada", ADA)
    record = gala.services.check_ins.record

    async def erase_first(event_key: str, sightings: Any) -> Any:
        assert set(sightings) == {"ada"}
        await gala.registry.delete_person(event_key, "ada")
        return await record(event_key, sightings)

    monkeypatch.setattr(gala.services.check_ins, "record", erase_first)
    [face] = await see(gala, ADA)
    assert {face[name] for name in ("person", "cosine", "band", "arrived", "first_at", "times")} == {None}
    assert face["outcome"] == "unknown"


async def test_paging_since_and_summary(gala: Api) -> None:
    people = [f"p{n}" for n in range(5)]
    for id in people:
        await gala.enrol(id, picture(id))
        await see(gala, picture(id))
    await gala.enrol("late", picture("late"))
    newest_first = people[::-1]
    found: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await gala.client.get(CHECK_INS, params=query)).json()
        found += [each["person_id"] for each in page["check_ins"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found == newest_first
    third = (await arrivals(gala))[2]["first_at"]
    assert [each["person_id"] for each in await arrivals(gala, since=third)] == newest_first[:3]
    shifted = datetime.fromisoformat(third.replace("Z", "+00:00")).astimezone(timezone(timedelta(hours=5)))
    assert len(await arrivals(gala, since=shifted.isoformat())) == 3
    summary = (await gala.client.get(CHECK_INS + "/summary")).json()
    assert summary == {"enrolled": 6, "arrived": 5, "arrived_last_hour": 5}
    for query in (
        {"since": "yesterday"},
        {"since": "2026-05-01T18:00:00"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"cursor": "nonsense"},
        {"limit": 0},
        {"limit": 1001},
    ):
        check_problem(await gala.client.get(CHECK_INS, params=query), "invalid_request")


async def test_undoing(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    await see(gala, ADA)
    for _ in range(2):
        assert (await gala.client.delete(CHECK_INS + "/ada")).status_code == 204
        assert await arrivals(gala) == []
    check_problem(await gala.client.delete(CHECK_INS + "/nobody"), "unknown_person")
    assert (await see(gala, ADA))[0]["arrived"] == "now"


async def test_erasing_a_person_erases_the_arrival(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    await see(gala, ADA)
    assert (await gala.client.delete("/v1/events/gala/people/ada")).status_code == 204
    assert await arrivals(gala) == []
    assert (await gala.client.get(CHECK_INS + "/summary")).json()["arrived"] == 0


async def test_a_sighting_is_a_recognition_in_the_statistics(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    await see(gala, picture("ada", "stranger"), faces="all")
    await gala.services.statistics.flush()
    found = (await gala.client.get("/v1/events/gala/statistics")).json()
    assert (found["recognitions"], found["matches"], found["unknowns"]) == (1, 1, 1)


def test_the_interval_is_what_the_documents_say(shared_app: Any) -> None:
    assert MIN_INTERVAL_S == 10
    schemas = shared_app.openapi()["components"]["schemas"]
    assert "ten seconds" in schemas["ArrivalView"]["properties"]["times"]["description"]
