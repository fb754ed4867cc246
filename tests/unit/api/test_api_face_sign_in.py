"""Signing in by face, and guesses made all at once in each of the ways to sign in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from serving.accounts import accounts, sessions
from serving.registry.records import EventFields
from tests.unit.api.api_fakes import picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api, Limiter
from tests.unit.api.test_api_authentication import WHO, bearer, enrol, sign_in, sign_up

pytestmark = pytest.mark.usefixtures("cheap_passwords")


@pytest_asyncio.fixture
async def faces(make_api: Callable[..., Awaitable[Api]]) -> Api:
    """Signing in by face is on; `ada` owns the person `ada-1` of the event `gala`."""
    api = await make_api(auth={"face_sign_in": True})
    await own_ada(api)
    return api


async def own_ada(api: Api) -> None:
    """`ada` owns the person `ada-1` of the event `gala`."""
    await api.create_event()
    event = await api.registry.get_event("gala")
    await enrol(api, "ada-1", "ada")
    await enrol(api, "bob-1", "bob")
    id = await sign_up(api)
    await api.services.accounts.accounts.change(id, events=["gala"])
    await api.services.accounts.accounts.link_person(id, event.key, "ada-1")


async def show(api: Api, name: str, *people: str) -> httpx.Response:
    return await api.anonymous().post(
        "/v1/auth/sign-in/face", params={"name": name}, content=picture(*people)
    )


async def test_ones_own_face_signs_in_as_a_member_of_the_event(faces: Api) -> None:
    answer = await show(faces, "ada", "ada:0.97")
    assert answer.status_code == 200, answer.text
    tokens = answer.json()
    assert tokens["refresh_token"] is None
    who = (await bearer(faces, tokens).get(WHO)).json()
    assert (who["name"], who["role"], who["events"]) == ("ada", "member", ["gala"])
    for method, path in (("DELETE", "/v1/accounts/me"), ("GET", "/v1/accounts/me")):
        check_problem(await bearer(faces, tokens).request(method, path), "forbidden")
    assert (await bearer(faces, tokens).post("/v1/auth/sign-out")).status_code == 204
    check_problem(await bearer(faces, tokens).get(WHO), "token_revoked")


async def test_no_answer_tells_why_a_face_was_refused(faces: Api, limiter: Limiter) -> None:
    await sign_up(faces, "eve")  # who owns nobody
    answers = []
    for name, face in (
        ("ada", "bob"),
        ("ada", "ada:0.5"),
        ("eve", "ada"),
        ("nobody", "ada"),
        ("x\x00", "ada"),
    ):
        calls = len(faces.stages.calls)
        problem = check_problem(await show(faces, name, face), "sign_in_failed")
        problem.pop("request_id")
        answers.append((problem, [call[0] for call in faces.stages.calls[calls:]]))
    assert all(each == answers[0] for each in answers)
    assert len(limiter.failures) == 5


@pytest.mark.parametrize(
    "policy", [{"threshold": -1.0}, {"target_false_match_rate": 1.0}, {"strictness": "lenient"}]
)
async def test_a_lax_event_opens_no_account_to_who_is_hardly_alike(faces: Api, policy: EventFields) -> None:
    key = (await faces.registry.get_event("gala")).key
    await faces.registry.update_event(key, policy)
    least = faces.line.calibration.threshold_for(1e-3)
    check_problem(await show(faces, "ada", f"ada:{least - 0.005:.4f}"), "sign_in_failed")
    assert (await show(faces, "ada", f"ada:{least + 0.005:.4f}")).status_code == 200
    await faces.registry.update_event(key, {"threshold": least + 0.01})
    check_problem(await show(faces, "ada", f"ada:{least + 0.005:.4f}"), "sign_in_failed")


@pytest.mark.parametrize("how", ["closed", "disabled", "erased", "deleted", "uncalibrated"])
async def test_a_face_signs_in_only_while_everything_stands(faces: Api, how: str) -> None:
    if how == "closed":
        await faces.client.post("/v1/events/gala/close")
    elif how == "disabled":
        account = await faces.services.accounts.accounts.find("ada")
        assert account is not None
        await faces.services.accounts.accounts.change(account.id, disabled=True)
    elif how == "erased":
        await faces.client.delete("/v1/events/gala/people/ada-1")
    elif how == "uncalibrated":  # the calibration has changed since the event was made
        key = (await faces.registry.get_event("gala")).key
        await faces.registry.update_event(key, {"target_false_match_rate": 1e-12})
    else:
        await faces.client.delete("/v1/events/gala")
    check_problem(await show(faces, "ada", "ada"), "sign_in_failed")


@pytest.mark.parametrize("mode", ["off", "observe", "enforce"])
async def test_a_photograph_signs_nobody_in(make_api: Callable[..., Awaitable[Api]], mode: str) -> None:
    """Whatever the event says, wherever there is a liveness model."""
    api = await make_api(auth={"face_sign_in": True}, liveness={"model": "minifasnet"})
    await own_ada(api)
    await api.registry.update_event((await api.registry.get_event("gala")).key, {"liveness": mode})
    for face in ("ada:1::0.2", "ada:1::none"):
        calls = len(api.stages.calls)
        check_problem(await show(api, "ada", face), "presentation_attack")
        assert [call[0] for call in api.stages.calls[calls:]] == ["detect"]
    assert (await show(api, "ada", "ada")).status_code == 200


async def test_who_is_enrolled_where_liveness_is_enforced_does_not_sign_in_unchecked(faces: Api) -> None:
    """An event that enforces it and has lost its model opens nothing; the answer does not say so."""
    key = (await faces.registry.get_event("gala")).key
    wrong = check_problem(await show(faces, "ada", "bob"), "sign_in_failed")
    for mode, status in (("off", 200), ("observe", 200), ("enforce", 401)):
        await faces.registry.update_event(key, {"liveness": mode})  # type: ignore[typeddict-item]
        answer = await show(faces, "ada", "ada")
        assert answer.status_code == status, mode
    assert {**answer.json(), "request_id": wrong["request_id"]} == wrong


async def test_pictures_that_cannot_be_compared(faces: Api, limiter: Limiter) -> None:
    check_problem(await show(faces, "ada"), "no_face")
    check_problem(await show(faces, "ada", "ada", "bob"), "several_faces")
    assert len(limiter.failures) == 2  # they cost as much as any
    post = faces.anonymous().post
    check_problem(await post("/v1/auth/sign-in/face", content=picture("ada")), "invalid_request")
    form = {"data": {"name": "ada"}, "files": [("picture", ("p", picture("ada"), "image/png"))] * 2}
    check_problem(await post("/v1/auth/sign-in/face", **form), "invalid_request")
    form["files"] = form["files"][:1]
    assert (await post("/v1/auth/sign-in/face", **form)).status_code == 200
    form["data"] = {"name": "ada", "role": "administrator"}
    check_problem(await post("/v1/auth/sign-in/face", **form), "invalid_request")


async def test_faces_open_nothing_unless_the_settings_say_so(api: Api) -> None:
    check_problem(await show(api, "ada", "ada"), "forbidden")
    assert api.stages.calls == []


@pytest.mark.parametrize("way", ["sign-in", "old-password", "face"])
async def test_guesses_all_at_once_are_not_all_looked_at(
    make_api: Callable[..., Awaitable[Api]], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    api = await make_api(auth={"face_sign_in": True}, rate_limits={"sign_in_per_account": "10/minute"})
    await sign_up(api)
    client = bearer(api, await sign_in(api))
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now)  # so that no minute turns
    looked = 0

    async def refuse(*_: Any) -> bool:
        nonlocal looked
        looked += 1
        await asyncio.sleep(0.02)
        return False

    for module in (sessions, accounts):
        monkeypatch.setattr(module, "verify_password", refuse)

    async def guess(n: int) -> int:
        if way == "sign-in":
            answer = await client.post("/v1/auth/sign-in", json={"name": "ada", "password": f"guess {n}"})
        elif way == "face":
            answer = await show(api, "ada", f"stranger{n}")
        else:
            body = {"old": f"guess {n}", "new": "y" * 20}
            answer = await client.put("/v1/accounts/me/password", json=body)
        if answer.status_code == 429:
            check_problem(answer, "rate_limited")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
        return answer.status_code

    statuses = await asyncio.gather(*(guess(n) for n in range(60)))
    assert (statuses.count(401), statuses.count(429)) == (10, 50)
    assert (api.stages.names().count("search") if way == "face" else looked) == 10
