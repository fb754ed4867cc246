"""One id finds a request in every process of the real service, and its trace, read by a real collector."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtest.service import Service
from tests.http.metrics_page import scrape
from tests.otlp_collector import Collector
from tests.service_fixtures import COLLECTOR_SECRET

WAIT_S = 30.0
LAST_BYTES = 2 * 2**20
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES = ("detector", "embedder", "matcher")


@pytest.fixture
def read_log(service: Service) -> Callable[[], list[dict[str, Any]]]:
    """The last lines of the service: other tests may have left many megabytes before them."""
    path = Path(service.environment["ROLLCALL_DATA_DIR"]) / "logs" / "rollcall.jsonl"

    def read() -> list[dict[str, Any]]:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LAST_BYTES))
            whole = file.read().split(b"\n")[1:-1]  # the first may be half a line
        return [json.loads(line) for line in whole]

    return read


def find_lines(read: Callable[[], list[dict[str, Any]]], request_id: str, count: int) -> list[dict[str, Any]]:
    """All lines of a request, once there are so many."""
    deadline = time.monotonic() + WAIT_S
    while True:
        lines = [
            line
            for line in read()
            if line.get("request_id") == request_id or request_id in line.get("request_ids", ())
        ]
        if len(lines) >= count:
            return lines
        assert time.monotonic() < deadline, lines
        time.sleep(0.05)


def test_a_recognition_is_one_trace_and_its_id_finds_every_line(
    client: httpx.Client,
    event: str,
    samples: dict[str, Path],
    collector: Collector,
    read_log: Callable[[], list[dict[str, Any]]],
) -> None:
    enrolled = client.post(
        f"{event}/people",
        data={"person_id": "ada-lovelace", "name": "Ada Lovelace"},
        files={"picture": samples["guest"].read_bytes()},
        headers={"X-Request-Id": "enrol-1"},
    )
    assert enrolled.status_code == 201, enrolled.text
    picture = samples["group"].read_bytes()
    answer = client.post(
        f"{event}/recognise",
        content=picture,
        headers={
            "Content-Type": "image/jpeg",
            "X-Request-Id": "door-7/evening",
            "traceparent": f"00-{TRACE}-{CALLER}-01",
        },
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "door-7/evening"

    # Lines: the request's own, and one of each stage's batch that held its task.
    lines = find_lines(read_log, "door-7/evening", 4)
    own = next(line for line in lines if line["logger"] == "rollcall.requests")
    faces = len(answer.json()["faces"])
    assert own["level"] in ("info", "warning")  # a slow machine makes it a warning
    assert own["message"] == "POST /v1/events/{event}/recognise 200"
    assert own["event"] == event.rpartition("/")[2]
    assert (own["status"], own["outcome"], own["caller"]) == (200, "ok", "account")
    assert own["bytes_in"] == len(picture)
    assert own["faces"]["match"] == 1
    assert sum(own["faces"].values()) == faces
    assert {"read", "detect", "embed", "match", "names", "database", "total"} <= set(own["timings_ms"])
    assert own["trace_id"] == TRACE
    assert own["deployment"] == "Ingress"
    assert own["replica"]
    batches = {line["stage"]: line for line in lines if line["logger"] == "rollcall.batches"}
    assert set(STAGES) <= set(batches)
    assert [batches[stage]["deployment"] for stage in STAGES] == ["Detector", "Embedder", "Matcher"]
    assert {line["pid"] for line in batches.values()} & {own["pid"]} == set()

    # The trace: as the collector got it.
    collector.wait_for(
        lambda: (
            {f"{stage} batch" for stage in STAGES} | {"POST /v1/events/{event}/recognise"}
            <= {span.name for span in collector.of_trace(TRACE)}
        )
    )
    collector.wait_for(lambda: len(collector.of_trace(TRACE)) >= 2 + 4 * len(STAGES) + 2)
    spans = collector.of_trace(TRACE)
    by_name = {span.name: span for span in spans}
    by_id = {span.id: span for span in spans}
    root = by_name["POST /v1/events/{event}/recognise"]
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{root.id}-01"
    assert root.parent == CALLER
    assert root.attributes["rollcall.request_id"] == "door-7/evening"
    assert root.attributes["rollcall.faces.match"] == 1
    for name in ("read", "names", "database look_up"):
        assert by_name[name].parent == root.id
    for stage in STAGES:
        call, batch = by_name[f"{stage} call"], by_name[f"{stage} batch"]
        assert call.parent == by_name[f"{stage} queue"].parent == root.id
        assert by_name[f"{stage} wait"].parent == call.id
        assert (call.trace, call.id) in batch.links
        assert batch.parent == call.id
        assert call.resource["rollcall.deployment"] == "Ingress"
        assert batch.resource["rollcall.deployment"] == stage.capitalize()
        assert call.began_ns <= batch.began_ns <= batch.ended_ns <= root.ended_ns
    assert by_name["gallery search"].parent == by_name["matcher batch"].id
    assert {span.parent for span in spans} <= {CALLER, *by_id}
    assert collector.headers["authorization"] == f"Bearer {COLLECTOR_SECRET}"
    told = repr(spans)
    assert "ada-lovelace" not in told
    assert "Lovelace" not in told


def test_neither_secrets_nor_people_are_in_any_line(
    service: Service,
    client: httpx.Client,
    token: str,
    as_client: Callable[[str | None], httpx.Client],
    event: str,
    samples: dict[str, Path],
    read_log: Callable[[], list[dict[str, Any]]],
) -> None:
    password = "a-long-and-secret-word-4712"
    key = client.post(
        "/v1/api-keys", json={"name": "door", "scopes": ["recognise"], "events": [event.rpartition("/")[2]]}
    )
    account = client.post("/v1/accounts", json={"name": "lovelace@example.org", "password": password})
    tokens = client.post("/v1/auth/sign-in", json={"name": "lovelace@example.org", "password": password})
    assert [key.status_code, account.status_code, tokens.status_code] == [201, 201, 200]
    with as_client(key.json()["key"]) as door:
        door.post(f"{event}/recognise", content=samples["portrait"].read_bytes())
    client.get(f"{event}/people/grace-hopper?token={token}", headers={"X-Request-Id": "last-1"})
    with as_client("rck_thisisnokey_andneverwas0123456789") as stranger:
        stranger.get(f"{event}/people")
        stranger.get(f"/v1/events/{token}/people")
        stranger.get(f"/v1/{token}", headers={"X-Request-Id": "last-2"})
    find_lines(read_log, "last-2", 1)
    log = json.dumps(read_log()) + service.read_log()
    secrets = [
        password,
        token,
        COLLECTOR_SECRET,
        "rck_thisisnokey",
        "grace-hopper",
        "Lovelace",
        "ada-lovelace",
    ]
    secrets += [key.json()["key"], tokens.json()["access_token"], "lovelace@example.org"]
    assert [secret for secret in secrets if secret in log] == []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("a" * 128, True), ("a" * 129, False), ("a b", False), ("", False)],
)
def test_a_request_id_is_kept_if_it_is_well_formed(client: httpx.Client, sent: str, kept: bool) -> None:
    answer = client.get("/v1/nothing-here", headers={"X-Request-Id": sent})
    found = answer.headers["x-request-id"]
    assert answer.json()["request_id"] == found
    assert (found == sent) == kept
    assert 1 <= len(found) <= 128


def test_a_collector_that_hangs_or_refuses_changes_no_answer(
    service: Service, client: httpx.Client, event: str, samples: dict[str, Path], collector: Collector
) -> None:
    picture = samples["portrait"].read_bytes()

    def ask(traceparent: str | None) -> dict[str, Any]:
        headers = {"Content-Type": "image/jpeg"} | ({"traceparent": traceparent} if traceparent else {})
        answer = client.post(f"{event}/recognise", content=picture, headers=headers)
        assert answer.status_code == 200
        return {name: value for name, value in answer.json().items() if name not in ("timings", "request_id")}

    def count_lost() -> float:
        name = 'rollcall_spans_dropped_total{reason="export"}'
        return sum(float(line.split()[-1]) for line in scrape(client).splitlines() if line.startswith(name))

    plain, lost = ask(None), count_lost()
    asked = collector.requests
    try:
        collector.is_open.clear()
        for number in range(1, 4):
            assert ask(f"00-{number:032x}-{CALLER}-01") == plain
        collector.wait_for(lambda: collector.requests > asked)
        collector.answer = 500
        collector.is_open.set()
        assert ask(f"00-{9:032x}-{CALLER}-01") == plain
        deadline = time.monotonic() + WAIT_S
        while count_lost() == lost:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        collector.answer = 200
        collector.is_open.set()
