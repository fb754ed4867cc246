"""One person in one or several pictures: verified or not, identified or not."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from serving.api.probes import fuse
from serving.errors import DeadlineExceeded, Overloaded
from tests.unit.api.api_fakes import fail_next, picture, vector_of
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA, BOB = picture("ada"), picture("bob")
EVENT = "/v1/events/gala"
VERIFY, IDENTIFY = EVENT + "/people/ada/verify", EVENT + "/identify"


@pytest_asyncio.fixture
async def gala(make_api: Callable[..., Any]) -> Api:
    """An event with Ada and Bob, at which requests decide by themselves."""
    api: Api = await make_api()
    await api.create_event(request_policy="any")
    await api.enrol("ada", ADA, name="Ada")
    await api.enrol("bob", BOB)
    return api


def files(*pictures: bytes) -> dict[str, Any]:
    return {"files": [("picture", ("p", each)) for each in pictures]}


async def test_the_claimed_person_is_verified(gala: Api) -> None:
    body = (await gala.client.post(VERIFY, content=ADA)).json()
    calibration = gala.line.calibration
    assert (body["event_id"], body["person_id"], body["verified"]) == ("gala", "ada", True)
    assert body["threshold"] == calibration.default_threshold
    assert (body["cosine"], body["band"]) == (1.0, "high")
    assert body["false_match_rate"] == calibration.floor
    assert body["face_id"]
    [used] = body["pictures"]
    assert (used["status"], used["cosine"]) == ("ok", 1.0)
    assert used["face"]["quality"]["sharpness"] == 1.0
    assert body["timings"]["total_ms"] > 0


async def test_nobody_else_is_looked_at(gala: Api) -> None:
    body = (await gala.client.post(VERIFY, content=BOB)).json()
    assert (body["verified"], body["cosine"], body["band"]) == (False, 0.0, "none")
    assert gala.stages.calls[-1][3:4] == ("ada",)


async def test_the_best_of_the_persons_faces_counts(gala: Api) -> None:
    await gala.enrol("ada", picture("ada:0.95"))
    body = (await gala.client.post(VERIFY, content=picture("ada:0.95"))).json()
    assert (body["verified"], body["cosine"]) == (True, 1.0)


async def test_the_mean_of_several_pictures_decides(gala: Api) -> None:
    pictures = [ADA, picture("ada:0.8", salt="2"), picture("ada:0.9", salt="3")]
    for threshold, verified in ((0.899, True), (0.901, False)):
        answer = await gala.client.post(VERIFY, params={"threshold": threshold}, **files(*pictures))
        body = answer.json()
        assert body["verified"] is verified
        assert body["cosine"] == pytest.approx(0.9, abs=1e-5)
        assert body["false_match_rate"] == gala.line.calibration.false_match_rate(body["cosine"])
        assert [used["cosine"] for used in body["pictures"]] == pytest.approx([1.0, 0.8, 0.9], abs=1e-6)
    assert gala.stages.counts["search"] == 2 + 2  # enrolment looks for duplicates, once a person


async def test_fusion_is_the_mean_of_the_cosines() -> None:
    rng = np.random.default_rng(7)
    for count in (1, 2, 5, 10):
        vectors = rng.normal(size=(count + 3, 128)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        probes, enrolled = vectors[:count], vectors[count:]
        fusion = fuse(probes)
        assert fusion.vector.dtype == np.float32
        assert np.linalg.norm(fusion.vector) == pytest.approx(1, abs=1e-6)
        assert enrolled @ fusion.vector * fusion.length == pytest.approx(
            (enrolled @ probes.T).mean(axis=1), abs=1e-6
        )
    ada = vector_of("ada")
    assert np.array_equal(fuse(ada[None]).vector, ada)
    assert fuse(np.stack([ada, -ada])).length == 0


async def test_a_person_without_faces_is_not_verified(gala: Api) -> None:
    gala.stages.gallery.clear()
    body = (await gala.client.post(VERIFY, content=ADA)).json()
    assert (body["verified"], body["cosine"], body["false_match_rate"], body["band"], body["face_id"]) == (
        False, None, None, None, None
    )  # fmt: skip
    assert body["pictures"][0]["cosine"] is None


@pytest.mark.parametrize("person", ["nobody", "%00", "x" * 300, "a%20b"])
async def test_who_is_not_enrolled_cannot_be_verified(gala: Api, person: str) -> None:
    calls = len(gala.stages.calls)
    answer = await gala.client.post(f"{EVENT}/people/{person}/verify", content=ADA)
    check_problem(answer, "unknown_person")
    assert len(gala.stages.calls) == calls


async def test_who_is_erased_meanwhile_is_not_verified(gala: Api) -> None:
    async def erase(event_key: str) -> None:
        await gala.registry.delete_person(event_key, "ada")

    gala.stages.after["search"] = erase
    check_problem(await gala.client.post(VERIFY, content=ADA), "unknown_person")


async def test_a_bad_picture_fails_alone_unless_none_is_left(gala: Api) -> None:
    bad = [b"no picture", picture(), picture("ada", "bob"), picture("ada:1:blurred")]
    codes = ["not_an_image", "no_face", "several_faces", "quality_too_low"]
    for path in (VERIFY, IDENTIFY):
        answer = await gala.client.post(path, params={"quality": "standard"}, **files(*bad, ADA))
        body = answer.json()
        assert [used["status"] for used in body["pictures"]] == ["error"] * 4 + ["ok"]
        assert [used["problem"]["code"] for used in body["pictures"][:4]] == codes
        assert body["pictures"][2]["problem"]["context"]["faces"] == 2
        assert body["pictures"][3]["problem"]["context"]["faults"][0]["reason"] == "blurred"
        for place, code in enumerate(codes):
            answer = await gala.client.post(path, params={"quality": "standard"}, **files(bad[place]))
            assert "picture" not in check_problem(answer, code)["context"]
        answer = await gala.client.post(path, params={"quality": "standard"}, **files(*bad[1:]))
        assert check_problem(answer, "no_face")["context"]["picture"] == 0


async def test_base64_that_is_none_fails_alone(gala: Api) -> None:
    good = base64.b64encode(ADA).decode()
    body = (await gala.client.post(VERIFY, json={"pictures": ["!!!!", good]})).json()
    assert [used["status"] for used in body["pictures"]] == ["error", "ok"]
    assert body["verified"] is True


@pytest.mark.parametrize("error", [Overloaded(), DeadlineExceeded()])
@pytest.mark.parametrize("path", [VERIFY, IDENTIFY])
async def test_a_stage_that_fails_is_no_picture_s_fault(gala: Api, path: str, error: Any) -> None:
    fail_next(gala.stages, "detect", error)
    check_problem(await gala.client.post(path, **files(ADA, BOB)), error.code)


async def test_which_face_of_a_crowd_is_meant(gala: Api) -> None:
    crowd = picture("bob", "ada", "cleo", width=48, height=32)
    check_problem(await gala.client.post(VERIFY, content=crowd), "several_faces")
    centre = await gala.client.post(VERIFY, params={"face": "centre"}, content=crowd)
    assert centre.json()["verified"] is True
    largest = await gala.client.post(VERIFY, params={"face": "largest"}, content=crowd)
    assert largest.json()["verified"] is False


async def test_who_may_not_read_people_learns_no_score_of_a_failed_claim(gala: Api) -> None:
    member = gala.client_for("member")
    failed = (await member.post(VERIFY, content=picture("ada:0.8"))).json()
    assert (failed["verified"], failed["cosine"], failed["band"], failed["face_id"]) == (
        False, None, None, None
    )  # fmt: skip
    assert failed["pictures"][0]["cosine"] is None
    mixed = (await member.post(VERIFY, **files(ADA, picture("ada:0.9", salt="2")))).json()
    assert (mixed["verified"], mixed["cosine"]) == (True, pytest.approx(0.95, abs=1e-5))
    assert [used["cosine"] for used in mixed["pictures"]] == [1.0, None]
    seen = (await gala.client.post(VERIFY, content=picture("ada:0.8"))).json()
    assert seen["cosine"] == pytest.approx(0.8, abs=1e-6)


async def test_several_pictures_identify_one_person(gala: Api) -> None:
    pictures = [picture("ada:0.99"), picture("ada:0.88", salt="2"), picture("ada:0.95", salt="3")]
    body = (await gala.client.post(IDENTIFY, params={"top_k": 2}, **files(*pictures))).json()
    assert (body["outcome"], body["person"]["person_id"], body["person"]["name"]) == ("match", "ada", "Ada")
    assert body["best_cosine"] == pytest.approx(0.94, abs=1e-5)
    assert [each["person_id"] for each in body["candidates"]] == ["ada", "bob"]
    assert [used["status"] for used in body["pictures"]] == ["ok"] * 3
    one = (await gala.client.post(IDENTIFY, content=pictures[1])).json()
    assert (one["outcome"], one["person"]) == ("unknown", None)
    assert one["best_cosine"] == pytest.approx(0.88, abs=1e-6)


async def test_pictures_of_two_people_identify_neither(gala: Api) -> None:
    body = (await gala.client.post(IDENTIFY, **files(ADA, BOB))).json()
    assert (body["outcome"], body["best_cosine"]) == ("unknown", pytest.approx(0.5, abs=1e-5))


async def test_other_events_and_closed_ones_verify_nobody(gala: Api) -> None:
    await gala.create_event("other")
    other = gala.client_for("operator", ["other"])
    for path in (VERIFY, IDENTIFY):
        check_problem(await other.post(path, content=ADA), "unknown_event")
        elsewhere = path.replace("gala", "other")
        answer = await gala.client.post(elsewhere, content=ADA)
        if path == VERIFY:
            check_problem(answer, "unknown_person")
        else:
            assert (answer.json()["outcome"], answer.json()["candidates"]) == ("unknown", [])
    assert (await gala.client.post("/v1/events/gala/close")).status_code == 200
    for path in (VERIFY, IDENTIFY):
        check_problem(await gala.client.post(path, content=ADA), "event_closed")
