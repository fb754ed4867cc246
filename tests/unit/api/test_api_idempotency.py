"""The Idempotency-Key header: a retry never doubles, whatever became of the first attempt."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from serving.api import idempotency
from serving.database.metadata import now_utc
from serving.errors import StageUnavailable
from serving.graph.sweep import Sweep
from tests.unit.api.api_fakes import fail_next, picture
from tests.unit.api.api_mortality import Killed, Mortal, Mortality
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api
from tests.unit.served import serve_alone

ADA, LIKE_ADA, BOB = picture("ada"), picture("ada:0.97"), picture("bob")
EVENTS, PEOPLE = "/v1/events", "/v1/events/gala/people"
KEY = {"Idempotency-Key": "7c9e6679-7425-40de-944b-e07fc1f90ae7"}
CLAIM_S = 20 + idempotency.CLAIM_MARGIN_S


def is_replay(answer: httpx.Response) -> bool:
    return answer.headers.get("idempotency-replayed") == "true"


async def people_of(api: Api, people: str = PEOPLE) -> dict[str, int]:
    """Faces of each person."""
    return {each["id"]: each["faces"] for each in (await api.client.get(people)).json()["people"]}


@contextmanager
def later(seconds: float) -> Iterator[None]:
    """The registry's clock is so many seconds ahead."""

    def moved() -> Any:
        return now_utc() + timedelta(seconds=seconds)

    with (
        patch("serving.registry.registry.now_utc", moved),
        patch("serving.registry.erasures.now_utc", moved),
        patch("serving.registry.idempotency.now_utc", moved),
        patch("serving.registry.keyed_requests.now_utc", moved),
    ):
        yield


async def sweep(api: Api) -> None:
    await Sweep(api.registry, api.services.lines).sweep_once()


@pytest.mark.parametrize("query", [{}, {"person_id": "ada"}], ids=["made id", "own id"])
async def test_a_retry_gets_the_first_answer(gala: Api, query: dict[str, str]) -> None:
    first = await gala.client.post(PEOPLE, params=query, content=ADA, headers=KEY)
    assert (first.status_code, is_replay(first)) == (201, False)
    worked = len(gala.stages.calls)
    retry = await gala.client.post(PEOPLE, params=query, content=ADA, headers=KEY)
    assert (retry.status_code, is_replay(retry)) == (201, True)
    assert retry.content == first.content
    assert retry.headers["content-type"] == first.headers["content-type"]
    assert len(gala.stages.calls) == worked
    assert await people_of(gala) == {first.json()["person"]["id"]: 1}


async def test_faces_are_added_once(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    answers = [await gala.client.post(PEOPLE + "/ada/faces", content=LIKE_ADA, headers=KEY) for _ in range(3)]
    assert [is_replay(answer) for answer in answers] == [False, True, True]
    assert len({answer.content for answer in answers}) == 1
    assert await people_of(gala) == {"ada": 2}


async def test_twenty_at_once_enrol_one_person(gala: Api) -> None:
    answers = await asyncio.gather(*(gala.client.post(PEOPLE, content=ADA, headers=KEY) for _ in range(20)))
    done = [answer for answer in answers if answer.status_code == 201]
    for answer in answers:
        if answer not in done:
            check_problem(answer, "request_in_progress")
    assert len({answer.content for answer in done}) == 1
    assert sum(not is_replay(answer) for answer in done) == 1
    assert gala.stages.counts["enrol"] == 1
    assert await people_of(gala) == {done[0].json()["person"]["id"]: 1}
    assert is_replay(await gala.client.post(PEOPLE, content=ADA, headers=KEY))


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


OTHER_CONTENT: dict[str, dict[str, Any]] = {
    "another picture": {"json": {"name": "Ada", "pictures": [encoded(BOB)]}},
    "one more picture": {"json": {"name": "Ada", "pictures": [encoded(ADA), encoded(LIKE_ADA)]}},
    "another field": {"json": {"name": "Eve", "pictures": [encoded(ADA)]}},
    "one more field": {"json": {"name": "Ada", "metadata": {"a": 1}, "pictures": [encoded(ADA)]}},
    "one field less": {"json": {"pictures": [encoded(ADA)]}},
    "one more option": {"params": {"face": "largest"}, "json": {"name": "Ada", "pictures": [encoded(ADA)]}},
}


@pytest.mark.parametrize("form", OTHER_CONTENT.values(), ids=OTHER_CONTENT.keys())
async def test_a_key_belongs_to_one_request(gala: Api, form: dict[str, Any]) -> None:
    same = {"name": "Ada", "pictures": [encoded(ADA)]}
    assert (await gala.client.post(PEOPLE, json=same, headers=KEY)).status_code == 201
    worked = len(gala.stages.calls)
    check_problem(await gala.client.post(PEOPLE, headers=KEY, **form), "idempotency_key_reused")
    assert len(gala.stages.calls) == worked
    in_a_form = await gala.client.post(PEOPLE, data={"name": "Ada"}, files={"picture": ADA}, headers=KEY)
    assert is_replay(in_a_form)  # the same content in another form


async def test_a_key_belongs_to_one_caller_and_one_address(gala: Api) -> None:
    await gala.create_event("other")
    await gala.enrol("ada", ADA)
    await gala.enrol("bob", BOB)
    made = await gala.client.post(
        "/v1/api-keys", json={"name": "door", "scopes": ["enrol"], "events": ["gala"]}
    )
    door = gala.anonymous(**{"X-API-Key": made.json()["key"]})
    answers = [
        await gala.client.post(PEOPLE, params={"person_id": "ada"}, content=LIKE_ADA, headers=KEY),
        await gala.client.post("/v1/events/other/people", content=LIKE_ADA, headers=KEY),
        await gala.client.post(PEOPLE + "/ada/faces", content=LIKE_ADA, headers=KEY),
        await gala.client.post(PEOPLE + "/bob/faces", content=picture("bob:0.97"), headers=KEY),
        await gala.client.post(EVENTS, json={"id": "third"}, headers=KEY),
        await door.post(PEOPLE, params={"person_id": "ada"}, content=picture("ada:0.96"), headers=KEY),
    ]
    assert [(answer.status_code, is_replay(answer)) for answer in answers] == [(201, False)] * 6


@pytest.mark.parametrize("key", ["", "x" * 256, " ", "a\tb", "a\x7f"])
async def test_bad_keys(gala: Api, key: str) -> None:
    answer = await gala.client.post(PEOPLE, content=ADA, headers={"Idempotency-Key": key})
    assert "dempotency-key" in check_problem(answer, "invalid_request")["detail"].lower()
    assert gala.stages.calls == []


@pytest.mark.parametrize("person", ["a/b", "x" * 129, "a\0"])
async def test_nothing_is_claimed_for_an_id_that_nobody_can_have(gala: Api, person: str) -> None:
    with patch.object(gala.registry.requests, "claim", side_effect=AssertionError):
        answer = await gala.client.post(PEOPLE, params={"person_id": person}, content=ADA, headers=KEY)
    check_problem(answer, "invalid_request")


@pytest.mark.parametrize("key", ["x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a b"])
async def test_usual_keys(gala: Api, key: str) -> None:
    for replayed in (False, True):
        answer = await gala.client.post(PEOPLE, content=ADA, headers={"Idempotency-Key": key})
        assert (answer.status_code, is_replay(answer)) == (201, replayed)


async def test_a_failed_request_frees_its_key(gala: Api) -> None:
    async def lose() -> None:
        raise StageUnavailable

    fail_next(gala.stages, "detect", StageUnavailable())
    check_problem(await gala.client.post(PEOPLE, content=ADA, headers=KEY), "stage_unavailable")
    gala.stages.after["enrol"] = lose  # the vectors are stored, the answer is lost
    check_problem(await gala.client.post(PEOPLE, content=ADA, headers=KEY), "stage_unavailable")
    del gala.stages.after["enrol"]
    answer = await gala.client.post(PEOPLE, content=ADA, headers=KEY)
    assert (answer.status_code, is_replay(answer)) == (201, False)
    person = answer.json()["person"]["id"]
    assert await people_of(gala) == {person: 1}
    assert [key[1] for key in gala.stages.gallery] == [person]


async def test_a_refused_request_may_be_corrected_under_its_key(gala: Api) -> None:
    check_problem(await gala.client.post(PEOPLE, content=picture(), headers=KEY), "no_face")
    assert (await gala.client.post(PEOPLE, content=ADA, headers=KEY)).status_code == 201
    check_problem(await gala.client.post(PEOPLE, content=picture(), headers=KEY), "idempotency_key_reused")


async def test_who_went_away_and_comes_back_gets_the_answer(gala: Api) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def wait(*args: Any) -> None:
        arrived.set()
        await go_on.wait()

    gala.stages.before["enrol"] = wait
    request = asyncio.create_task(gala.client.post(PEOPLE, content=ADA, headers=KEY))
    await asyncio.wait_for(arrived.wait(), 60)
    check_problem(await gala.client.post(PEOPLE, content=ADA, headers=KEY), "request_in_progress")
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    go_on.set()
    for _ in range(10_000):
        answer = await gala.client.post(PEOPLE, content=ADA, headers=KEY)
        if answer.status_code == 201:
            break
        check_problem(answer, "request_in_progress")
    assert is_replay(answer)
    assert gala.stages.counts["enrol"] == 1
    assert await people_of(gala) == {answer.json()["person"]["id"]: 1}


async def test_a_request_that_is_cancelled_frees_its_key(gala: Api) -> None:
    async def cancel(*args: Any) -> None:
        del gala.stages.before["enrol"]
        raise asyncio.CancelledError  # the service is stopped

    gala.stages.before["enrol"] = cancel
    with contextlib.suppress(asyncio.CancelledError):  # Python 3.10 takes it for the caller's
        check_problem(await gala.client.post(PEOPLE, content=ADA, headers=KEY), "internal_error")
    answer = await gala.client.post(PEOPLE, content=ADA, headers=KEY)
    assert (answer.status_code, is_replay(answer)) == (201, False)
    assert await people_of(gala) == {answer.json()["person"]["id"]: 1}


async def test_an_answer_that_cannot_be_kept_is_given_all_the_same(
    gala: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: Any) -> None:
        raise StageUnavailable

    with monkeypatch.context() as context:
        context.setattr(gala.registry.requests, "answer", fail)
        first = await gala.client.post(PEOPLE, content=ADA, headers=KEY)
    assert first.status_code == 201
    check_problem(await gala.client.post(PEOPLE, content=ADA, headers=KEY), "request_in_progress")
    with later(CLAIM_S + 1):
        retry = await gala.client.post(PEOPLE, content=ADA, headers=KEY)
    assert retry.json()["person"]["id"] == first.json()["person"]["id"]
    assert await people_of(gala) == {first.json()["person"]["id"]: 1}


async def test_answers_go_with_the_person_and_with_time(gala: Api) -> None:
    first = await gala.client.post(PEOPLE, content=ADA, headers=KEY)
    person = first.json()["person"]["id"]
    assert (await gala.client.delete(f"{PEOPLE}/{person}")).status_code == 204
    again = await gala.client.post(PEOPLE, content=ADA, headers=KEY)
    assert (again.status_code, is_replay(again)) == (201, False)
    kept_s = gala.services.settings.enrolment.idempotency_s
    with later(kept_s - 100):
        assert is_replay(await gala.client.post(PEOPLE, content=ADA, headers=KEY))
    with later(kept_s + 100):
        check_problem(await gala.client.post(PEOPLE, content=ADA, headers=KEY), "duplicate_person")


@contextmanager
def dying(api: Api, dies_at: int) -> Iterator[Mortality]:
    """The application dies at that step of what it does from now on."""
    mortality = Mortality(dies_at)
    api.app.state.services = dataclasses.replace(
        api.services,
        registry=Mortal(api.registry, mortality),  # type: ignore[arg-type]
        lines=serve_alone(Mortal(api.stages, mortality)),
    )
    try:
        yield mortality
    finally:
        api.app.state.services = api.services


async def enrol_until_killed(api: Api, dies_at: int, people: str, **request: Any) -> bool:
    """Whether the process died."""
    with dying(api, dies_at) as mortality:
        try:
            answer = await api.client.post(people, headers=KEY, **request)
        except Killed:
            return True
    assert not mortality.is_dead
    assert answer.status_code == 201, answer.text
    return False


@pytest.mark.parametrize("swept", [False, True], ids=["retried soon", "retried after a sweep"])
@pytest.mark.parametrize("query", [{}, {"person_id": "ada", "name": "Ada"}], ids=["made id", "own id"])
async def test_a_retry_after_a_death_at_any_step_makes_one_person_with_one_face(
    api: Api, query: dict[str, str], swept: bool
) -> None:
    dies_at = 0
    while True:
        key = await api.create_event(f"e{dies_at}")
        people = f"{EVENTS}/e{dies_at}/people"
        if not await enrol_until_killed(api, dies_at, people, params=query, content=ADA):
            break
        # By the time of a sweep whoever was under way has long ended, and so has their claim.
        with later(3600 if swept else CLAIM_S + 1):
            if swept:
                await sweep(api)
            retry = await api.client.post(people, params=query, content=ADA, headers=KEY)
            assert retry.status_code == 201, (dies_at, retry.text)
            person = retry.json()["person"]["id"]
            assert await people_of(api, people) == {person: 1}, dies_at
            third = await api.client.post(people, params=query, content=ADA, headers=KEY)
            assert (is_replay(third), third.content) == (True, retry.content), dies_at
        with later(7200):
            await sweep(api)
        stored = [name for name in api.stages.gallery if name[0] == key]
        assert [name[1] for name in stored] == [person], dies_at
        assert await api.outcomes(ADA, event=f"e{dies_at}") == [("match", person)]
        dies_at += 1
    assert (
        dies_at >= 18
    )  # before and after: event, claim, detect, embed, search, begin, enrol, finish, answer


async def test_added_faces_after_a_death_at_any_step(api: Api) -> None:
    dies_at = 0
    while True:
        await api.create_event(f"e{dies_at}")
        people = f"{EVENTS}/e{dies_at}/people"
        await api.enrol("ada", ADA, event=f"e{dies_at}")
        if not await enrol_until_killed(api, dies_at, people + "/ada/faces", content=LIKE_ADA):
            break
        with later(CLAIM_S + 1):
            retry = await api.client.post(people + "/ada/faces", content=LIKE_ADA, headers=KEY)
        assert retry.status_code == 201, (dies_at, retry.text)
        assert [face["cosine_to_person"] for face in retry.json()["faces"]] == pytest.approx([0.97], abs=1e-5)
        assert await people_of(api, people) == {"ada": 2}, dies_at
        dies_at += 1
    assert dies_at >= 18


async def test_the_retry_may_die_too(api: Api) -> None:
    """The first two attempts die at any two steps, the third one lives."""
    for first in range(2, 22, 4):
        for second in range(2, 22, 4):
            event = f"e{first}-{second}"
            await api.create_event(event)
            people = f"{EVENTS}/{event}/people"
            await enrol_until_killed(api, first, people, content=ADA)
            with later(CLAIM_S + 1):
                await enrol_until_killed(api, second, people, content=ADA)
            with later(2 * CLAIM_S + 2):
                answer = await api.client.post(people, content=ADA, headers=KEY)
                assert answer.status_code == 201, (first, second, answer.text)
            assert list((await people_of(api, people)).values()) == [1], (first, second)


@pytest.mark.parametrize("new", [{"id": "once", "name": "Once"}, {"name": "Once"}], ids=["own id", "made id"])
async def test_an_event_is_created_once(api: Api, new: dict[str, str]) -> None:
    answers = await asyncio.gather(*(api.client.post(EVENTS, json=new, headers=KEY) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sorted(map(is_replay, answers)) == [False] + [True] * 4
    assert len((await api.client.get(EVENTS)).json()["events"]) == 1
    check_problem(await api.client.post(EVENTS, json={"name": "x"}, headers=KEY), "idempotency_key_reused")


async def test_an_event_that_is_refused_frees_its_key(gala: Api) -> None:
    check_problem(await gala.client.post(EVENTS, json={"id": "gala"}, headers=KEY), "event_exists")
    assert (await gala.client.post(EVENTS, json={"id": "other"}, headers=KEY)).status_code == 201
