"""Accounts over HTTP: who may do what with which."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.unit.api.api_fakes import fail_next, picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import TESTER_ID, Api
from tests.unit.api.test_api_authentication import PASSWORD, bearer, enrol, sign_in, sign_up

ACCOUNTS, WHO = "/v1/accounts", "/v1/auth/whoami"

pytestmark = pytest.mark.usefixtures("cheap_passwords")


async def create(api: Api, name: str, **fields: Any) -> tuple[str, httpx.AsyncClient]:
    """An account made by an administrator, and a client with a token of its own."""
    answer = await api.client.post(ACCOUNTS, json={"name": name, **fields})
    assert answer.status_code == 201, answer.text
    account = answer.json()
    token = api.services.accounts.issuer.issue(account["id"], account["role"], None, 600)
    return account["id"], api.anonymous(Authorization=f"Bearer {token}")


async def test_who_signs_up_is_a_member_that_reaches_nothing(gala: Api) -> None:
    answer = await gala.anonymous().post(ACCOUNTS, json={"name": "ada@example.org", "password": PASSWORD})
    account = answer.json()
    assert answer.status_code == 201
    assert (account["role"], account["events"], account["all_events"]) == ("member", [], False)
    assert (account["has_password"], account["disabled"]) == (True, False)
    client = bearer(gala, await sign_in(gala, "ada@example.org"))
    assert (await client.get("/v1/events")).json()["events"] == []
    check_problem(await client.get("/v1/events/gala"), "unknown_event")
    await gala.client.patch(f"{ACCOUNTS}/{account['id']}", json={"events": ["gala"]})
    assert (await client.get("/v1/events/gala")).status_code == 200
    assert (await client.get(f"{ACCOUNTS}/me")).json()["events"] == ["gala"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "ada"}, "invalid_request"),
        ({"name": "ada", "password": "short"}, "weak_password"),
        ({"name": "ada", "password": "x" * 1025}, "invalid_request"),
        ({"name": "ada-lovelace", "password": "ADA-Lovelace"}, "weak_password"),
        ({"name": "ada", "password": "x\x00" * 10}, "weak_password"),
        ({"name": "a b", "password": PASSWORD}, "invalid_request"),
        ({"name": "", "password": PASSWORD}, "invalid_request"),
        ({"name": "tester", "password": PASSWORD}, "account_exists"),
        ({"name": "ada", "password": PASSWORD, "role": "operator"}, "forbidden"),
        ({"name": "ada", "password": PASSWORD, "role": "member"}, "forbidden"),
        ({"name": "ada", "password": PASSWORD, "all_events": True}, "forbidden"),
        ({"name": "ada", "password": PASSWORD, "events": ["gala"]}, "forbidden"),
        ({"name": "ada", "password": PASSWORD, "id": "1"}, "invalid_request"),
    ],
)
async def test_sign_ups_that_are_refused(gala: Api, body: dict[str, Any], code: str) -> None:
    problem = check_problem(await gala.anonymous().post(ACCOUNTS, json=body), code)
    assert body.get("password", "?") not in str(problem)
    page = (await gala.client.get(ACCOUNTS)).json()
    assert [each["name"] for each in page["accounts"]] == ["tester"]


async def test_the_least_length_is_a_setting(make_api: Callable[..., Awaitable[Api]]) -> None:
    api = await make_api(auth={"min_password_chars": 30})
    answer = await api.anonymous().post(ACCOUNTS, json={"name": "ada", "password": PASSWORD})
    assert check_problem(answer, "weak_password")["context"] == {"min_chars": 30, "max_chars": 1024}


async def test_signing_up_can_be_closed(make_api: Callable[..., Awaitable[Api]]) -> None:
    api = await make_api(auth={"sign_up": False})
    body = {"name": "ada", "password": PASSWORD}
    for client in (api.anonymous(), api.client_for("operator"), api.client_for("administrator", [])):
        check_problem(await client.post(ACCOUNTS, json=body), "sign_up_closed")
    assert (await api.client.post(ACCOUNTS, json=body)).status_code == 201


async def test_a_bad_token_signs_nobody_up(api: Api) -> None:
    body = {"name": "ada", "password": PASSWORD}
    answer = await api.anonymous(Authorization="Bearer x.y.z").post(ACCOUNTS, json=body)
    check_problem(answer, "token_invalid")


async def test_administrators_choose_role_and_events(gala: Api) -> None:
    id, client = await create(gala, "olga", role="operator", events=["gala"])
    view = (await client.get(f"{ACCOUNTS}/me")).json()
    assert (view["id"], view["role"], view["events"]) == (id, "operator", ["gala"])
    assert not view["has_password"]
    for body, code in (
        ({"name": "x", "events": ["nope"]}, "unknown_event"),
        ({"name": "x", "events": ["gala"], "all_events": True}, "invalid_request"),
        ({"name": "x", "role": "god"}, "invalid_request"),
    ):
        check_problem(await gala.client.post(ACCOUNTS, json=body), code)
    assert (await gala.client.post(ACCOUNTS, json={"name": "x"})).status_code == 201


async def test_of_several_sign_ups_under_one_name_one_succeeds(api: Api) -> None:
    body = {"name": "ada", "password": PASSWORD}
    answers = await asyncio.gather(*(api.anonymous().post(ACCOUNTS, json=body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


async def test_a_sign_up_counts_once_for_its_address(make_api: Callable[..., Any]) -> None:
    api = await make_api(rate_limits={"sign_up_per_address": "2/hour"})
    client = api.anonymous(**{"X-Rollcall-Peer": "192.0.2.1"})
    for name in ("ada", "bob"):
        answer = await client.post(ACCOUNTS, json={"name": name, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
    check_problem(await client.post(ACCOUNTS, json={"name": "eve", "password": PASSWORD}), "rate_limited")


async def test_pages_of_accounts(api: Api) -> None:
    for name in ("cyd", "ada", "bob"):
        await create(api, name)
    first = (await api.client.get(ACCOUNTS, params={"limit": 2})).json()
    rest = (await api.client.get(ACCOUNTS, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    names = [each["name"] for each in first["accounts"] + rest["accounts"]]
    assert names == ["ada", "bob", "cyd", "tester"]
    assert rest["next_cursor"] is None
    check_problem(await api.client.get(ACCOUNTS, params={"cursor": "ZXY"}), "invalid_request")


async def test_only_administrators_of_all_events_look_after_others(gala: Api) -> None:
    ada, _ = await create(gala, "ada")
    _, operator = await create(gala, "olga", role="operator", all_events=True)
    _, bound = await create(gala, "otto", role="administrator", events=["gala"])
    token = gala.client_for("administrator", ["gala"])
    for client in (operator, bound, token, gala.client_for("member")):
        for method, path, body in (
            ("GET", ACCOUNTS, None),
            ("GET", f"{ACCOUNTS}/{ada}", None),
            ("PATCH", f"{ACCOUNTS}/{ada}", {"role": "administrator"}),
            ("PATCH", f"{ACCOUNTS}/me", {"role": "administrator", "all_events": True}),
            ("DELETE", f"{ACCOUNTS}/{ada}", None),
            ("PUT", f"{ACCOUNTS}/{ada}/password", {"new": PASSWORD}),
            ("GET", f"{ACCOUNTS}/{ada}/person", None),
            ("DELETE", f"{ACCOUNTS}/{ada}/person", None),
        ):
            if client is token and path.startswith(f"{ACCOUNTS}/me"):
                continue
            check_problem(await client.request(method, path, json=body), "forbidden")
    assert (await gala.client.get(f"{ACCOUNTS}/{ada}")).json()["role"] == "member"


async def test_accounts_nobody_has(api: Api) -> None:
    for id in ("f" * 32, "x", "%00", "a" * 300, "é", "..%20"):
        for method, path, body in (
            ("GET", f"{ACCOUNTS}/{id}", None),
            ("PATCH", f"{ACCOUNTS}/{id}", {"disabled": True}),
            ("DELETE", f"{ACCOUNTS}/{id}", None),
            ("PUT", f"{ACCOUNTS}/{id}/password", {"new": PASSWORD}),
            ("GET", f"{ACCOUNTS}/{id}/person", None),
            ("DELETE", f"{ACCOUNTS}/{id}/person", None),
        ):
            check_problem(await api.client.request(method, path, json=body), "unknown_account")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"),
        ({"role": None}, "invalid_request"),
        ({"role": "god"}, "invalid_request"),
        ({"disabled": "perhaps"}, "invalid_request"),
        ({"events": ["nope"]}, "unknown_event"),
        ({"events": ["a/b"]}, "invalid_request"),
        ({"events": ["gala"], "all_events": True}, "invalid_request"),
        ({"events": ["gala"] * 201}, "invalid_request"),
        ({"name": "other"}, "invalid_request"),
    ],
)
async def test_changes_that_cannot_be(gala: Api, body: Any, code: str) -> None:
    id, _ = await create(gala, "ada")
    before = (await gala.client.get(f"{ACCOUNTS}/{id}")).json()
    check_problem(await gala.client.patch(f"{ACCOUNTS}/{id}", json=body), code)
    assert (await gala.client.get(f"{ACCOUNTS}/{id}")).json() == before


async def test_a_disabled_account_ends_at_once_and_its_tokens_for_good(api: Api) -> None:
    id = await sign_up(api)
    tokens = await sign_in(api)
    await api.client.patch(f"{ACCOUNTS}/{id}", json={"disabled": True})
    check_problem(await bearer(api, tokens).get(WHO), "token_revoked")
    assert (await api.client.get(f"{ACCOUNTS}/{id}")).json()["disabled"]
    await api.client.patch(f"{ACCOUNTS}/{id}", json={"disabled": False})
    check_problem(await bearer(api, tokens).get(WHO), "token_revoked")
    assert (await bearer(api, await sign_in(api)).get(WHO)).status_code == 200


@pytest.mark.parametrize(
    "change", [{"role": "operator"}, {"disabled": True}, {"all_events": False}, {"events": ["gala"]}, None]
)
async def test_the_last_administrator_stays(gala: Api, change: dict[str, Any] | None) -> None:
    await create(gala, "otto", role="administrator", events=["gala"])  # who is bound administers nothing
    path = f"{ACCOUNTS}/{TESTER_ID}"
    method = "DELETE" if change is None else "PATCH"
    check_problem(await gala.client.request(method, path, json=change), "last_administrator")
    assert (await gala.client.get(path)).json()["all_events"]
    await create(gala, "ada", role="administrator", all_events=True)
    assert (await gala.client.request(method, path, json=change)).status_code in (200, 204)


async def test_of_two_administrators_who_resign_together_one_stays(api: Api) -> None:
    clients = [api.client, (await create(api, "ada", role="administrator", all_events=True))[1]]
    answers = await asyncio.gather(
        *(client.patch(f"{ACCOUNTS}/me", json={"role": "member"}) for client in clients)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]


# Passwords


async def test_a_new_password_ends_every_other_session(api: Api) -> None:
    await sign_up(api)
    here, there = await sign_in(api), await sign_in(api)
    path, new = f"{ACCOUNTS}/me/password", PASSWORD + "!"
    client = bearer(api, here)
    check_problem(await client.put(path, json={"new": new}), "invalid_request")
    check_problem(await client.put(path, json={"old": "wrong", "new": new}), "sign_in_failed")
    check_problem(await client.put(path, json={"old": PASSWORD, "new": "short"}), "weak_password")
    check_problem(await client.put(path, json={"old": PASSWORD, "new": "ada"}), "weak_password")
    assert (await bearer(api, there).get(WHO)).status_code == 200
    assert (await client.put(path, json={"old": PASSWORD, "new": new})).status_code == 204
    assert (await client.get(WHO)).status_code == 200
    check_problem(await bearer(api, there).get(WHO), "token_revoked")
    post = api.anonymous().post
    check_problem(
        await post("/v1/auth/sign-in", json={"name": "ada", "password": PASSWORD}), "sign_in_failed"
    )
    await sign_in(api, password=new)


async def test_an_administrator_sets_a_password_without_the_old(api: Api) -> None:
    id = await sign_up(api)
    tokens = await sign_in(api)
    answer = await api.client.put(f"{ACCOUNTS}/{id}/password", json={"new": "another passphrase"})
    assert answer.status_code == 204
    check_problem(await bearer(api, tokens).get(WHO), "token_revoked")
    await sign_in(api, password="another passphrase")


async def test_the_first_password_needs_no_old_one(api: Api) -> None:
    _, client = await create(api, "ada")
    assert (await client.put(f"{ACCOUNTS}/me/password", json={"new": PASSWORD})).status_code == 204
    await sign_in(api)


# The person an account owns


async def test_deleting_an_account_erases_its_person_and_faces(gala: Api) -> None:
    for person in ("ada", "bob"):
        await enrol(gala, person, person)
    id = await sign_up(gala)
    client = bearer(gala, await sign_in(gala))
    check_problem(await client.get(f"{ACCOUNTS}/me/person"), "unknown_person")
    link = {"event_id": "gala", "person_id": "ada"}
    check_problem(await client.put(f"{ACCOUNTS}/me/person", json=link), "forbidden")
    answer = await gala.client_for("operator", ["gala"]).put(f"{ACCOUNTS}/{id}/person", json=link)
    assert (answer.status_code, answer.json()) == (200, link)
    assert (await client.get(f"{ACCOUNTS}/me/person")).json() == link
    assert (await client.delete(f"{ACCOUNTS}/me")).status_code == 204
    check_problem(await client.get(WHO), "token_revoked")
    check_problem(await gala.client.get("/v1/events/gala/people/ada"), "unknown_person")
    assert {person for _, person, _ in gala.stages.gallery} == {"bob"}
    check_problem(await gala.client.get(f"{ACCOUNTS}/{id}"), "unknown_account")


async def test_a_failed_erasure_leaves_an_account_to_delete_again(gala: Api) -> None:
    await enrol(gala, "ada", "ada")
    id = await sign_up(gala)
    await gala.client.put(f"{ACCOUNTS}/{id}/person", json={"event_id": "gala", "person_id": "ada"})
    from serving.errors import StageUnavailable

    fail_next(gala.stages, "erase_person", StageUnavailable())
    check_problem(await gala.client.delete(f"{ACCOUNTS}/{id}"), "stage_unavailable")
    assert (await gala.client.get(f"{ACCOUNTS}/{id}/person")).status_code == 200
    assert (await gala.client.delete(f"{ACCOUNTS}/{id}")).status_code == 204
    assert gala.stages.gallery == {}


async def test_an_account_erases_its_person_and_stays(gala: Api) -> None:
    await enrol(gala, "ada", "ada")
    id = await sign_up(gala)
    await gala.client.put(f"{ACCOUNTS}/{id}/person", json={"event_id": "gala", "person_id": "ada"})
    client = bearer(gala, await sign_in(gala))
    await gala.client.post("/v1/events/gala/close")
    assert (await client.delete(f"{ACCOUNTS}/me/person")).status_code == 204
    assert gala.stages.gallery == {}
    check_problem(await client.delete(f"{ACCOUNTS}/me/person"), "unknown_person")
    assert (await client.get(WHO)).status_code == 200


async def test_links_that_cannot_be(gala: Api) -> None:
    await gala.create_event("other")
    for person in ("ada", "bob"):
        await enrol(gala, person, person)
    ada, bob = await sign_up(gala), await sign_up(gala, "bob")
    operator = gala.client_for("operator", ["gala"])
    for id, link, code in (
        (ada, {"event_id": "other", "person_id": "ada"}, "unknown_event"),
        (ada, {"event_id": "nope", "person_id": "ada"}, "unknown_event"),
        (ada, {"event_id": "gala", "person_id": "nobody"}, "unknown_person"),
        (ada, {"event_id": "gala", "person_id": "\x00"}, "unknown_person"),
        (ada, {"event_id": "gala"}, "invalid_request"),
        ("f" * 32, {"event_id": "gala", "person_id": "ada"}, "unknown_account"),
        ("é", {"event_id": "gala", "person_id": "ada"}, "unknown_account"),
    ):
        check_problem(await operator.put(f"{ACCOUNTS}/{id}/person", json=link), code)
    link = {"event_id": "gala", "person_id": "ada"}
    assert (await operator.put(f"{ACCOUNTS}/{ada}/person", json=link)).status_code == 200
    assert (await operator.put(f"{ACCOUNTS}/{ada}/person", json=link)).status_code == 200
    check_problem(await operator.put(f"{ACCOUNTS}/{bob}/person", json=link), "invalid_request")
    elsewhere = gala.client_for("operator", ["other"])
    await gala.client.post("/v1/events/other/people", params={"person_id": "eve"}, content=picture("eve"))
    link = {"event_id": "other", "person_id": "eve"}
    check_problem(await elsewhere.put(f"{ACCOUNTS}/{ada}/person", json=link), "forbidden")
    link = {"event_id": "gala", "person_id": "bob"}
    assert (await operator.put(f"{ACCOUNTS}/{ada}/person", json=link)).status_code == 200
    assert (await gala.client.get("/v1/events/gala/people/ada")).status_code == 200
    assert (await gala.client.delete("/v1/events/gala")).status_code == 204
    check_problem(await gala.client.get(f"{ACCOUNTS}/{ada}/person"), "unknown_person")
    assert (await gala.client.delete(f"{ACCOUNTS}/{ada}")).status_code == 204


async def test_operators_give_people_to_members_and_to_themselves_alone(gala: Api) -> None:
    for person in ("ada", "bob", "eve"):
        await enrol(gala, person, person)
    member, _ = await create(gala, "mia")
    other, _ = await create(gala, "olga", role="operator", all_events=True)
    _, operator = await create(gala, "otto", role="operator", events=["gala"])
    for id, person, code in ((TESTER_ID, "ada", "forbidden"), (other, "ada", "forbidden"),
                             (member, "ada", None), ("me", "bob", None)):  # fmt: skip
        answer = await operator.put(f"{ACCOUNTS}/{id}/person", json={"event_id": "gala", "person_id": person})
        if code is None:
            assert answer.status_code == 200, answer.text
        else:
            check_problem(answer, code)
    link = {"event_id": "gala", "person_id": "eve"}
    bound = gala.client_for("operator", ["gala"])
    check_problem(await bound.put(f"{ACCOUNTS}/me/person", json=link), "forbidden")
    assert (await gala.client.put(f"{ACCOUNTS}/{other}/person", json=link)).status_code == 200


async def test_every_route_about_callers_needs_one(api: Api) -> None:
    open_to_all = {("post", ACCOUNTS), ("post", "/v1/auth/sign-in"), ("post", "/v1/auth/sign-in/face"),
                   ("post", "/v1/auth/refresh")}  # fmt: skip
    tried = 0
    for path, methods in api.app.openapi()["paths"].items():
        if not path.startswith((ACCOUNTS, "/v1/auth", "/v1/api-keys")):
            continue
        for method in methods:
            if (method, path) not in open_to_all:
                url = path.replace("{account}", "me").replace("{key}", "x")
                check_problem(await api.anonymous().request(method, url), "token_missing")
                answer = await api.anonymous(Authorization="Bearer a.b.c").request(method, url)
                check_problem(answer, "token_invalid")
                tried += 1
    assert tried == 14
