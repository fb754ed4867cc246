"""Enrolment, people and events: what is stored, what is erased, and what failures leave behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serving.errors import DeadlineExceeded, Overloaded, StageUnavailable
from tests.unit.api.api_fakes import fail_next, picture, vector_of
from tests.unit.api.api_problems import check_problem
from tests.unit.api.api_sweep import sweep_later
from tests.unit.api.conftest import Api

ADA, BOB = picture("ada"), picture("bob")
PEOPLE, RECOGNISE, EVENT = "/v1/events/gala/people", "/v1/events/gala/recognise", "/v1/events/gala"


def files(*pictures: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("picture", ("p", each)) for each in pictures]


async def sweep_everything(api: Api) -> None:
    await sweep_later(api.registry, api.services.lines)


async def test_the_answer_tells_what_was_stored(gala: Api) -> None:
    side = picture("ada:0.97")
    body = await gala.enrol("ada", ADA, side, name="Ada")
    key = (await gala.registry.get_event("gala")).key
    assert body["event_id"] == "gala"
    assert body["person"]["name"] == "Ada"
    assert sorted(body["person"]["face_ids"]) == sorted(face["face_id"] for face in body["faces"])
    assert body["faces"][0]["box"] == {"x": 10.0, "y": 5.0, "width": 8.0, "height": 9.0}
    for face, spec in zip(body["faces"], ("ada", "ada:0.97"), strict=True):
        assert gala.stages.gallery[key, "ada", face["face_id"]] @ vector_of(spec) == pytest.approx(1)
    answer = await gala.client.get(PEOPLE + "/ada")
    assert answer.json() == body["person"]
    event = (await gala.client.get(EVENT)).json()
    assert (event["people"], event["faces"]) == (1, 2)


async def test_the_same_picture_twice_is_one_face(gala: Api) -> None:
    first = await gala.enrol("ada", ADA, ADA)
    again = await gala.enrol("ada", ADA)
    assert len(first["faces"]) == 2
    assert len(again["person"]["face_ids"]) == 1
    assert len(gala.stages.gallery) == 1
    assert (await gala.client.get(EVENT)).json()["faces"] == 1


async def test_the_same_picture_has_unrelated_ids_at_two_events(gala: Api) -> None:
    await gala.create_event("other")
    here, there = await gala.enrol("ada", ADA), await gala.enrol("ada", ADA, event="other")
    assert here["faces"][0]["face_id"] != there["faces"][0]["face_id"]


@pytest.mark.parametrize(("bad", "code"), [(picture(), "no_face"), (picture("bob", "eve"), "several_faces")])
async def test_one_bad_picture_and_nothing_is_stored(gala: Api, bad: bytes, code: str) -> None:
    answer = await gala.client.post(PEOPLE, params={"person_id": "ada"}, files=files(ADA, bad, BOB))
    problem = check_problem(answer, code)
    assert problem["context"]["picture"] == 1
    assert problem["detail"].startswith("picture 1: ")
    if code == "several_faces":
        assert problem["context"]["faces"] == len(problem["context"]["boxes"]) == 2
    assert (await gala.client.get(PEOPLE)).json()["people"] == []
    assert gala.stages.gallery == {}
    assert set(gala.stages.names()) == {"detect"}
    alone = check_problem(await gala.client.post(PEOPLE, content=bad), code)
    assert "picture" not in alone["context"]


async def test_errors_shared_by_requests_are_not_written_to(gala: Api) -> None:
    fail_next(gala.stages, "detect", Overloaded("too much"), times=4)
    answers = await asyncio.gather(*(gala.client.post(PEOPLE, files=files(ADA, BOB)) for _ in range(2)))
    details = {check_problem(answer, "overloaded")["detail"] for answer in answers}
    assert details == {"picture 0: too much"}


async def test_a_person_gathers_faces_and_changes_the_name_when_one_is_given(gala: Api) -> None:
    await gala.enrol("ada", ADA, name="Ada")
    await gala.enrol("ada", picture("ada:0.9"))
    person = (await gala.client.get(PEOPLE + "/ada")).json()
    assert (person["name"], len(person["face_ids"])) == ("Ada", 2)
    await gala.enrol("ada", ADA, name="Ada L.")
    assert (await gala.client.get(PEOPLE + "/ada")).json()["name"] == "Ada L."


@pytest.mark.parametrize("person", ["a/b", " ada", "x" * 129, "-", "ada\n"])
async def test_bad_person_ids(gala: Api, person: str) -> None:
    answer = await gala.client.post(PEOPLE, params={"person_id": person}, content=ADA)
    check_problem(answer, "invalid_request")
    assert gala.stages.gallery == {}


async def test_bad_person_ids_cost_no_model_run(gala: Api) -> None:
    await gala.client.post(PEOPLE, params={"person_id": "a/b"}, content=ADA)
    assert gala.stages.calls == []


@pytest.mark.parametrize("stage", ["detect", "embed", "enrol"])
async def test_a_failed_enrolment_shows_nothing_and_a_retry_succeeds(gala: Api, stage: str) -> None:
    fail_next(gala.stages, stage, StageUnavailable())
    answer = await gala.client.post(PEOPLE, params={"person_id": "ada", "name": "Ada"}, content=ADA)
    check_problem(answer, "stage_unavailable")
    assert (await gala.client.get(PEOPLE)).json()["people"] == []
    check_problem(await gala.client.get(PEOPLE + "/ada"), "unknown_person")
    assert (await gala.client.get(EVENT)).json()["people"] == 0
    assert await gala.outcomes(ADA) == [("unknown", None)]
    await gala.enrol("ada", ADA)
    assert await gala.outcomes(ADA) == [("match", "ada")]


async def fail_after_storing(gala: Api, **params: str) -> None:
    """The vectors reach the gallery, but the answer of the stage is lost."""

    async def lose() -> None:
        raise StageUnavailable

    gala.stages.after["enrol"] = lose
    check_problem(await gala.client.post(PEOPLE, params=params, content=ADA), "stage_unavailable")
    del gala.stages.after["enrol"]
    assert len(gala.stages.gallery) == 1


async def test_vectors_without_a_confirmed_face_name_nobody(gala: Api) -> None:
    await fail_after_storing(gala, person_id="ada", name="Ada")
    face = (await gala.recognise(ADA, top_k=5))["faces"][0]
    assert (face["outcome"], face["person"], face["candidates"]) == ("unknown", None, [])
    await sweep_everything(gala)
    assert gala.stages.gallery == {}
    await gala.enrol("ada", ADA)
    assert await gala.outcomes(ADA) == [("match", "ada")]


async def test_a_ghost_of_a_failed_enrolment_does_not_hide_the_person(gala: Api) -> None:
    await fail_after_storing(gala)  # without an id, so that the retry makes another one
    await gala.enrol("ada", ADA)
    assert await gala.outcomes(ADA) == [("match", "ada")]


async def test_a_failed_enrolment_does_not_rename(gala: Api) -> None:
    await gala.enrol("ada", ADA, name="Ada")
    fail_next(gala.stages, "enrol", StageUnavailable())
    await gala.client.post(PEOPLE, params={"person_id": "ada", "name": "Eve"}, content=picture("ada:0.9"))
    assert (await gala.client.get(PEOPLE + "/ada")).json()["name"] == "Ada"


@pytest.mark.parametrize("what", [PEOPLE + "/ada", EVENT], ids=["person", "event"])
async def test_erased_while_enrolling(gala: Api, what: str) -> None:
    """The erasure ends before the vectors arrive, so the enrolment itself must take them back."""

    async def erase(faces: Any) -> None:
        assert (await gala.client.delete(what)).status_code == 204

    gala.stages.before["enrol"] = erase
    answer = await gala.client.post(PEOPLE, params={"person_id": "ada"}, content=ADA)
    check_problem(answer, "erased_meanwhile")
    assert gala.stages.gallery == {}
    assert gala.stages.names()[-1] == "erase_faces"


@pytest.mark.parametrize("what", [PEOPLE + "/ada", EVENT], ids=["person", "event"])
@pytest.mark.parametrize("fault", ["answer lost", "clean-up fails"])
async def test_no_vector_outlives_an_erasure(gala: Api, what: str, fault: str) -> None:
    async def erase(faces: Any) -> None:
        assert (await gala.client.delete(what)).status_code == 204

    async def lose() -> None:
        raise DeadlineExceeded

    gala.stages.before["enrol"] = erase
    if fault == "answer lost":
        gala.stages.after["enrol"] = lose
    else:
        fail_next(gala.stages, "erase_faces", StageUnavailable())
    answer = await gala.client.post(PEOPLE, params={"person_id": "ada"}, content=ADA)
    assert answer.status_code >= 409
    await sweep_everything(gala)
    assert gala.stages.gallery == {}


async def test_the_sweep_does_not_undo_a_retry(gala: Api) -> None:
    await fail_after_storing(gala, person_id="ada")

    async def retry(*args: Any) -> None:
        del gala.stages.before["erase_faces"]
        held_off = await gala.client.post(PEOPLE, params={"person_id": "ada"}, content=ADA)
        check_problem(held_off, "stage_unavailable")

    gala.stages.before["erase_faces"] = retry
    await sweep_everything(gala)
    assert "erase_faces" not in gala.stages.before
    await gala.enrol("ada", ADA)
    await sweep_everything(gala)
    assert len((await gala.client.get(PEOPLE + "/ada")).json()["face_ids"]) == 1
    assert await gala.outcomes(ADA) == [("match", "ada")]


async def test_an_enrolment_confirmed_while_the_person_is_deleted_keeps_its_vectors(gala: Api) -> None:
    await gala.enrol("ada", ADA)

    async def enrol_again(*args: Any) -> None:
        del gala.stages.before["faces_of"]
        held_off = await gala.client.post(PEOPLE, params={"person_id": "ada"}, content=ADA)
        check_problem(held_off, "stage_unavailable")

    gala.stages.before["faces_of"] = enrol_again
    assert (await gala.client.delete(PEOPLE + "/ada")).status_code == 204
    await gala.enrol("ada", ADA)
    assert await gala.outcomes(ADA) == [("match", "ada")]


async def test_a_person_is_erased_from_the_gallery_before_and_after_the_registry(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    await gala.enrol("bob", BOB)
    known: list[bool] = []

    async def look(*args: Any) -> None:
        known.append((await gala.client.get(PEOPLE + "/ada")).status_code == 200)

    gala.stages.before["erase_person"] = look
    answer = await gala.client.delete(PEOPLE + "/ada")
    assert (answer.status_code, answer.content) == (204, b"")
    assert known == [True]
    assert await gala.outcomes(ADA) == [("unknown", None)]
    assert await gala.outcomes(BOB) == [("match", "bob")]
    check_problem(await gala.client.delete(PEOPLE + "/ada"), "unknown_person")


@pytest.mark.parametrize("failing", ["erase_person", "faces_of"])
async def test_an_erasure_that_failed_can_be_repeated(gala: Api, failing: str) -> None:
    await gala.enrol("ada", ADA)
    fail_next(gala.stages, failing, StageUnavailable())
    check_problem(await gala.client.delete(PEOPLE + "/ada"), "stage_unavailable")
    still_there = (await gala.client.get(PEOPLE + "/ada")).status_code == 200
    assert still_there == (failing == "erase_person")
    answer = await gala.client.delete(PEOPLE + "/ada")
    assert answer.status_code == (204 if still_there else 404)
    assert gala.stages.gallery == {}


async def test_an_event_is_closed_then_erased_then_forgotten(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    key = (await gala.registry.get_event("gala")).key
    seen: list[tuple[int, int]] = []

    async def look(*args: Any) -> None:
        seen.append(((await gala.client.get(EVENT)).status_code, len(await gala.registry.deleting_events())))

    gala.stages.before["erase_event"] = look
    assert (await gala.client.delete(EVENT)).status_code == 204
    assert seen == [(404, 1)]
    assert gala.stages.calls[-1] == ("erase_event", key)
    assert await gala.registry.deleting_events() == []
    check_problem(await gala.client.delete(EVENT), "unknown_event")


async def test_an_event_half_deleted_can_be_deleted_again(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    fail_next(gala.stages, "erase_event", StageUnavailable(), times=2)
    for _ in range(2):
        check_problem(await gala.client.delete(EVENT), "stage_unavailable")
        check_problem(await gala.client.get(EVENT), "unknown_event")
        check_problem(await gala.client.post(RECOGNISE, content=ADA), "unknown_event")
    assert (await gala.client.delete(EVENT)).status_code == 204
    assert gala.stages.gallery == {}


async def test_an_event_created_again_knows_nobody(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    fail_next(gala.stages, "erase_event", StageUnavailable())
    await gala.client.delete(EVENT)
    await gala.create_event("gala")  # while the old one is half deleted
    assert len(gala.stages.gallery) == 1
    assert await gala.outcomes(ADA) == [("unknown", None)]
    await sweep_everything(gala)
    assert gala.stages.gallery == {}
    assert (await gala.client.get(EVENT)).status_code == 200


async def test_an_event_exists_once(gala: Api) -> None:
    problem = check_problem(await gala.client.post("/v1/events", json={"id": "gala"}), "event_exists")
    assert problem["context"] == {"event": "gala"}
    made = await gala.client.post("/v1/events", json={})
    assert made.status_code == 201
    assert made.json()["pack_id"] == gala.line.pack.id


async def test_events_share_nothing(gala: Api) -> None:
    await gala.create_event("other")
    await gala.enrol("ada", ADA, name="Ada here")
    await gala.enrol("ada", BOB, event="other", name="Ada there")
    assert await gala.outcomes(BOB) == [("unknown", None)]
    assert await gala.outcomes(ADA, event="other") == [("unknown", None)]
    assert (await gala.client.get("/v1/events/other/people/ada")).json()["name"] == "Ada there"
    await gala.client.delete(PEOPLE + "/ada")
    assert await gala.outcomes(BOB, event="other") == [("match", "ada")]
    await gala.client.delete(EVENT)
    assert await gala.outcomes(BOB, event="other") == [("match", "ada")]


async def test_pages(gala: Api) -> None:
    for n in range(5):
        await gala.enrol(f"p{n}", picture(f"p{n}"), name=f"N{n}")
    for n in range(3):
        await gala.create_event(f"x{n}")
    for path, part, size in ((PEOPLE, "people", 2), ("/v1/events", "events", 3)):
        seen: list[str] = []
        cursor: str | None = None
        while True:
            query = {"limit": size, **({"cursor": cursor} if cursor else {})}
            page = (await gala.client.get(path, params=query)).json()
            assert len(page[part]) <= size
            seen += [entry["id"] for entry in page[part]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == ([f"p{n}" for n in range(5)] if part == "people" else ["gala", "x0", "x1", "x2"])
    first = (await gala.client.get(PEOPLE, params={"limit": 1})).json()["people"][0]
    assert (first["id"], first["name"], first["faces"]) == ("p0", "N0", 1)
    events = (await gala.client.get("/v1/events")).json()["events"]
    assert [(event["people"], event["faces"]) for event in events] == [(5, 5), (0, 0), (0, 0), (0, 0)]
