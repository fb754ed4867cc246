"""Signing in, renewing, signing out; what revokes a token at once; rotation of the signing keys."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import Engine
from sqlalchemy import event as sqlalchemy_event

from serving.accounts import KeyRing, TokenVerifier
from serving.accounts.services import make_account_services
from serving.accounts.tables import session
from serving.database import Database
from tests.unit.api.api_fakes import picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import AUDIENCE, ISSUER, TESTER_ID, Api, Limiter

PASSWORD = "a passphrase of some length"
WHO = "/v1/auth/whoami"

pytestmark = pytest.mark.usefixtures("cheap_passwords")


async def sign_up(api: Api, name: str = "ada") -> str:
    """Create an account; its id."""
    answer = await api.anonymous().post("/v1/accounts", json={"name": name, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def sign_in(api: Api, name: str = "ada", password: str = PASSWORD) -> dict[str, Any]:
    answer = await api.anonymous().post("/v1/auth/sign-in", json={"name": name, "password": password})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def bearer(api: Api, tokens: dict[str, Any]) -> httpx.AsyncClient:
    return api.anonymous(Authorization=f"Bearer {tokens['access_token']}")


async def renew(api: Api, tokens: dict[str, Any]) -> httpx.Response:
    return await api.anonymous().post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})


async def enrol(api: Api, person: str, face: str) -> None:
    answer = await api.client.post(
        "/v1/events/gala/people", params={"person_id": person}, content=picture(face)
    )
    assert answer.status_code == 201, answer.text


@pytest_asyncio.fixture
async def ada(api: Api) -> AsyncIterator[str]:
    """The id of the account `ada`."""
    yield await sign_up(api)


async def test_a_sign_in_gives_an_access_token_and_a_refresh_token(api: Api, ada: str) -> None:
    tokens = await sign_in(api)
    assert set(tokens) == {"access_token", "token_type", "expires_in_s", "refresh_token"}
    assert (tokens["token_type"], tokens["expires_in_s"]) == ("Bearer", 900)
    who = (await bearer(api, tokens).get(WHO)).json()
    assert (who["kind"], who["id"], who["name"], who["role"]) == ("account", ada, "ada", "member")
    assert who["events"] == []
    assert who["permissions"] == ["recognise", "analyse", "read_events"]
    claims = api.services.verifier.verify(tokens["access_token"])
    assert claims.subject == ada
    assert claims.session_id
    assert claims.events is None


async def test_no_answer_tells_why_a_sign_in_failed(api: Api, ada: str) -> None:
    await api.client.post("/v1/accounts", json={"name": "bob"})  # without a password
    await sign_up(api, "eve")
    eve = (await sign_in(api, "eve"))["access_token"]
    id = (await api.anonymous(Authorization=f"Bearer {eve}").get(WHO)).json()["id"]
    assert (await api.client.patch(f"/v1/accounts/{id}", json={"disabled": True})).status_code == 200
    answers = []
    for name, password in (
        ("ada", PASSWORD + " "), ("ada", ""), ("nobody", PASSWORD), ("bob", PASSWORD), ("eve", PASSWORD),
        ("\x00'--", PASSWORD), ("ada", PASSWORD + "\x00"), ("ada\x00", PASSWORD), ("A" * 200, PASSWORD),
    ):  # fmt: skip
        answer = await api.anonymous().post("/v1/auth/sign-in", json={"name": name, "password": password})
        problem = check_problem(answer, "sign_in_failed")
        problem.pop("request_id")
        answers.append(problem)
    assert all(each == answers[0] for each in answers)


async def test_an_unknown_name_takes_as_long_as_a_wrong_password(
    api: Api, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    from serving.accounts import passwords

    verify = passwords._context.verify

    def counting(password: str, stored: str) -> Any:
        hashed.append(stored.split("$")[3])
        return verify(password, stored)

    monkeypatch.setattr(passwords._context, "verify", counting)
    for name in ("ada", "nobody"):
        answer = await api.anonymous().post("/v1/auth/sign-in", json={"name": name, "password": "wrong"})
        check_problem(answer, "sign_in_failed")
    assert len(hashed) == 2
    assert hashed[0] == hashed[1]  # the same cost


@pytest.mark.parametrize(
    "body", [{}, [], {"name": "ada"}, {"name": 1, "password": "x"}, {"name": "ada", "password": "x" * 1025},
             {"name": "ada", "password": "x", "role": "administrator"}]
)  # fmt: skip
async def test_sign_ins_of_another_form(api: Api, body: Any) -> None:
    check_problem(await api.anonymous().post("/v1/auth/sign-in", json=body), "invalid_request")


async def test_failed_sign_ins_slow_down(api: Api, ada: str, limiter: Limiter) -> None:
    post = api.anonymous().post
    for _ in range(3):
        answer = await post("/v1/auth/sign-in", json={"name": "ada", "password": "x"})
        check_problem(answer, "sign_in_failed")
    check_problem(await post("/v1/auth/sign-in", json={"name": "ada", "password": PASSWORD}), "rate_limited")
    assert limiter.failures == ["ada"] * 3


async def test_guessing_the_old_password_slows_down_too(api: Api, ada: str, limiter: Limiter) -> None:
    client = bearer(api, await sign_in(api))
    for _ in range(3):
        answer = await client.put("/v1/accounts/me/password", json={"old": "x", "new": "y" * 20})
        check_problem(answer, "sign_in_failed")
    answer = await client.put("/v1/accounts/me/password", json={"old": PASSWORD, "new": "y" * 20})
    check_problem(answer, "rate_limited")


async def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_session(api: Api, ada: str) -> None:
    first = await sign_in(api)
    second = (await renew(api, first)).json()
    assert second["refresh_token"] != first["refresh_token"]
    for tokens in (first, second):  # the access token of before is good until it expires
        assert (await bearer(api, tokens).get(WHO)).status_code == 200
    check_problem(await renew(api, first), "token_revoked")
    check_problem(await renew(api, second), "token_revoked")
    for tokens in (first, second):
        check_problem(await bearer(api, tokens).get(WHO), "token_revoked")


async def test_of_two_renewals_at_once_one_succeeds(api: Api, ada: str) -> None:
    tokens = await sign_in(api)
    answers = await asyncio.gather(*(renew(api, tokens) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


async def test_a_session_ends_without_renewal(make_api: Callable[..., Awaitable[Api]]) -> None:
    api = await make_api(auth={"session_lifetime_s": 300})
    await sign_up(api)
    tokens = await sign_in(api)
    database: Database = api.services.accounts.accounts._database
    await database.write(
        lambda connection: (
            connection.execute(session.update().values(expires_at=session.c.created_at)).rowcount
        )
    )
    check_problem(await renew(api, tokens), "token_expired")
    check_problem(await bearer(api, tokens).get(WHO), "token_revoked")
    await sign_in(api)  # which forgets those that are over
    check_problem(await renew(api, tokens), "token_invalid")


async def test_garbage_is_no_refresh_token(api: Api, ada: str) -> None:
    tokens = await sign_in(api)
    session_id = tokens["refresh_token"].split("_")[1]
    for text in (
        "", "x", "rcr_", "rcr__", "rcr_x_y", "rcr_é_y", "rcr_'_y", "rcr_" + "0" * 32 + "_y", "_" * 90,
        tokens["access_token"], f"rck_{session_id}_y", f"rcr_{session_id}" + "x" * 4000,
    ):  # fmt: skip
        check_problem(await renew(api, {"refresh_token": text}), "token_invalid")
    assert (await renew(api, tokens)).status_code == 200


async def test_a_refresh_token_opens_no_other_route(api: Api, ada: str) -> None:
    text = (await sign_in(api))["refresh_token"]
    check_problem(await api.anonymous(Authorization=f"Bearer {text}").get(WHO), "token_invalid")
    check_problem(await api.anonymous(**{"X-API-Key": text}).get(WHO), "api_key_invalid")


async def test_signing_out_ends_one_session_or_all(api: Api, ada: str) -> None:
    signed_in = [await sign_in(api) for _ in range(3)]
    made = api.services.accounts.issuer.issue(ada, "member", None, 600)
    await asyncio.sleep(0)
    assert (await bearer(api, signed_in[0]).post("/v1/auth/sign-out")).status_code == 204
    check_problem(await bearer(api, signed_in[0]).get(WHO), "token_revoked")
    check_problem(await renew(api, signed_in[0]), "token_revoked")
    assert (await bearer(api, signed_in[1]).get(WHO)).status_code == 200
    answer = await bearer(api, signed_in[1]).post("/v1/auth/sign-out", params={"everywhere": True})
    assert answer.status_code == 204
    for tokens in signed_in:
        check_problem(await bearer(api, tokens).get(WHO), "token_revoked")
    check_problem(await api.anonymous(Authorization=f"Bearer {made}").get(WHO), "token_revoked")
    assert (await bearer(api, await sign_in(api)).get(WHO)).status_code == 200


async def test_who_never_signed_in_has_no_session_to_end(api: Api) -> None:
    check_problem(await api.client.post("/v1/auth/sign-out"), "forbidden")
    bound = api.client_for("administrator", ["gala"])
    check_problem(await bound.post("/v1/auth/sign-out", params={"everywhere": True}), "forbidden")


async def test_a_token_of_nobody_is_revoked(api: Api) -> None:
    token = api.services.accounts.issuer.issue("f" * 32, "administrator", None, 600)
    check_problem(await api.anonymous(Authorization=f"Bearer {token}").get(WHO), "token_revoked")


async def test_another_replica_knows_of_a_revocation_at_once(api: Api, ada: str) -> None:
    tokens = await sign_in(api)
    url = api.services.accounts.accounts._database._url
    database = Database(url, migrate_on_open=False)
    await database.open()
    other = make_account_services(database, api.services.accounts.key_ring, api.services.settings.auth)
    await bearer(api, tokens).get(WHO)
    await other.sessions.end_all(ada)
    check_problem(await bearer(api, tokens).get(WHO), "token_revoked")
    await database.close()


async def test_the_role_is_the_lesser_of_token_and_account(api: Api, ada: str) -> None:
    async def role_of(role: str) -> str:
        token = api.services.accounts.issuer.issue(ada, role, None, 600)
        return str((await api.anonymous(Authorization=f"Bearer {token}").get(WHO)).json()["role"])

    assert await role_of("administrator") == "member"
    await api.client.patch(f"/v1/accounts/{ada}", json={"role": "operator"})
    assert [await role_of(each) for each in ("administrator", "operator", "member")] == [
        "operator",
        "operator",
        "member",
    ]


async def test_the_reach_is_what_token_and_account_both_allow(api: Api, ada: str) -> None:
    for event in ("one", "two", "three"):
        await api.create_event(event)
    await api.client.patch(f"/v1/accounts/{ada}", json={"events": ["one", "two"]})

    async def reach(events: list[str] | None) -> Any:
        token = api.services.accounts.issuer.issue(ada, "member", events, 600)
        return (await api.anonymous(Authorization=f"Bearer {token}").get(WHO)).json()["events"]

    assert await reach(None) == ["one", "two"]
    assert await reach(["two", "three"]) == ["two"]
    assert await reach([]) == []
    await api.client.delete("/v1/events/two")
    await api.create_event("two")  # another event, for which nothing was granted
    assert await reach(None) == ["one"]
    await api.client.patch(f"/v1/accounts/{ada}", json={"all_events": True})
    assert await reach(None) is None


@pytest.mark.parametrize("bound", [False, True])
async def test_looking_up_an_identity_takes_few_statements(api: Api, ada: str, bound: bool) -> None:
    """It is part of every request: one, and one for all the events that a credential is bound to."""
    claims = api.services.verifier.verify((await sign_in(api))["access_token"])
    if bound:
        ids = ["one", "two", "three"]
        for event in ids:
            await api.create_event(event)
        claims = api.services.verifier.verify(api.token_for("member", ids))
    statements: list[str] = []

    def remember(connection: object, cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    sqlalchemy_event.listen(Engine, "before_cursor_execute", remember)
    try:
        await api.services.accounts.access.identify_bearer(claims)
    finally:
        sqlalchemy_event.remove(Engine, "before_cursor_execute", remember)
    assert len(statements) == 1 + bound, statements


async def test_two_credentials_at_once_are_refused(api: Api) -> None:
    answer = await api.client.get(WHO, headers={"X-API-Key": "rck_a_b"})
    check_problem(answer, "invalid_request")


# Signing keys


async def test_rotation_signs_nobody_out(make_api: Callable[..., Awaitable[Api]], tmp_path: Path) -> None:
    api = await make_api()
    here = KeyRing(tmp_path / "ring").load_or_create()
    there = KeyRing(tmp_path / "ring").load()  # another replica's
    services = api.services.accounts
    services = make_account_services(services.accounts._database, here, api.services.settings.auth)
    replica = dataclasses.replace(
        api.services, accounts=services, verifier=TokenVerifier(there, ISSUER, AUDIENCE)
    )
    api.app.state.services = replica
    old = services.issuer.issue(TESTER_ID, "administrator", None, 600)
    client = api.anonymous(Authorization=f"Bearer {old}")
    answer = await client.post("/v1/auth/keys/rotate")
    assert answer.status_code == 200, answer.text
    kid = answer.json()["kid"]
    new = services.issuer.issue(TESTER_ID, "administrator", None, 600)
    for token in (new, old):  # at once, without any rescan interval
        assert (await api.anonymous(Authorization=f"Bearer {token}").get(WHO)).status_code == 200
    published = await api.anonymous().get("/.well-known/jwks.json")
    assert published.headers["cache-control"] == "public, max-age=60"
    keys = published.json()["keys"]
    assert kid in [key["kid"] for key in keys]
    assert len(keys) == 2
    assert all(set(key) == {"kty", "crv", "x", "kid", "use", "alg"} for key in keys)


async def test_only_administrators_of_all_events_rotate(api: Api) -> None:
    for client in (api.client_for("operator"), api.client_for("administrator", ["gala"])):
        check_problem(await client.post("/v1/auth/keys/rotate"), "forbidden")
