"""People: what is kept of them beside faces, how it is changed, and how they are found by name."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.unit.api.api_fakes import picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA = picture("ada")
ENCODED = base64.b64encode(ADA).decode()
PEOPLE, EVENT = "/v1/events/gala/people", "/v1/events/gala"
METADATA = {"table": 7, "tags": ["vip"], "note": "Ł"}
DETAILS = {"person_id": "ada", "name": "Ada", "consent_reference": "form 7"}


@pytest.mark.parametrize(
    "form",
    [
        {"data": {**DETAILS, "metadata": json.dumps(METADATA)}, "files": {"picture": ADA}},
        {"json": {**DETAILS, "metadata": METADATA, "picture": ENCODED}},
        {"json": {**DETAILS, "metadata": json.dumps(METADATA), "pictures": [ENCODED]}},
        {"params": DETAILS, "json": {"metadata": METADATA, "picture": ENCODED}},
    ],
    ids=["form", "JSON", "JSON in JSON", "query and JSON"],
)
async def test_details_come_in_every_form(gala: Api, form: dict[str, Any]) -> None:
    answer = await gala.client.post(PEOPLE, **form)
    assert answer.status_code == 201, answer.text
    person = answer.json()["person"]
    assert (person["name"], person["metadata"], person["consent_reference"]) == ("Ada", METADATA, "form 7")
    assert (await gala.client.get(PEOPLE + "/ada")).json() == person
    [listed] = (await gala.client.get(PEOPLE)).json()["people"]
    assert listed == {**{key: person[key] for key in listed if key != "faces"}, "faces": 1}


async def test_a_person_without_details(gala: Api) -> None:
    person = (await gala.enrol("ada", ADA))["person"]
    assert (person["name"], person["metadata"], person["consent_reference"]) == (None, {}, None)


BAD_DETAILS: dict[str, tuple[dict[str, Any], str]] = {
    "metadata not JSON": ({"data": {"metadata": "{"}, "files": {"picture": ADA}}, "metadata"),
    "metadata a list": ({"data": {"metadata": "[1]"}, "files": {"picture": ADA}}, "metadata"),
    "metadata a number": ({"json": {"metadata": 7, "picture": ENCODED}}, "metadata"),
    "metadata a JSON list": ({"json": {"metadata": [7], "picture": ENCODED}}, "metadata"),
    "metadata not finite": ({"data": {"metadata": '{"a": NaN}'}, "files": {"picture": ADA}}, "metadata"),
    "metadata too deep": ({"json": {"metadata": {"a": {"b": {"c": {}}}}, "picture": ENCODED}}, "metadata"),
    "metadata too large": ({"json": {"metadata": {"a": "x" * 5000}, "picture": ENCODED}}, "metadata"),
    "metadata very deep": (
        {"data": {"metadata": '{"a":' * 9000}, "files": {"picture": ADA}},
        "metadata",
    ),
    "a name that is an object": ({"json": {"name": {"a": 1}, "picture": ENCODED}}, "name"),
    "consent empty": ({"params": {"consent_reference": ""}, "content": ADA}, "consent_reference"),
    "consent with a line break": (
        {"data": {"consent_reference": "a\nb"}, "files": {"picture": ADA}},
        "consent",
    ),
    "consent too long": ({"params": {"consent_reference": "x" * 201}, "content": ADA}, "consent_reference"),
    "name too long": ({"params": {"name": "x" * 201}, "content": ADA}, "name"),
    "unknown choice": ({"params": {"face": "smallest"}, "content": ADA}, "face"),
    "all faces": ({"json": {"face": "all", "picture": ENCODED}}, "face"),
    "unknown level": ({"params": {"quality": "high"}, "content": ADA}, "quality"),
    "unknown wish": ({"json": {"on_duplicate": "replace", "picture": ENCODED}}, "on_duplicate"),
}


@pytest.mark.parametrize(("form", "word"), BAD_DETAILS.values(), ids=BAD_DETAILS.keys())
async def test_bad_details_cost_no_model_run(gala: Api, form: dict[str, Any], word: str) -> None:
    assert word in check_problem(await gala.client.post(PEOPLE, **form), "invalid_request")["detail"]
    assert gala.stages.calls == []


async def test_metadata_do_not_come_in_the_query(gala: Api) -> None:
    answer = await gala.client.post(PEOPLE, params={"metadata": '{"a": 1}'}, content=ADA)
    assert answer.json()["person"]["metadata"] == {}


async def test_a_json_body_without_its_content_type_is_told_what_to_add(gala: Api) -> None:
    content = json.dumps({"picture": ENCODED})
    for path in (PEOPLE, EVENT + "/recognise"):
        answer = await gala.client.post(
            path, content=content, headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        detail = check_problem(answer, "unsupported_picture_type")["detail"]
        assert "-H 'Content-Type: application/json'" in detail


async def test_a_person_is_changed(gala: Api) -> None:
    await gala.enrol("ada", ADA, name="Ada")
    for patch, kind in (
        ({"metadata": {"table": 7, "seat": {"row": 1}}, "consent_reference": "c1"}, "application/json"),
        ({"name": "Ada King", "metadata": {"table": None, "seat": {"x": 2}}}, "application/merge-patch+json"),
    ):
        answer = await gala.client.patch(
            PEOPLE + "/ada", content=json.dumps(patch), headers={"Content-Type": kind}
        )
        assert answer.status_code == 200, answer.text
    person = answer.json()
    assert person == (await gala.client.get(PEOPLE + "/ada")).json()
    assert (person["name"], person["consent_reference"]) == ("Ada King", "c1")
    assert person["metadata"] == {"seat": {"row": 1, "x": 2}}
    assert len(person["face_ids"]) == 1
    unchanged = (await gala.client.patch(PEOPLE + "/ada", json={})).json()
    assert {**unchanged, "updated_at": None} == {**person, "updated_at": None}
    cleared = (
        await gala.client.patch(
            PEOPLE + "/ada", json={"name": None, "metadata": None, "consent_reference": None}
        )
    ).json()
    assert (cleared["name"], cleared["metadata"], cleared["consent_reference"]) == (None, {}, None)
    assert (await gala.recognise(ADA))["faces"][0]["person"]["name"] is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"id": "bob"}',
        b'{"name": ""}',
        b'{"name": "   "}',
        b'{"name": 3}',
        b'{"metadata": 3}',
        b'{"metadata": {"a": 1e999}}',
        b'{"metadata": {"a": 123456789012345678901234567890}}',
        b'{"metadata": {"a": "\\u0000"}}',
        b'{"metadata": {"a": "\\ud800"}}',
        b'{"metadata": {"a": {"b": {"c": {"d": null}}}}}',
        b'{"consent_reference": "a\\nb"}',
        b"\xff",
    ],
)
async def test_bad_changes_change_nothing(gala: Api, body: bytes) -> None:
    before = (await gala.enrol("ada", ADA, name="Ada"))["person"]
    answer = await gala.client.patch(PEOPLE + "/ada", content=body)
    check_problem(answer, "invalid_request")
    assert (await gala.client.get(PEOPLE + "/ada")).json() == before


async def test_changes_of_nobody(gala: Api) -> None:
    for person in ("eve", "a b", "x" * 200):
        check_problem(await gala.client.patch(f"{PEOPLE}/{person}", json={"name": "Eve"}), "unknown_person")
    large = json.dumps({"metadata": {"a": "x" * 70_000}})
    check_problem(await gala.client.patch(PEOPLE + "/eve", content=large), "body_too_large")
    check_problem(
        await gala.client.patch("/v1/events/none/people/ada", json={"name": "Eve"}), "unknown_event"
    )
    member = gala.client_for("member")
    check_problem(await member.patch(PEOPLE + "/ada", json={"name": "Eve"}), "forbidden")


async def test_search_by_name(gala: Api) -> None:
    for n, name in enumerate(("Ada Lovelace", "ADA KING", "Bob", "100%", "Adam Ö")):
        await gala.enrol(f"p{n}", picture(f"p{n}"), name=name)
    await gala.enrol("px", picture("px"))
    for text, expected in {"ada": [0, 1, 4], "%": [3], "adam ö": [4], "x": []}.items():
        found: list[str] = []
        cursor = None
        while True:
            query = {"name": text, "limit": 2, **({"cursor": cursor} if cursor else {})}
            page = (await gala.client.get(PEOPLE, params=query)).json()
            found += [person["id"] for person in page["people"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == [f"p{n}" for n in expected], text
    for bad in ("", "x" * 201, "a\0b", "  "):
        check_problem(await gala.client.get(PEOPLE, params={"name": bad}), "invalid_request")


async def test_people_of_a_closed_event_are_shown_changed_and_erased_but_not_enrolled(gala: Api) -> None:
    faces = (await gala.enrol("ada", ADA))["person"]["face_ids"]
    assert (await gala.client.post(EVENT + "/close")).status_code < 300
    check_problem(await gala.client.post(PEOPLE, content=ADA), "event_closed")
    check_problem(await gala.client.post(PEOPLE + "/ada/faces", content=ADA), "event_closed")
    assert (await gala.client.get(PEOPLE)).status_code == 200
    assert (await gala.client.get(PEOPLE + "/ada/faces")).status_code == 200
    assert (await gala.client.patch(PEOPLE + "/ada", json={"name": "A"})).status_code == 200
    assert (await gala.client.delete(f"{PEOPLE}/ada/faces/{faces[0]}")).status_code == 204
    assert (await gala.client.delete(PEOPLE + "/ada")).status_code == 204


async def test_who_may_enrol_but_not_read_sees_no_more_than_they_sent(gala: Api) -> None:
    made = await gala.client.post(
        "/v1/api-keys", json={"name": "desk", "scopes": ["enrol"], "events": ["gala"]}
    )
    desk = gala.anonymous(**{"X-API-Key": made.json()["key"]})
    await gala.client.post(PEOPLE, json={**DETAILS, "metadata": METADATA, "picture": ENCODED})
    added = await desk.post(PEOPLE, params={"person_id": "ada"}, content=picture("ada:0.97"))
    person = added.json()["person"]
    assert (person["name"], person["metadata"], person["consent_reference"]) == (None, {}, None)
    check_problem(await desk.patch(PEOPLE + "/ada", json={}), "forbidden")
    clash = check_problem(
        await desk.post(PEOPLE, params={"person_id": "eve"}, content=ADA), "duplicate_person"
    )
    assert clash["context"]["person_id"] == "ada"
    assert "name" not in clash["context"]
