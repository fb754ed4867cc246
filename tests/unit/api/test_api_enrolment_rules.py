"""Who is not enrolled: without consent, with too bad a picture, or under a second name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from serving.errors import StageUnavailable
from tests.unit.api.api_fakes import fail_next, picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA, BOB = picture("ada"), picture("bob")
PEOPLE, EVENT = "/v1/events/gala/people", "/v1/events/gala"
LIKE_ADA, UNLIKE_ADA = picture("ada:0.97"), picture("ada:0.5")


def files(*pictures: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("picture", ("p", each)) for each in pictures]


async def people_of(api: Api) -> dict[str, int]:
    """Faces of each person."""
    return {each["id"]: each["faces"] for each in (await api.client.get(PEOPLE)).json()["people"]}


async def test_a_face_that_matches_another_person_is_refused(gala: Api) -> None:
    await gala.enrol("ada", ADA, name="Ada")
    for person in ({"person_id": "eve"}, {}):
        answer = await gala.client.post(PEOPLE, params=person, files=files(BOB, LIKE_ADA))
        context = check_problem(answer, "duplicate_person")["context"]
        assert context["person_id"] == "ada"
        assert context["name"] == "Ada"
        assert context["cosine"] == pytest.approx(0.97)
        assert context["cosine"] >= context["threshold"]
        assert 0 < context["false_match_rate"] < 1e-2
        assert context["picture"] == 1
    assert await people_of(gala) == {"ada": 1}
    assert len(gala.stages.gallery) == 1


async def test_who_only_resembles_another_person_is_enrolled(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    await gala.enrol("eve", UNLIKE_ADA)
    assert await people_of(gala) == {"ada": 1, "eve": 1}


async def test_of_several_matches_the_best_is_named(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    await gala.enrol("bob", BOB)
    answer = await gala.client.post(PEOPLE, files=files(LIKE_ADA, picture("bob:0.99")))
    context = check_problem(answer, "duplicate_person")["context"]
    assert (context["person_id"], context["picture"]) == ("bob", 1)


async def test_the_same_person_is_no_duplicate(gala: Api) -> None:
    first = await gala.enrol("ada", ADA)
    again = await gala.enrol("ada", ADA, LIKE_ADA)
    assert again["faces"][0]["face_id"] == first["faces"][0]["face_id"]
    assert await people_of(gala) == {"ada": 2}


async def test_a_duplicate_hides_behind_no_crowd_of_the_unconfirmed(gala: Api) -> None:
    """Vectors of enrolments that failed have no name; whoever is enrolled is found behind them."""
    for n in range(4):

        async def lose() -> None:
            raise StageUnavailable

        gala.stages.after["enrol"] = lose
        await gala.client.post(PEOPLE, params={"person_id": f"ghost{n}"}, content=ADA)
    del gala.stages.after["enrol"]
    await gala.enrol("ada", ADA)
    context = check_problem(await gala.client.post(PEOPLE, content=ADA), "duplicate_person")["context"]
    assert context["person_id"] == "ada"


@pytest.mark.parametrize("configured", ["refuse", "allow"])
@pytest.mark.parametrize("asked", [None, "refuse", "allow"])
async def test_duplicates_are_refused_unless_told_otherwise(
    make_api: Callable[..., Any], configured: str, asked: str | None
) -> None:
    api = await make_api(enrolment={"on_duplicate": configured})
    await api.create_event()
    await api.enrol("ada", ADA)
    query = {"person_id": "twin", **({"on_duplicate": asked} if asked else {})}
    answer = await api.client.post(PEOPLE, params=query, content=ADA)
    if (asked or configured) == "allow":
        assert answer.status_code == 201
    else:
        check_problem(answer, "duplicate_person")


async def test_the_events_own_threshold_says_what_a_duplicate_is(gala: Api) -> None:
    for event, threshold, code in (("lax", 0.4, 409), ("firm", 0.99, 201)):
        await gala.create_event(event, policy={"threshold": threshold})
        await gala.enrol("ada", ADA, event=event)
        near = UNLIKE_ADA if event == "lax" else LIKE_ADA
        answer = await gala.client.post(f"/v1/events/{event}/people", content=near)
        assert answer.status_code == code, answer.text


async def test_each_face_is_compared_with_the_persons_others(gala: Api) -> None:
    alone = await gala.enrol("ada", ADA)
    assert [face["cosine_to_person"] for face in alone["faces"]] == [None]
    again = await gala.enrol("ada", ADA)
    assert [face["cosine_to_person"] for face in again["faces"]] == [None]  # not with itself
    more = await gala.enrol("ada", LIKE_ADA, BOB, ADA)
    assert [face["cosine_to_person"] for face in more["faces"]] == pytest.approx([0.97, 0.0, 0.97], abs=1e-5)
    twice = await gala.enrol("cleo", picture("cleo"), picture("cleo"))
    assert [face["cosine_to_person"] for face in twice["faces"]] == [None, None]
    mixed = await gala.enrol("dora", picture("dora"), picture("eve"))
    assert [face["cosine_to_person"] for face in mixed["faces"]] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("choice", "who"), [("largest", "ada"), ("centre", "cleo"), ("only", None), (None, None)]
)
async def test_one_of_several_faces_is_chosen(gala: Api, choice: str | None, who: str | None) -> None:
    group = picture("ada", "bob", "cleo")
    query = {"person_id": "x", **({"face": choice} if choice else {})}
    answer = await gala.client.post(PEOPLE, params=query, content=group)
    if who is None:
        check_problem(answer, "several_faces")
        (fault,) = answer.json()["context"]["faults"]
        assert (fault["reason"], fault["value"], fault["limit"]) == ("several_faces", 3, 1)
        return
    assert answer.status_code == 201, answer.text
    assert await gala.outcomes(picture(who)) == [("match", "x")]
    assert len((await gala.client.get(PEOPLE + "/x")).json()["face_ids"]) == 1


@pytest.mark.parametrize("own", ["off", "standard", "strict"])
@pytest.mark.parametrize("asked", [None, "off", "standard", "strict"])
@pytest.mark.parametrize("by_event", [True, False], ids=["event", "settings"])
async def test_a_request_may_ask_for_more_quality_but_not_for_less(
    make_api: Callable[..., Any], own: str, asked: str | None, by_event: bool
) -> None:
    levels = ["off", "standard", "strict"]
    other = levels[(levels.index(own) + 1) % 3]
    api = await make_api(quality={"enrolment_level": other if by_event else own})
    await api.create_event(**({"quality_level": own} if by_event else {}))
    query = {"quality": asked} if asked else {}
    answer = await api.client.post(PEOPLE, params=query, content=picture("ada:1:blurred,too_dark"))
    if asked and levels.index(asked) < levels.index(own):
        context = check_problem(answer, "policy_not_allowed")["context"]
        assert context["allowed"] == levels[levels.index(own) :]
        assert api.stages.calls == []
    elif (asked or own) == "off":
        assert answer.status_code == 201, answer.text
    else:
        context = check_problem(answer, "quality_too_low")["context"]
        assert [fault["reason"] for fault in context["faults"]] == ["blurred", "too_dark"]
        assert all(set(fault) == {"reason", "value", "limit", "hint"} for fault in context["faults"])


async def test_one_picture_of_too_low_quality_and_nothing_is_stored(gala: Api) -> None:
    answer = await gala.client.post(PEOPLE, files=files(ADA, picture("ada:0.98:tilted")))
    problem = check_problem(answer, "quality_too_low")
    assert problem["context"]["picture"] == 1
    assert [fault["reason"] for fault in problem["context"]["faults"]] == ["tilted"]
    assert gala.stages.gallery == {}
    assert await people_of(gala) == {}


async def test_the_answer_tells_what_was_measured(gala: Api) -> None:
    [face] = (await gala.enrol("ada", ADA))["faces"]
    assert (face["quality"]["sharpness"], face["quality"]["face_px"]) == (1.0, 200.0)
    assert set(face["landmarks"]) == {"left_eye", "right_eye", "nose", "left_mouth", "right_mouth"}


async def test_an_event_may_ask_for_consent(gala: Api) -> None:
    await gala.create_event("consent", consent_required=True)
    people = "/v1/events/consent/people"
    for query in ({}, {"person_id": "ada"}):
        check_problem(await gala.client.post(people, params=query, content=ADA), "consent_required")
    assert gala.stages.calls == []
    query = {"person_id": "ada", "consent_reference": "form 7"}
    assert (await gala.client.post(people, params=query, content=ADA)).status_code == 201
    assert (await gala.client.post(people, params={"person_id": "ada"}, content=LIKE_ADA)).status_code == 201
    assert (await gala.client.post(people + "/ada/faces", content=picture("ada:0.96"))).status_code == 201
    check_problem(
        await gala.client.patch(people + "/ada", json={"consent_reference": None}), "consent_required"
    )
    assert (await gala.client.get(people + "/ada")).json()["consent_reference"] == "form 7"


async def test_consent_that_an_event_asks_for_later_comes_with_the_next_face(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    assert (await gala.client.patch(EVENT, json={"consent_required": True})).status_code == 200
    faces = PEOPLE + "/ada/faces"
    check_problem(await gala.client.post(faces, content=LIKE_ADA), "consent_required")
    answer = await gala.client.post(faces, params={"consent_reference": "form 7"}, content=LIKE_ADA)
    assert answer.json()["person"]["consent_reference"] == "form 7"


async def test_consent_of_an_enrolment_that_failed_does_not_count(gala: Api) -> None:
    await gala.create_event("consent", consent_required=True)
    fail_next(gala.stages, "enrol", StageUnavailable())
    people = "/v1/events/consent/people"
    query = {"person_id": "ada", "consent_reference": "form 7"}
    check_problem(await gala.client.post(people, params=query, content=ADA), "stage_unavailable")
    answer = await gala.client.post(people, params={"person_id": "ada"}, content=ADA)
    check_problem(answer, "consent_required")
