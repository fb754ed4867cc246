"""API keys: what they may do, how they are shown, and how they end."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

from serving.accounts import api_keys
from serving.accounts.identities import Scope
from tests.unit.api.api_fakes import picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import TESTER_ID, Api

KEYS, WHO = "/v1/api-keys", "/v1/auth/whoami"


async def make(api: Api, client: httpx.AsyncClient | None = None, **fields: Any) -> dict[str, Any]:
    body = {"name": "camera", "scopes": ["recognise"], "events": ["gala"], **fields}
    answer = await (client or api.client).post(KEYS, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def using(api: Api, made: dict[str, Any]) -> httpx.AsyncClient:
    return api.anonymous(**{"X-API-Key": made["key"]})


async def who(api: Api, made: dict[str, Any]) -> dict[str, Any]:
    answer = await using(api, made).get(WHO)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_key_is_shown_once_and_works_in_both_headers(gala: Api) -> None:
    made = await make(gala)
    prefix, id, secret = made["key"].split("_", 2)
    assert (prefix, id, len(secret)) == ("rck", made["id"], 43)
    for client in (using(gala, made), gala.anonymous(Authorization=f"Bearer {made['key']}")):
        answer = (await client.get(WHO)).json()
        assert (answer["kind"], answer["id"], answer["role"]) == ("api_key", made["id"], None)
        assert (answer["events"], answer["expires_at"]) == (["gala"], None)
    listed = await gala.client.get(KEYS)
    assert secret not in listed.text
    assert [key["id"] for key in listed.json()["api_keys"]] == [made["id"]]


async def test_the_secret_is_not_stored(gala: Api) -> None:
    secret = (await make(gala))["key"].split("_", 2)[2]
    path = gala.services.accounts.accounts._database._parsed.database
    with sqlite3.connect(str(path)) as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    assert "camera" in dump
    assert secret not in dump


PERMISSIONS = {
    Scope.recognise: {"recognise", "analyse", "read_events"},
    Scope.enrol: {"enrol", "read_events"},
    Scope.read: {"read_events", "read_people"},
    Scope.manage: {
        "read_events", "read_people", "erase_people", "export_people", "manage_events", "read_audit",
    },
}  # fmt: skip


@pytest.mark.parametrize("scope", Scope)
async def test_what_each_scope_may_do(gala: Api, scope: Scope) -> None:
    made = await make(gala, scopes=[scope.value])
    assert set((await who(gala, made))["permissions"]) == PERMISSIONS[scope]
    client, ada = using(gala, made), picture("ada")
    expected = {
        ("POST", "/v1/events/gala/recognise"): Scope.recognise,
        ("POST", "/v1/events/gala/people"): Scope.enrol,
        ("GET", "/v1/events/gala/people"): Scope.read,
        ("DELETE", "/v1/events/gala/people/nobody"): Scope.manage,
    }
    for (method, path), needed in expected.items():
        answer = await client.request(method, path, content=ada if method == "POST" else None)
        allowed = scope is needed or (scope is Scope.manage and needed is Scope.read)
        assert (answer.status_code != 403) == allowed, (path, answer.text)
        if not allowed:
            assert answer.json()["context"]["needs"].startswith("the scope ")


async def test_scopes_add_up(gala: Api) -> None:
    made = await make(gala, scopes=["read", "enrol"])
    expected = PERMISSIONS[Scope.read] | PERMISSIONS[Scope.enrol]
    assert set((await who(gala, made))["permissions"]) == expected


async def test_a_key_makes_no_keys_and_manages_no_accounts(gala: Api) -> None:
    made = await make(gala, scopes=[scope.value for scope in Scope], events=None, all_events=True)
    client = using(gala, made)
    for method, path in (
        ("POST", KEYS), ("GET", KEYS), ("DELETE", f"{KEYS}/{made['id']}"), ("GET", "/v1/accounts"),
        ("GET", "/v1/accounts/me"), ("DELETE", "/v1/accounts/me"), ("PUT", "/v1/accounts/me/person"),
        ("PUT", "/v1/accounts/me/password"), ("POST", "/v1/auth/keys/rotate"), ("POST", "/v1/auth/sign-out"),
        ("DELETE", "/v1/accounts/me/person"), ("PATCH", "/v1/accounts/" + TESTER_ID),
    ):  # fmt: skip
        check_problem(await client.request(method, path, json={}), "forbidden")


def changed(text: str, place: int) -> str:
    return text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]


async def test_no_other_text_is_the_key(gala: Api) -> None:
    key = (await make(gala))["key"]
    other = (await make(gala))["key"]
    mixed = "_".join([*key.split("_", 2)[:2], other.split("_", 2)[2]])
    texts = (
        changed(key, len(key) - 2), changed(key, 8), key[:-1], key + "x", key.upper(), mixed, "rck_", "rck__",
        "rck_x", "rck_'--_x", "rck_é_x", "rck_" + "x" * 3000, key.replace("rck", "rcr"),
    )  # fmt: skip
    for text in texts:
        headers = {b"X-API-Key": text.encode()}
        check_problem(await gala.anonymous().get(WHO, headers=headers), "api_key_invalid")


async def test_a_revoked_key_and_an_expired_one(gala: Api) -> None:
    made = await make(gala)
    soon = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
    expiring = await make(gala, expires_at=soon)
    assert (await who(gala, expiring))["expires_at"] is not None
    assert (await gala.client.delete(f"{KEYS}/{made['id']}")).status_code == 204
    check_problem(await using(gala, made).get(WHO), "api_key_invalid")
    check_problem(await gala.client.delete(f"{KEYS}/{made['id']}"), "unknown_api_key")
    listed = {key["id"]: key for key in (await gala.client.get(KEYS)).json()["api_keys"]}
    assert listed[made["id"]]["revoked_at"] is not None
    database = gala.services.accounts.accounts._database
    past = datetime.now(timezone.utc) - timedelta(seconds=1)
    await database.write(
        lambda connection: connection.execute(api_keys.api_key.update().values(expires_at=past)).rowcount
    )
    check_problem(await using(gala, expiring).get(WHO), "api_key_invalid")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"scopes": []}, "invalid_request"),
        ({"scopes": ["administrator"]}, "invalid_request"),
        ({"events": None}, "invalid_request"),
        ({"events": []}, "invalid_request"),
        ({"all_events": True}, "invalid_request"),
        ({"events": ["nope"]}, "unknown_event"),
        ({"events": ["a/b"]}, "invalid_request"),
        ({"events": ["gala"] * 201}, "invalid_request"),
        ({"name": ""}, "invalid_request"),
        ({"name": "a\x00"}, "invalid_request"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "invalid_request"),
        ({"expires_at": "2090-01-01T00:00:00"}, "invalid_request"),
        ({"expires_at": "tomorrow"}, "invalid_request"),
        ({"account": "x"}, "invalid_request"),
    ],
)
async def test_keys_that_cannot_be(gala: Api, fields: dict[str, Any], code: str) -> None:
    body = {"name": "camera", "scopes": ["read"], "events": ["gala"], **fields}
    check_problem(await gala.client.post(KEYS, json=body), code)
    assert (await gala.client.get(KEYS)).json()["api_keys"] == []


async def test_no_key_reaches_more_than_its_maker(gala: Api) -> None:
    await gala.create_event("other")
    bound = gala.client_for("operator", ["gala"])
    for fields in ({"events": ["other"]}, {"events": ["gala", "other"]}):
        body = {"name": "k", "scopes": ["read"], **fields}
        check_problem(await bound.post(KEYS, json=body), "unknown_event")
    body = {"name": "k", "scopes": ["read"], "all_events": True}
    check_problem(await bound.post(KEYS, json=body), "forbidden")
    check_problem(await gala.client_for("member").post(KEYS, json=body), "forbidden")
    made = await make(gala, bound)
    assert (await who(gala, made))["events"] == ["gala"]


async def test_a_key_follows_its_account(gala: Api) -> None:
    await gala.create_event("other")
    created = (await gala.client.post("/v1/accounts", json={"name": "olga", "role": "operator",
                                                           "all_events": True})).json()  # fmt: skip
    path = f"/v1/accounts/{created['id']}"
    token = gala.services.accounts.issuer.issue(created["id"], "operator", None, 600)
    olga = gala.anonymous(Authorization=f"Bearer {token}")
    bound = await make(gala, olga, events=["gala", "other"], scopes=["manage"])
    all_events = await make(gala, olga, events=None, all_events=True, scopes=["manage"])
    assert (await who(gala, bound))["events"] == ["gala", "other"]
    assert (await who(gala, all_events))["events"] is None
    await gala.client.patch(path, json={"events": ["other"]})
    assert (await who(gala, bound))["events"] == ["other"]
    assert (await who(gala, all_events))["events"] == ["other"]
    await gala.client.patch(path, json={"role": "member"})
    assert (await who(gala, bound))["permissions"] == ["read_events"]
    await gala.client.patch(path, json={"disabled": True})
    check_problem(await using(gala, bound).get(WHO), "api_key_invalid")
    await gala.client.patch(path, json={"disabled": False})
    assert (await who(gala, bound))["events"] == ["other"]
    assert (await gala.client.delete(path)).status_code == 204
    check_problem(await using(gala, bound).get(WHO), "api_key_invalid")


async def test_who_sees_and_revokes_which_keys(gala: Api) -> None:
    await gala.create_event("other")
    clients, keys = {}, {}
    for name in ("olga", "otto"):
        account = {"name": name, "role": "operator", "all_events": True}
        id = (await gala.client.post("/v1/accounts", json=account)).json()["id"]
        token = gala.services.accounts.issuer.issue(id, "operator", None, 600)
        clients[name] = gala.anonymous(Authorization=f"Bearer {token}")
        keys[name] = (await make(gala, clients[name], name=name, events=["gala"]))["id"]
        keys[name, "other"] = (await make(gala, clients[name], events=["gala", "other"]))["id"]
        bound = gala.services.accounts.issuer.issue(id, "operator", ["gala"], 600)
        clients[name, "bound"] = gala.anonymous(Authorization=f"Bearer {bound}")

    async def sight(client: httpx.AsyncClient) -> set[str]:
        return {key["id"] for key in (await client.get(KEYS)).json()["api_keys"]}

    assert await sight(gala.client) == set(keys.values())
    assert await sight(clients["olga"]) == {keys["olga"], keys["olga", "other"]}
    assert await sight(clients["olga", "bound"]) == {keys["olga"]}
    for client, key in (
        (clients["olga"], keys["otto"]), (clients["olga", "bound"], keys["olga", "other"]),
        (gala.client, "x"), (gala.client, "'--"), (gala.client, "é"),
    ):  # fmt: skip
        check_problem(await client.delete(f"{KEYS}/{key}"), "unknown_api_key")
    assert (await clients["olga", "bound"].delete(f"{KEYS}/{keys['olga']}")).status_code == 204
    assert (await gala.client.delete(f"{KEYS}/{keys['otto']}")).status_code == 204


async def test_pages_of_keys(gala: Api) -> None:
    ids = {(await make(gala))["id"] for _ in range(5)}
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while cursor is not None:
        page = (await gala.client.get(KEYS, params={"limit": 2, **cursor})).json()
        seen += [key["id"] for key in page["api_keys"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(seen) == 5
    assert set(seen) == ids


async def test_an_account_has_so_many_keys(gala: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_KEYS", 2)
    first = await make(gala)
    await make(gala)
    body = {"name": "k", "scopes": ["read"], "events": ["gala"]}
    check_problem(await gala.client.post(KEYS, json=body), "invalid_request")
    await gala.client.delete(f"{KEYS}/{first['id']}")
    await make(gala)


async def test_the_last_use_is_noted_once_a_minute(gala: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await make(gala)
    keys = gala.services.accounts.api_keys
    writes: list[str] = []
    write = keys._write_use

    async def counting(id: str) -> None:
        writes.append(id)
        await write(id)

    monkeypatch.setattr(keys, "_write_use", counting)
    for _ in range(3):
        await who(gala, made)
    await keys.finish_notes()
    assert writes == [made["id"]]
    shown = (await gala.client.get(KEYS)).json()["api_keys"][0]
    used_at = datetime.fromisoformat(shown["last_used_at"].replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - used_at).total_seconds()) < 60
    now_s = api_keys.time.monotonic()
    monkeypatch.setattr(api_keys.time, "monotonic", lambda: now_s + api_keys.NOTED_EVERY_S)
    await who(gala, made)
    await keys.finish_notes()
    assert len(writes) == 2
