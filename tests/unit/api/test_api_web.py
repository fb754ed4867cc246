"""What browsers are told: headers of every answer, other origins, other names."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from serving.api.app import create_app
from serving.api.security_headers import API_POLICY
from serving.front.haproxy import ANSWER_HEADERS, HSTS
from serving.settings import WebSettings, load_settings
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

DOOR = "https://door.example.org"


def make_client(**web: object) -> httpx.AsyncClient:
    app = create_app(SimpleNamespace(settings=load_settings({"web": web})))  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://rollcall")


@pytest.mark.parametrize(
    "path",
    [
        "/healthz",
        "/v1/nowhere",
        "/v1/events",
        "/check-in",
        "/docs",
        "/openapi.json",
        "/swagger/swagger-ui.css",
    ],
)
async def test_every_answer_carries_them(api: Api, path: str) -> None:
    answer = await api.anonymous().get(path)
    assert {name: answer.headers.get(name) for name in ANSWER_HEADERS} == ANSWER_HEADERS
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "strict-transport-security" not in answer.headers
    assert not [name for name in answer.headers if name.startswith("access-control")]
    if path not in ("/check-in", "/docs"):
        assert answer.headers["content-security-policy"] == API_POLICY


async def test_a_failure_of_ours_carries_them_too(api: Api, shared_app: FastAPI) -> None:
    services, shared_app.state.services = shared_app.state.services, None  # whatever asks it fails
    try:
        answer = await api.client.get("/v1/events")
    finally:
        shared_app.state.services = services
    check_problem(answer, "internal_error")
    assert {name: answer.headers.get(name) for name in ANSWER_HEADERS} == ANSWER_HEADERS


async def test_the_docs_page_loads_nothing_from_elsewhere_and_keeps_no_token(api: Api) -> None:
    page = await api.anonymous().get("/docs")
    script = await api.anonymous().get("/docs/api_docs.js")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "http" not in page.text.replace("http-equiv", "")
    assert page.text.count("<script src=") == page.text.count("<script") == 2
    assert "persistAuthorization: false" in script.text
    for part in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        assert f'"swagger/{part}"' in page.text
        assert (await api.anonymous().get(f"/swagger/{part}")).status_code == 200


async def test_https_is_said_where_the_settings_say_so() -> None:
    async with make_client(https=True) as client:
        assert (await client.get("/check-in")).headers["strict-transport-security"] == HSTS


async def preflight(client: httpx.AsyncClient, origin: str, **asked: str) -> httpx.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    headers |= {name.replace("_", "-"): value for name, value in asked.items()}
    return await client.options("/v1/events", headers=headers)


async def test_other_origins_are_refused_unless_named() -> None:
    async with make_client() as client:
        answer = await preflight(client, DOOR)
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_named_origin_may_ask_and_read() -> None:
    async with make_client(cors_origins=[DOOR, "http://localhost:3000"]) as client:
        wanted = "authorization, content-type, idempotency-key, x-api-key, x-timeout-s"
        answer = await preflight(client, DOOR, Access_Control_Request_Headers=wanted)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == DOOR
        assert "PATCH" in answer.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "Origin" in answer.headers["vary"]
        told = await client.get("/v1/nowhere", headers={"Origin": DOOR})
        check_problem(told, "not_found")
        assert told.headers["access-control-allow-origin"] == DOOR
        assert "X-Request-ID" in told.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example.org", "https://door.example.org.evil.com", "http://door.example.org", "null",
     "https://door.example.org:8443", "https://DOOR.example.org", ""],
)  # fmt: skip
async def test_no_other_origin_may_though_it_looks_alike(origin: str) -> None:
    async with make_client(cors_origins=DOOR) as client:
        answer = await preflight(client, origin)
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers
        told = await client.get("/v1/nowhere", headers={"Origin": origin})
        assert "access-control-allow-origin" not in told.headers


@pytest.mark.parametrize(
    "origin",
    ["*", "https://door.example.org/", "door.example.org", "https://*.example.org", "https://a b", "null"],
)
def test_what_is_no_exact_origin_stops_the_start(origin: str) -> None:
    with pytest.raises(ValidationError, match="no origin"):
        WebSettings(cors_origins=origin)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("rollcall.example.org", True), ("rollcall.example.org:8443", True), ("ROLLCALL.example.org", True),
        ("a.events.example.org", True), ("[::1]:8000", True),
        ("events.example.org", False), ("evil-events.example.org", False), ("evil.org", False),
        ("rollcall.example.org.evil.org", False), ("127.0.0.1", False), ("", False), ("[::1", False),
        ("rollcall.example.org\u00e9", False), ("rollcall.example.org,evil.org", False),
    ],
)  # fmt: skip
async def test_it_answers_under_its_own_names_alone(host: str, is_ours: bool) -> None:
    hosts = ["rollcall.example.org", "*.events.example.org", "[::1]"]
    async with make_client(allowed_hosts=hosts) as client:
        answer = await client.get("/v1/nowhere", headers=[(b"Host", host.encode())])
        check_problem(answer, "not_found" if is_ours else "unknown_host")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await client.get("/healthz", headers=[(b"Host", host.encode())])).status_code == 200


@pytest.mark.parametrize(
    "host", ["*", "example.org:80", "Example.org", "http://example.org", "*.*.org", "a..b"]
)
def test_what_is_no_host_stops_the_start(host: str) -> None:
    with pytest.raises(ValidationError, match="no host name"):
        WebSettings(allowed_hosts=host)  # type: ignore[arg-type]
