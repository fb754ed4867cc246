"""Who may read /metrics, and what requests leave in it."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serving.api.admission import AdmissionGate
from serving.api.routes import metrics
from serving.errors import Overloaded
from serving.telemetry import counting
from serving.telemetry.exposition import Exposition
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api
from tests.unit.telemetry.conftest import Samples, find, parse


@pytest.fixture(autouse=True)
def _fresh_counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(metrics, "render_node", lambda: Exposition(None).render())
    counting.let_go()
    yield
    counting.let_go()


async def scrape(api: Api) -> Samples:
    answer = await api.client_for().get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return parse(answer.content)


def count(samples: Samples, method: str, route: str, status: int) -> float | None:
    labels = {"method": method, "route": route, "status": str(status)}
    return find(samples, "rollcall_http_requests_total", **labels)


@pytest.mark.parametrize(
    ("role", "code"), [("member", "forbidden"), ("operator", "forbidden"), ("administrator", None)]
)
async def test_only_administrators_read_it_without_a_token_of_its_own(
    api: Api, role: str, code: str | None
) -> None:
    answer = await api.client_for(role).get("/metrics")
    if code is None:
        assert answer.status_code == 200
    else:
        check_problem(answer, code)


async def test_nobody_reads_it_without_credentials(api: Api) -> None:
    check_problem(await api.anonymous().get("/metrics"), "token_missing")
    check_problem(await api.anonymous(Authorization="Bearer wrong").get("/metrics"), "token_invalid")


async def test_a_token_of_its_own_opens_it_and_nothing_else(make_api: Callable[..., Any]) -> None:
    api = await make_api(metrics={"token": "scrape-me"})
    scraper = api.anonymous(Authorization="Bearer scrape-me")
    assert (await scraper.get("/metrics")).status_code == 200
    check_problem(await scraper.get("/v1/events"), "token_invalid")
    for wrong in ("Bearer scrape-m", "Bearer scrape-mee", "scrape-me"):
        answer = await api.anonymous(Authorization=wrong).get("/metrics")
        assert answer.status_code == 401, wrong
    assert (await api.client_for().get("/metrics")).status_code == 200


async def test_switched_off_there_is_no_such_route(make_api: Callable[..., Any]) -> None:
    api = await make_api(metrics={"enabled": False})
    check_problem(await api.client_for().get("/metrics"), "not_found")


async def test_requests_go_by_route_status_and_code(api: Api) -> None:
    await api.create_event("hidden-gala")
    client = api.client_for()
    assert (await client.get("/v1/events/hidden-gala")).status_code == 200
    assert (await client.get("/v1/events/hidden-party")).status_code == 404
    samples = await scrape(api)
    assert count(samples, "GET", "/v1/events/{event}", 200) == 1
    assert count(samples, "GET", "/v1/events/{event}", 404) == 1
    assert find(samples, "rollcall_errors_total", code="unknown_event") == 1
    seconds = {"method": "GET", "route": "/v1/events/{event}"}
    assert find(samples, "rollcall_http_request_seconds_count", **seconds) == 2
    assert find(samples, "rollcall_http_in_flight") == 1, "the scrape itself"
    writes = find(samples, "rollcall_database_seconds_count", operation="write")
    assert writes is not None
    assert writes >= 1


async def test_hostile_paths_and_methods_make_no_series_and_leave_no_trace(api: Api) -> None:
    chance = random.Random(3)
    client = api.client_for()

    def make_word() -> str:
        return "zq" + "".join(chance.choices(string.ascii_lowercase, k=12))

    before = await scrape(api)
    for _ in range(30):
        await client.get(f"/{make_word()}/{make_word()}")
        await client.get(f"/v1/events/{make_word()}/people/{make_word()}")
        await client.request(make_word().upper(), "/healthz")
    after = await scrape(api)
    routes = {dict(labels).get("route") for _, labels in after} - {None}
    assert routes <= {"other", "/v1/events/{event}/people/{person}", "/metrics", "/healthz"}
    assert len({key for key in after if key[0] == "rollcall_http_requests_total"}) < 10
    assert "zq" not in repr(after).lower()
    assert len(after) - len(before) < 150


def test_what_the_gate_refuses_is_counted() -> None:
    gate = AdmissionGate(max_requests=1, max_bytes=10)
    with gate.admit() as admission:
        with pytest.raises(Overloaded), gate.admit():
            pass
        with pytest.raises(Overloaded):
            admission.add_bytes(11)
        samples = parse(Exposition(None).render())
    assert find(samples, "rollcall_shed_total", reason="requests") == 1
    assert find(samples, "rollcall_shed_total", reason="bytes") == 1
    assert find(samples, "rollcall_admitted_requests") == 1
    assert find(parse(Exposition(None).render()), "rollcall_admitted_requests") == 0
