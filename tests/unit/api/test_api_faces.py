"""Single faces of a person: added, listed, erased."""

from __future__ import annotations

from typing import Any

import pytest

from serving.errors import StageUnavailable
from tests.unit.api.api_fakes import fail_next, picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.api_sweep import sweep_later
from tests.unit.api.conftest import Api

ADA, LIKE_ADA, BOB = picture("ada"), picture("ada:0.97"), picture("bob")
PEOPLE = "/v1/events/gala/people"
FACES = PEOPLE + "/ada/faces"


async def sweep_everything(api: Api) -> None:
    await sweep_later(api.registry, api.services.lines)


async def listed(api: Api) -> list[str]:
    return [face["face_id"] for face in (await api.client.get(FACES)).json()["faces"]]


async def test_faces_are_added_to_who_is_enrolled(gala: Api) -> None:
    first = await gala.enrol("ada", ADA, name="Ada")
    answer = await gala.client.post(FACES, content=LIKE_ADA)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["person"]["id"], body["person"]["name"]) == ("ada", "Ada")
    assert [face["cosine_to_person"] for face in body["faces"]] == pytest.approx([0.97], abs=1e-5)
    expected = sorted([first["faces"][0]["face_id"], body["faces"][0]["face_id"]])
    assert body["person"]["face_ids"] == expected
    page = (await gala.client.get(FACES)).json()
    assert [face["face_id"] for face in page["faces"]] == expected
    assert all(face["detection_score"] == 0.9 for face in page["faces"])
    assert all(face["created_at"].endswith("Z") for face in page["faces"])


async def test_faces_of_nobody(gala: Api) -> None:
    for nobody in ("eve", "a b"):
        path = f"{PEOPLE}/{nobody}/faces"
        check_problem(await gala.client.post(path, content=ADA), "unknown_person")
        check_problem(await gala.client.get(path), "unknown_person")
        check_problem(await gala.client.delete(path + "/f1"), "unknown_person")
    assert gala.stages.calls == []
    assert (await gala.client.get(PEOPLE)).json()["people"] == []


async def test_faces_of_somebody_else_are_refused(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    await gala.enrol("bob", BOB)
    context = check_problem(await gala.client.post(FACES, content=BOB), "duplicate_person")["context"]
    assert context["person_id"] == "bob"
    assert (await gala.client.post(FACES, params={"on_duplicate": "allow"}, content=BOB)).status_code == 201


async def test_options_of_people_are_not_options_of_faces(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    for field in ("person_id", "name", "metadata"):
        answer = await gala.client.post(FACES, files={"picture": LIKE_ADA}, data={field: "{}"})
        assert field in check_problem(answer, "invalid_request")["detail"]


async def test_pages_of_faces(gala: Api) -> None:
    body = await gala.enrol("ada", *(picture("ada", salt=str(n)) for n in range(5)))
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await gala.client.get(FACES, params=query)).json()
        seen += [face["face_id"] for face in page["faces"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == body["person"]["face_ids"]
    people_cursor = {"cursor": "cGVyc29uL2FkYQ"}
    check_problem(await gala.client.get(FACES, params=people_cursor), "invalid_request")


async def test_a_face_is_erased_and_the_person_stays(gala: Api) -> None:
    body = await gala.enrol("ada", ADA, LIKE_ADA, name="Ada")
    ada, like_ada = (face["face_id"] for face in body["faces"])
    answer = await gala.client.delete(f"{FACES}/{ada}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert await listed(gala) == [like_ada]
    assert [key[2] for key in gala.stages.gallery] == [like_ada]
    check_problem(await gala.client.delete(f"{FACES}/{ada}"), "unknown_face")
    assert (await gala.client.delete(f"{FACES}/{like_ada}")).status_code == 204
    person = (await gala.client.get(PEOPLE + "/ada")).json()
    assert (person["name"], person["face_ids"]) == ("Ada", [])
    assert await gala.outcomes(ADA) == [("unknown", None)]
    await gala.enrol("ada", ADA)
    assert await gala.outcomes(ADA) == [("match", "ada")]


async def test_faces_of_others_are_not_erased(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    bob = (await gala.enrol("bob", BOB))["faces"][0]["face_id"]
    for odd in (bob, "none", "a b", "x" * 500, "a%00"):
        check_problem(await gala.client.delete(f"{FACES}/{odd}"), "unknown_face")
    assert len(gala.stages.gallery) == 2


@pytest.mark.parametrize("failing", ["erase_faces", "faces_of"])
async def test_an_erasure_that_failed_ends_in_erasure(gala: Api, failing: str) -> None:
    face = (await gala.enrol("ada", ADA, LIKE_ADA))["faces"][0]["face_id"]
    fail_next(gala.stages, failing, StageUnavailable())
    check_problem(await gala.client.delete(f"{FACES}/{face}"), "stage_unavailable")
    again = await gala.client.delete(f"{FACES}/{face}")
    assert again.status_code == (204 if failing == "erase_faces" else 404)
    await sweep_everything(gala)
    assert face not in await listed(gala)
    assert len(gala.stages.gallery) == 1


async def test_a_face_enrolled_again_while_it_is_erased_leaves_no_vector(gala: Api) -> None:
    face = (await gala.enrol("ada", ADA, LIKE_ADA))["faces"][0]["face_id"]

    stored = dict(gala.stages.gallery)

    async def enrol_again(*args: Any) -> None:
        del gala.stages.before["faces_of"]
        check_problem(await gala.client.post(FACES, content=ADA), "stage_unavailable")
        gala.stages.gallery.update(stored)  # one that began earlier stores its vector only now

    gala.stages.before["faces_of"] = enrol_again
    assert (await gala.client.delete(f"{FACES}/{face}")).status_code == 204
    assert len(gala.stages.gallery) == 1
    assert len(await listed(gala)) == 1


async def test_a_face_erased_while_it_is_enrolled_again(gala: Api) -> None:
    face = (await gala.enrol("ada", ADA, LIKE_ADA))["faces"][0]["face_id"]

    async def erase(*args: Any) -> None:
        del gala.stages.before["enrol"]
        assert (await gala.client.delete(f"{FACES}/{face}")).status_code == 204

    gala.stages.before["enrol"] = erase
    check_problem(await gala.client.post(FACES, content=ADA), "erased_meanwhile")
    assert len(gala.stages.gallery) == 1
    assert len(await listed(gala)) == 1


async def test_who_may_do_what_with_faces(gala: Api) -> None:
    face = (await gala.enrol("ada", ADA))["faces"][0]["face_id"]
    member, elsewhere = gala.client_for("member"), gala.client_for("operator", ["other"])
    for client, code in (
        (member, "forbidden"),
        (elsewhere, "unknown_event"),
        (gala.anonymous(), "token_missing"),
    ):
        check_problem(await client.post(FACES, content=LIKE_ADA), code)
        check_problem(await client.get(FACES), code)
        check_problem(await client.delete(f"{FACES}/{face}"), code)
    assert await listed(gala) == [face]
