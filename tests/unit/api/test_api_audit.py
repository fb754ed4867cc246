"""The audit trail through the routes: what is in it, what never is, and who may read which part."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from serving.api.audit_middleware import AuditMiddleware
from serving.api.callers import CallerWatch
from serving.api.route_index import RouteIndex
from serving.api.stream.report import FACTS
from serving.database import Database
from serving.errors import StageUnavailable
from tests.unit.api.api_fakes import fail_next, picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA, EVE = picture("ada"), picture("eve")
PEOPLE, RECOGNISE, AUDIT = "/v1/events/gala/people", "/v1/events/gala/recognise", "/v1/audit"


async def entries(api: Api, client: Any = None, **query: Any) -> list[dict[str, Any]]:
    """What the trail answers, oldest first, without the reading of it."""
    await api.services.audit.flush()
    answer = await (client or api.client).get(AUDIT, params={"limit": 1000, **query})
    assert answer.status_code == 200, answer.text
    found = [each for each in answer.json()["entries"] if not each["action"].startswith("audit.")]
    return found[::-1]


async def actions(api: Api, **query: Any) -> list[tuple[str, str]]:
    return [(each["action"], each["outcome"]) for each in await entries(api, **query)]


def index_of(app: Any) -> RouteIndex:
    return next(each.kwargs["index"] for each in app.user_middleware if each.cls is CallerWatch)


def test_every_action_is_documented(shared_app: Any, repository: Path) -> None:
    """docs/audit.md lists the actions that entries can have, and no other."""
    page = (repository / "docs" / "audit.md").read_text()
    documented = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", page, re.MULTILINE)
    routes = index_of(shared_app).routes
    existing = {
        route.action for route in routes if route.is_change or route.is_personal_read or route.is_recognition
    }
    without_route = {"access.denied", "audit.lost", "jobs.finish", FACTS.action}
    assert sorted(documented) == sorted(existing | without_route)


def test_no_two_routes_share_an_action(shared_app: Any) -> None:
    routes = index_of(shared_app).routes
    assert len({route.action for route in routes}) == len(routes)


def test_the_application_finds_routes_by_the_index(shared_app: Any) -> None:
    index = index_of(shared_app)
    documented = {
        (method.upper(), path)
        for path, methods in shared_app.openapi()["paths"].items()
        for method in methods
    }
    assert documented <= {(route.method, route.path) for route in index.routes}
    for method, path in documented:
        found = index.find(method, re.sub(r"\{(\w+)\}", r"some-\1", path))
        assert found is not None
        assert found.facts.path == path
        assert found.event == ("some-event" if "{event}" in path else None)


async def test_who_did_what_to_which_event_and_person(gala: Api) -> None:
    headers = {"X-Request-ID": "trace-1", "X-Forwarded-For": "203.0.113.9"}
    await gala.enrol("ada", ADA)
    answer = await gala.client.delete(PEOPLE + "/ada", headers=headers)
    assert answer.status_code == 204
    check_problem(await gala.client.delete(PEOPLE + "/ada"), "unknown_person")
    created, enrolled, deleted, failed = await entries(gala)
    assert (created["action"], created["status"]) == ("events.create", 201)
    assert (enrolled["action"], enrolled["event_id"], enrolled["status"]) == ("people.enrol", "gala", 201)
    assert deleted["at"] >= enrolled["at"]
    assert deleted["at"].endswith("Z")
    assert {name: deleted[name] for name in deleted if name not in ("at", "id", "actor_id", "actor")} == {
        "actor_kind": "account",
        "action": "people.delete",
        "event_id": "gala",
        "person_id": "ada",
        "outcome": "ok",
        "status": 204,
        "address": None,  # no proxy is trusted
        "request_id": "trace-1",
        "details": None,
    }
    assert deleted["actor"]
    assert deleted["actor_id"]
    assert (failed["outcome"], failed["status"]) == ("unknown_person", 404)


@pytest.mark.parametrize(("path", "action"), [("", "delete"), ("/person", "delete_person")])
async def test_who_is_erased_with_an_account_is_named_with_the_event(
    gala: Api, path: str, action: str
) -> None:
    await gala.enrol("ada", ADA)
    account = (await gala.client.post("/v1/accounts", json={"name": "ada"})).json()["id"]
    await gala.client.put(f"/v1/accounts/{account}/person", json={"event_id": "gala", "person_id": "ada"})
    assert (await gala.client.delete(f"/v1/accounts/{account}{path}")).status_code == 204
    last = (await entries(gala, gala.client_for("operator", ["gala"]), person="ada"))[-1]
    assert (last["action"], last["event_id"], last["details"]) == (
        f"accounts.{action}",
        "gala",
        {"account": account},
    )


async def test_the_address_is_written_where_a_proxy_vouches_for_it(make_api: Callable[..., Any]) -> None:
    api = await make_api(web={"trusted_proxies": "10.0.0.0/8"})
    headers = {"X-Rollcall-Peer": "10.0.0.1", "X-Forwarded-For": "6.6.6.6, 192.0.2.7"}
    await api.client.post("/v1/events", json={"id": "gala"}, headers=headers)
    assert [each["address"] for each in await entries(api)] == ["192.0.2.7"]


async def test_a_change_is_in_the_trail_before_it_is_answered(gala: Api) -> None:
    at_answer: list[int] = []
    count = "SELECT count(*) FROM audit_entry WHERE action = 'people.delete'"

    def read(connection: Connection) -> int:
        return int(connection.execute(text(count)).scalar_one())

    inner = gala.app

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def look(message: Any) -> None:
            if message["type"] == "http.response.start":
                at_answer.append(await gala.services.audit._database.read(read))
            await send(message)

        await inner(scope, receive, look)

    import httpx

    transport = httpx.ASGITransport(app=app)
    headers = {"Authorization": f"Bearer {gala.token_for()}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
        await client.delete(PEOPLE + "/nobody")
        await client.delete(PEOPLE + "/nobody")
    assert at_answer == [1, 2]


async def test_reading_about_people_is_in_the_trail_and_other_reading_is_not(gala: Api) -> None:
    before = len(await entries(gala))
    for path in (
        "/v1/events",
        "/v1/events/gala",
        "/v1/model",
        "/healthz",
        "/docs",
        "/openapi.json",
        "/nowhere",
    ):
        await gala.client.get(path)
    assert len(await entries(gala)) == before
    await gala.client.get(PEOPLE)
    await gala.client.get(PEOPLE + "/ada")
    assert (await actions(gala))[before:] == [("people.list", "ok"), ("people.get", "unknown_person")]


@pytest.mark.parametrize("recorded", [True, False])
async def test_recognitions_are_in_the_trail_unless_the_settings_say_no(
    make_api: Callable[..., Any], recorded: bool
) -> None:
    api = await make_api(audit={"recognitions": recorded})
    await api.create_event()
    await api.client.post(RECOGNISE, content=ADA)
    await api.client.post(RECOGNISE, content=b"no picture")
    expected = [("recognition.recognise", "ok"), ("recognition.recognise", "not_an_image")]
    assert (await actions(api))[1:] == (expected if recorded else [])


async def test_what_is_denied_is_in_the_trail_and_a_flood_of_it_is_one_more_entry(gala: Api) -> None:
    before = len(await entries(gala))
    member = gala.client_for("member", ["gala"])
    for _ in range(3):
        check_problem(await member.delete(PEOPLE + "/ada"), "forbidden")
    for _ in range(100):
        check_problem(await gala.anonymous().get(PEOPLE), "token_missing")
    gala.services.audit._refusals.end_window()
    found = (await entries(gala))[before:]
    assert [(each["action"], each["outcome"], each["details"]) for each in found] == [
        ("people.delete", "forbidden", None),
        ("people.list", "token_missing", None),
        ("people.delete", "forbidden", {"repeated": 2}),
        ("access.denied", "token_missing", {"repeated": 99}),
    ]
    assert [each["actor_kind"] for each in found] == ["account", "anonymous"] * 2


async def test_a_bug_is_in_the_trail(gala: Api) -> None:
    fail_next(gala.stages, "detect", KeyError("words"))
    assert (await gala.client.post(PEOPLE, content=ADA)).status_code == 500
    assert (await actions(gala))[-1] == ("people.enrol", "internal_error")


async def test_no_face_picture_or_secret_is_ever_in_it(gala: Api) -> None:
    token = gala.token_for()
    secrets = {
        "token": token,
        "key": "rck_" + "k3y" * 12,
        "password": "correct horse battery staple",
        "picture": base64.b64encode(ADA).decode(),
        "vector": json.dumps([0.6180339887] * 128),
    }
    for secret in secrets.values():
        for method, path in (
            ("POST", f"/v1/events/{secret}/recognise"),
            ("DELETE", f"{PEOPLE}/{secret}"),
            ("GET", f"{PEOPLE}/{secret}"),
            ("POST", PEOPLE),
            ("POST", "/v1/accounts"),
            ("POST", "/v1/auth/sign-in"),
            ("PUT", "/v1/accounts/me/password"),
        ):
            body = {"password": secret, "name": secret, "picture": secret, "vector": secret, "id": secret}
            query = {"person_id": secret, "name": secret, "token": secret}
            headers = {"X-Request-ID": secret, "X-API-Key": secret, "User-Agent": secret}
            await gala.client.request(method, path, json=body, params=query)
            await gala.anonymous(**headers).request(method, path, json=body, params=query)
            await gala.anonymous(Authorization=f"Bearer {secret}").request(method, path, json=body)
    await gala.enrol("ada", ADA)
    await gala.recognise(ADA)
    gala.services.audit._refusals.end_window()
    await gala.services.audit.flush()

    def dump(connection: Connection) -> str:
        return "\n".join(map(str, connection.execute(text("SELECT * FROM audit_entry")).all()))

    table = await gala.services.audit._database.read(dump)
    assert table.count("\n") > 10
    for name, secret in secrets.items():
        for part in {secret, secret[:60], secret[-60:]}:
            assert part not in table, name
    assert "6180339887" not in table


async def test_a_reader_sees_the_events_within_reach_only(gala: Api) -> None:
    await gala.create_event("other")
    await gala.enrol("ada", ADA)
    await gala.enrol("eve", EVE, event="other")
    bound = gala.client_for("operator", ["other"])
    assert {each["event_id"] for each in await entries(gala, bound)} == {"other"}
    check_problem(await bound.get(AUDIT, params={"event": "gala"}), "unknown_event")
    check_problem(await bound.get(AUDIT + "/export", params={"event": "gala"}), "unknown_event")
    lines = (await bound.get(AUDIT + "/export")).text.splitlines()
    assert {json.loads(line)["event_id"] for line in lines} == {"other"}
    check_problem(await gala.client_for("member").get(AUDIT), "forbidden")
    check_problem(await gala.anonymous().get(AUDIT + "/export"), "token_missing")


async def test_an_event_made_anew_shows_nothing_of_the_one_before(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    assert (await gala.client.delete("/v1/events/gala")).status_code == 204
    await gala.create_event("gala")
    await gala.enrol("eve", EVE)
    bound = gala.client_for("operator", ["gala"])
    for query in ({}, {"event": "gala"}):
        found = await entries(gala, bound, **query)
        assert [(each["action"], each["person_id"]) for each in found] == [
            ("events.create", None),
            ("people.enrol", "eve"),
        ]
    assert len(await entries(gala, event="gala")) == 5


async def test_filters_and_pages(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    await gala.enrol("eve", EVE)
    await gala.client.delete(PEOPLE + "/ada")
    await gala.client.delete(PEOPLE + "/ada")
    everything = await entries(gala)
    assert await actions(gala, person="ada", action="people.delete") == [
        ("people.delete", "ok"),
        ("people.delete", "unknown_person"),
    ]
    assert await actions(gala, outcome="unknown_person") == [("people.delete", "unknown_person")]
    assert await actions(gala, event="nope") == []
    third = everything[2]["at"]
    assert await entries(gala, **{"from": third}) == everything[2:]
    assert await entries(gala, to=third) == everything[:2]
    query: dict[str, Any] = {"limit": 2, "event": "gala"}
    found = []
    for _ in range(10):
        page = (await gala.client.get(AUDIT, params=query)).json()
        found += page["entries"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == [each for each in everything[::-1] if each["event_id"] == "gala"]


@pytest.mark.parametrize(
    "query",
    [{"from": "yesterday"}, {"from": "2026-01-01T00:00:00"}, {"to": "0001-01-01T00:00:00+14:00"},
     {"limit": 0}, {"limit": 1001}, {"cursor": "!"}, {"event": "\x00"}, {"actor": "x" * 201}]
)  # fmt: skip
async def test_questions_that_cannot_be_answered(gala: Api, query: dict[str, Any]) -> None:
    check_problem(await gala.client.get(AUDIT, params=query), "invalid_request")


async def test_exports_are_what_the_pages_are(gala: Api) -> None:
    for n in range(5):
        await gala.enrol(f"p{n}", picture(f"p{n}"))
    everything = await entries(gala)
    answer = await gala.client.get(AUDIT + "/export", params={"event": "gala"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines == [each for each in everything[::-1] if each["event_id"] == "gala"]
    answer = await gala.client.get(AUDIT + "/export", params={"event": "gala", "format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["action"] for row in rows] == [each["action"] for each in lines]
    check_problem(await gala.client.get(AUDIT + "/export", params={"format": "xml"}), "invalid_request")
    empty = await gala.client.get(AUDIT + "/export", params={"event": "nope", "format": "csv"})
    assert empty.text.count("\r\n") == 1


async def test_a_spreadsheet_calculates_nothing(gala: Api) -> None:
    from serving.audit.records import AuditEntry

    await gala.services.audit.record(AuditEntry("account", "people.enrol", actor="=1+1"))
    answer = await gala.client.get(AUDIT + "/export", params={"format": "csv"})
    assert "'=1+1" in answer.text


async def test_while_the_trail_cannot_be_written_changes_are_answered_and_the_service_is_not_ready(
    gala: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = gala.services.audit
    away = Database("sqlite:////nowhere/at/all.sqlite3")
    monkeypatch.setattr(trail, "_database", away)
    assert (await gala.client.delete("/v1/events/gala")).status_code == 204
    with pytest.raises(StageUnavailable):
        trail.check()
    check_problem(await gala.client.get("/readyz"), "stage_unavailable")
    check_problem(await gala.client.get(AUDIT), "stage_unavailable")
    monkeypatch.undo()
    await trail.flush()
    assert ("events.delete", "ok") in await actions(gala)
    trail.check()


def test_the_middleware_stands_within_the_watch(shared_app: Any) -> None:
    """So that a change whose caller has gone is in the trail with its true outcome."""
    order = [each.cls for each in shared_app.user_middleware]
    assert order.index(CallerWatch) < order.index(AuditMiddleware)
