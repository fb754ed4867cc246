"""The error envelope, what guards the routes, and what every answer carries."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from serving.accounts.keys import KeyRing
from serving.accounts.tokens import TokenIssuer
from serving.api.envelope import problems
from serving.errors import ALL_ERRORS, DeadlineExceeded, InternalError, Overloaded, StageUnavailable
from serving.graph.lines import Lines
from serving.jobs.records import Actor, JobKind, JobState
from tests.unit.api.api_fakes import DIMENSION, fail_next, picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import AUDIENCE, ISSUER, Api
from tests.unit.served import serve

ADA = picture("ada")
PEOPLE, RECOGNISE = "/v1/events/gala/people", "/v1/events/gala/recognise"
CHECK_INS = "/v1/events/gala/check-ins"
JOBS = "/v1/events/gala/jobs"
SOUGHT = {"pack_id": "starter-int8-mirror", "vectors": [[1.0] * DIMENSION]}
MIGRATION = "/v1/events/gala/migration"

ROUTES = {
    "create event": ("POST", "/v1/events", {"json": {"id": "other"}}, "operator"),
    "list events": ("GET", "/v1/events", {}, "member"),
    "get event": ("GET", "/v1/events/gala", {}, "member"),
    "change event": ("PATCH", "/v1/events/gala", {"json": {"name": "Gala"}}, "operator"),
    "close event": ("POST", "/v1/events/gala/close", {}, "operator"),
    "reopen event": ("POST", "/v1/events/gala/reopen", {}, "operator"),
    "begin migration": ("POST", MIGRATION, {"json": {"pack_id": "other"}}, "operator"),
    "look at migration": ("GET", MIGRATION, {}, "operator"),
    "finish migration": ("POST", MIGRATION + "/finish", {"params": {"allow_missing": True}}, "operator"),
    "abort migration": ("DELETE", MIGRATION, {}, "operator"),
    "event statistics": ("GET", "/v1/events/gala/statistics", {}, "member"),
    "delete event": ("DELETE", "/v1/events/gala", {}, "operator"),
    "enrol": ("POST", PEOPLE, {"content": ADA, "params": {"person_id": "ada"}}, "operator"),
    "list people": ("GET", PEOPLE, {}, "operator"),
    "get person": ("GET", PEOPLE + "/ada", {}, "operator"),
    "change person": ("PATCH", PEOPLE + "/ada", {"json": {"name": "Ada"}}, "operator"),
    "delete person": ("DELETE", PEOPLE + "/ada", {}, "operator"),
    "add faces": ("POST", PEOPLE + "/ada/faces", {"content": ADA}, "operator"),
    "list faces": ("GET", PEOPLE + "/ada/faces", {}, "operator"),
    "delete face": ("DELETE", PEOPLE + "/ada/faces/{face}", {}, "operator"),
    "recognise": ("POST", RECOGNISE, {"content": ADA}, "member"),
    "recognise many": ("POST", RECOGNISE + "/batch", {"content": ADA}, "member"),
    "identify": ("POST", "/v1/events/gala/identify", {"content": ADA}, "member"),
    "verify": ("POST", PEOPLE + "/ada/verify", {"content": ADA}, "member"),
    "search": ("POST", "/v1/events/gala/search", {"json": SOUGHT}, "member"),
    "detect": ("POST", "/v1/detect", {"content": ADA}, "member"),
    "embed": ("POST", "/v1/embed", {"content": ADA}, "member"),
    "compare": ("POST", "/v1/compare", {"files": [("picture", ADA), ("picture", ADA)]}, "member"),
    "check in": ("POST", CHECK_INS, {"content": ADA}, "member"),
    "list check-ins": ("GET", CHECK_INS, {}, "operator"),
    "count check-ins": ("GET", CHECK_INS + "/summary", {}, "operator"),
    "undo a check-in": ("DELETE", CHECK_INS + "/ada", {}, "operator"),
    "import": (
        "POST",
        "/v1/events/gala/imports",
        {"content": b"{}", "headers": {"Content-Type": "application/x-ndjson"}},
        "operator",
    ),
    "export": ("POST", "/v1/events/gala/exports", {}, "operator"),
    "list jobs": ("GET", JOBS, {}, "operator"),
    "get job": ("GET", JOBS + "/{job}", {}, "operator"),
    "cancel job": ("DELETE", JOBS + "/{job}", {}, "operator"),
    "rejections of a job": ("GET", JOBS + "/{job}/rejections", {}, "operator"),
    "result of a job": ("GET", JOBS + "/{job}/result", {}, "operator"),
    "audit trail": ("GET", "/v1/audit", {}, "operator"),
    "export of the audit trail": ("GET", "/v1/audit/export", {}, "operator"),
    "model": ("GET", "/v1/model", {}, "member"),
}
OF_CALLERS = ("/v1/accounts", "/v1/auth/", "/v1/api-keys")
"""Whose tests have tables of their own: what they answer depends on whose account it is."""

RANKS = ["member", "operator", "administrator"]
EVERY_ROUTE = pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES.keys())


def test_every_route_of_the_application_is_in_this_table(shared_app: Any) -> None:
    documented = {
        (method.upper(), path.replace("{event}", "gala").replace("{person}", "ada"))
        for path, methods in shared_app.openapi()["paths"].items()
        for method in methods
        if path.startswith("/v1") and not path.startswith(OF_CALLERS)
    }
    assert documented == {route[:2] for route in ROUTES.values()}


async def make_job(api: Api, *, done: bool) -> str:
    """The id of an export that waits, or is done."""
    jobs, key = api.services.jobs, (await api.registry.get_event("gala")).key
    job = await jobs.create(key, JobKind.export, Actor("tester"))
    if done:
        name, file = jobs.files.create(job.id, "result")
        file.close()
        await jobs.claim("a runner")
        await jobs.finish(job.id, "a runner", JobState.done, file=name)
    return job.id


async def serve_other(gala: Api, *, begin: bool) -> None:
    """Another pack beside the default one; with `begin` the event is on its way there."""
    lines = Lines([gala.line, serve(gala.stages, "other")])
    gala.app.state.services = replace(gala.services, lines=lines)
    if begin:
        await gala.registry.migrations.begin((await gala.registry.get_event("gala")).key, "other")


@EVERY_ROUTE
async def test_roles(gala: Api, route: tuple[str, str, dict[str, Any], str]) -> None:
    method, path, arguments, least = route
    [face] = (await gala.enrol("ada", ADA))["faces"]
    path = path.replace("{face}", face["face_id"])
    if "{job}" in path:
        path = path.replace("{job}", await make_job(gala, done=path.endswith("/result")))
    if path.startswith(MIGRATION):
        await serve_other(gala, begin=(method, path) != ("POST", MIGRATION))
    for role in RANKS:
        answer = await gala.client_for(role).request(method, path, **arguments)
        if RANKS.index(role) < RANKS.index(least):
            problem = check_problem(answer, "forbidden")
            assert problem["context"]["needs"] == least
        else:
            assert answer.status_code in (200, 201, 202, 204), answer.text
            return


@EVERY_ROUTE
async def test_a_token_is_needed(gala: Api, route: tuple[str, str, dict[str, Any], str]) -> None:
    method, path, arguments, _ = route
    calls = len(gala.stages.calls)
    check_problem(await gala.anonymous().request(method, path, **arguments), "token_missing")
    for header in ("Basic YTpi", "Bearer", "Bearer ", "nonsense"):
        check_problem(
            await gala.anonymous(Authorization=header).request(method, path, **arguments), "token_missing"
        )
    answer = await gala.anonymous(Authorization="Bearer abc.def.ghi").request(method, path, **arguments)
    check_problem(answer, "token_invalid")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert len(gala.stages.calls) == calls


async def test_tokens_that_are_not_ours(gala: Api, ring: KeyRing, tmp_path: Any) -> None:
    good = gala.token_for()
    stranger = KeyRing(tmp_path / "strangers").load_or_create()
    for token in (
        TokenIssuer(stranger, ISSUER, AUDIENCE).issue("a", "administrator", None, 600),
        TokenIssuer(ring, "someone else", AUDIENCE).issue("a", "administrator", None, 600),
        TokenIssuer(ring, ISSUER, "another service").issue("a", "administrator", None, 600),
        good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB"),
        good + "." + "x" * 5000,
        "ü",
    ):
        headers = {b"Authorization": f"Bearer {token}".encode()}
        problem = check_problem(await gala.anonymous().get("/v1/events", headers=headers), "token_invalid")
        assert token not in str(problem)
    assert (await gala.anonymous(Authorization=f"bearer {good}").get("/v1/events")).status_code == 200


async def test_an_expired_token(gala: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    client = gala.client_for()
    assert (await client.get("/v1/events")).status_code == 200
    import time

    later = time.time() + 611
    monkeypatch.setattr("serving.accounts.tokens.time.time", lambda: later)
    check_problem(await client.get("/v1/events"), "token_expired")


@EVERY_ROUTE
async def test_a_token_for_another_event_sees_nothing_here(
    gala: Api, route: tuple[str, str, dict[str, Any], str]
) -> None:
    method, path, arguments, _ = route
    if "gala" not in path:
        return
    await gala.enrol("ada", ADA)
    await gala.create_event("mine")
    calls = len(gala.stages.calls)
    bound = gala.client_for("operator", ["mine", "elsewhere"])
    there = check_problem(await bound.request(method, path, **arguments), "unknown_event")
    nowhere = check_problem(
        await bound.request(method, path.replace("gala", "nope"), **arguments), "unknown_event"
    )
    for problem in (there, nowhere):
        problem.pop("request_id")
        problem["context"].pop("event", None)
    assert there == nowhere
    assert len(gala.stages.calls) == calls
    assert (await gala.client.get(PEOPLE + "/ada")).status_code == 200


async def test_a_bound_token_works_at_its_events_and_makes_none(gala: Api) -> None:
    await gala.create_event("other")
    bound = gala.client_for("operator", ["gala"])
    assert (await bound.post(PEOPLE, params={"person_id": "ada"}, content=ADA)).status_code == 201
    assert (await bound.post(RECOGNISE, content=ADA)).json()["faces"][0]["outcome"] == "match"
    listed = (await bound.get("/v1/events")).json()
    assert [event["id"] for event in listed["events"]] == ["gala"]
    check_problem(await bound.post("/v1/events", json={"id": "gala"}), "forbidden")
    check_problem(await bound.post("/v1/events", json={"id": "new"}), "forbidden")
    nothing = gala.client_for("administrator", [])
    assert (await nothing.get("/v1/events")).json()["events"] == []
    check_problem(await nothing.get("/v1/events/gala"), "unknown_event")


async def test_a_page_of_events_counts_only_those_of_the_token(api: Api) -> None:
    for n in range(6):
        await api.create_event(f"e{n}")
    bound = api.client_for("member", ["e1", "e4", "e5"])
    first = (await bound.get("/v1/events", params={"limit": 2})).json()
    rest = (await bound.get("/v1/events", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [event["id"] for event in first["events"] + rest["events"]] == ["e1", "e4", "e5"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    "error", [Overloaded(), StageUnavailable(), DeadlineExceeded(), InternalError("a stage failed: KeyError")]
)
@pytest.mark.parametrize("stage", ["detect", "embed", "search"])
async def test_a_stage_that_fails_is_answered_with_its_own_error(gala: Api, stage: str, error: Any) -> None:
    fail_next(gala.stages, stage, error)
    check_problem(await gala.client.post(RECOGNISE, content=ADA), error.code)
    assert (gala.services.gate.requests, gala.services.gate.bytes) == (0, 0)


async def test_unknown_paths_and_methods(gala: Api) -> None:
    check_problem(await gala.client.get("/nothing/here"), "not_found")
    check_problem(await gala.anonymous().get("/v1/nothing"), "not_found")
    answer = await gala.client.put("/v1/events")
    check_problem(answer, "method_not_allowed")
    assert "GET" in answer.headers["allow"] or "POST" in answer.headers["allow"]
    check_problem(await gala.client.get("/v1/events/nope"), "unknown_event")
    check_problem(await gala.client.get("/v1/events/" + "x" * 500), "unknown_event")
    check_problem(await gala.client.get("/v1/events/..%2f.."), "not_found")
    check_problem(await gala.client.get(PEOPLE + "/nobody"), "unknown_person")
    check_problem(await gala.client.get(PEOPLE + "/%00"), "unknown_person")
    check_problem(await gala.client.delete(PEOPLE + "/nobody"), "unknown_person")


async def test_erasing_an_id_nobody_can_have(gala: Api) -> None:
    check_problem(await gala.client.delete(PEOPLE + "/" + "x" * 600), "unknown_person")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"id": "a/b"}, "event id"),
        ({"id": ""}, "event id"),
        ({"id": "x" * 129}, "event id"),
        ({"id": 5}, "id"),
        ({"id": "a", "nmae": "x"}, "nmae"),
        ({"id": "a", "policy": {"threshold": 1.5}}, "threshold"),
        ({"id": "a", "policy": {"threshold": "high"}}, "threshold"),
        ({"id": "a", "name": ""}, "name"),
        ({"id": "a", "name": "a\nb"}, "name"),
        ({"id": "a", "name": "x" * 201}, "name"),
        ([], "body"),
    ],
)
async def test_bad_new_events(api: Api, body: Any, field: str) -> None:
    problem = check_problem(await api.client.post("/v1/events", json=body), "invalid_request")
    assert field in problem["detail"]
    assert (await api.client.get("/v1/events")).json()["events"] == []


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe", b"", b'{"id":"a","policy":{"threshold":NaN}}', b"[" * 50_000]
)
async def test_new_events_that_are_not_json(api: Api, content: bytes) -> None:
    answer = await api.client.post(
        "/v1/events", content=content, headers={"Content-Type": "application/json"}
    )
    check_problem(answer, "invalid_request")


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "x"},
        {"cursor": "!"},
        {"cursor": "x" * 2000},
        {"cursor": "ZXY"},
    ],
)
async def test_bad_pages(gala: Api, query: dict[str, Any]) -> None:
    check_problem(await gala.client.get("/v1/events", params=query), "invalid_request")
    check_problem(await gala.client.get(PEOPLE, params=query), "invalid_request")


async def test_a_bad_cursor_is_called_by_its_name(gala: Api) -> None:
    problem = check_problem(await gala.client.get(PEOPLE, params={"cursor": "ZXY"}), "invalid_request")
    assert problem["context"]["field"] == "cursor"


async def test_a_cursor_of_another_list(gala: Api) -> None:
    await gala.create_event("other")
    cursor = (await gala.client.get("/v1/events", params={"limit": 1})).json()["next_cursor"]
    check_problem(await gala.client.get(PEOPLE, params={"cursor": cursor}), "invalid_request")


@pytest.mark.parametrize(
    "query", [{"threshold": "1.01"}, {"threshold": "-2"}, {"threshold": "nan"}, {"threshold": "inf"},
              {"threshold": "x"}, {"top_k": "0"}, {"top_k": "21"}, {"top_k": "1.5"}, {"top_k": "9" * 30}]
)  # fmt: skip
async def test_bad_questions(gala: Api, query: dict[str, str]) -> None:
    check_problem(await gala.client.post(RECOGNISE, params=query, content=ADA), "invalid_request")
    assert gala.stages.calls == []


async def test_the_sender_may_choose_the_request_id(gala: Api) -> None:
    answer = await gala.client.get("/v1/events/nope", headers={"X-Request-ID": "trace-1.2_3"})
    assert answer.json()["request_id"] == "trace-1.2_3"
    recognised = await gala.client.post(RECOGNISE, content=ADA, headers={"X-Request-ID": "abc"})
    assert recognised.json()["request_id"] == "abc"
    fail_next(gala.stages, "detect", KeyError("a bug"))
    answer = await gala.client.post(RECOGNISE, content=ADA, headers={"X-Request-ID": "of-a-bug"})
    assert answer.json()["request_id"] == "of-a-bug"


@pytest.mark.parametrize("sent", ["x" * 128, "<script>", "a", "~!"])
async def test_the_body_names_the_id_that_serve_puts_in_the_header(gala: Api, sent: str) -> None:
    answer = await gala.client.get("/v1/events/nope", headers={"X-Request-ID": sent})
    assert answer.json()["request_id"] == sent
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("sent", ["a b", "x" * 129, "a\tb", "", "\xe9"])
async def test_an_id_that_is_none_is_replaced(gala: Api, sent: str) -> None:
    headers = {b"X-Request-ID": sent.encode("latin-1")}
    answer = await gala.client.get("/v1/events/nope", headers=headers)
    assert uuid.UUID(answer.json()["request_id"])
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


async def test_every_answer_has_an_id_and_stays_out_of_caches_and_frames(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    for path in ("/v1/events", PEOPLE, PEOPLE + "/ada", "/v1/model", "/healthz", "/readyz", "/nope", "/docs"):
        answer = await gala.client.get(path)
        assert answer.headers["cache-control"] == "no-store", path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        assert uuid.UUID(answer.headers["x-request-id"])


async def test_a_full_gate_refuses_at_once(make_api: Callable[..., Any]) -> None:
    api = await make_api(
        picture={"max_bytes": 2**19},
        load={"max_body_bytes": 2**20, "max_pending_requests": 2, "max_pending_bytes": 2**20},
    )
    await api.create_event()
    with api.services.gate.admit(), api.services.gate.admit():
        for path in (RECOGNISE, PEOPLE):
            problem = check_problem(await api.client.post(path, content=ADA), "overloaded")
            assert problem["context"] == {"max_pending_requests": 2}
        assert (await api.client.get(PEOPLE)).status_code == 200
    with api.services.gate.admit() as admission:
        admission.add_bytes(2**20 - 100)
        problem = check_problem(await api.client.post(RECOGNISE, content=ADA), "overloaded")
        assert problem["context"] == {"max_pending_bytes": 2**20}
    assert api.stages.calls == []
    assert (api.services.gate.requests, api.services.gate.bytes) == (0, 0)
    assert (await api.client.post(RECOGNISE, content=ADA)).status_code == 200


def test_the_documented_errors_cover_each_kind_once() -> None:
    documented = problems(*ALL_ERRORS, common=())
    assert set(documented) == {kind.status for kind in ALL_ERRORS}
