"""The metrics of the real service, as a real Prometheus sees them."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from loadtest.service import Service
from tests.http.metrics_page import POLL_S, forget_answer, scrape
from tests.http.prometheus import Prometheus
from tests.http.streams import open_stream, show

pytestmark = pytest.mark.timeout(480)

CLIENTS = 12
VARIABLES = {"$__rate_interval": "5m", "$pack": ".*"}
"""What stands for Grafana's own in the dashboard's queries; all that the test sends falls within them."""


@pytest.fixture(scope="module")
def prometheus(
    service: Service, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    if not Prometheus.is_installed():
        pytest.skip("needs Debian's prometheus")
    running = Prometheus(
        repository / "config" / "prometheus" / "prometheus.yaml",
        {"rollcall": f"127.0.0.1:{service.environment['ROLLCALL_METRICS__PORT']}"},
        tmp_path_factory.mktemp("prometheus") / "server",
    )
    yield running
    running.stop()


@pytest.fixture(scope="module")
def busy_event(client: httpx.Client, samples: dict[str, Path]) -> Iterator[str]:
    """An event at which the guest is enrolled; its URL."""
    created = client.post(
        "/v1/events", json={"id": "hidden-gala", "request_policy": "any", "quality_level": "off"}
    )
    assert created.status_code == 201, created.text
    url = "/v1/events/hidden-gala"
    enrolled = client.post(
        f"{url}/people",
        data={"person_id": "hidden-guest", "name": "Hidden Name"},
        files={"picture": samples["guest"].read_bytes()},
    )
    assert enrolled.status_code == 201, enrolled.text
    yield url
    client.delete(url)


@pytest.fixture(scope="module")
def make_load(
    service: Service, client: httpx.Client, token: str, busy_event: str, samples: dict[str, Path]
) -> Callable[[], None]:
    """Known and unknown faces and a crowd at once, a verification, a picture that is none, a live stream."""
    known, unknown = samples["guest"].read_bytes(), samples["portrait"].read_bytes()
    bodies = (known, unknown, known, samples["group"].read_bytes())

    def send_all() -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            sent = [
                pool.submit(client.post, f"{busy_event}/recognise", content=body)
                for body in islice(cycle(bodies), 2 * CLIENTS)
            ]
            assert {each.result().status_code for each in sent} <= {200, 503}
        verified = client.post(f"{busy_event}/people/hidden-guest/verify", content=known)
        assert verified.status_code == 200, verified.text
        more = client.post(f"{busy_event}/people", params={"on_duplicate": "allow"}, content=unknown)
        assert more.status_code == 201, more.text
        bad = client.post(f"{busy_event}/recognise", content=b"no picture")
        assert bad.json()["code"] == "not_an_image", bad.text
        with open_stream(service, busy_event, token) as socket:
            assert show(socket, known)["type"] == "faces"

    return send_all


def read_expressions(repository: Path) -> list[tuple[str, str]]:
    """Title and expression of every query of the dashboard."""
    dashboard = json.loads((repository / "config/grafana/dashboards/rollcall.json").read_text())
    found = [
        (panel["title"], target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]
    for name, value in VARIABLES.items():
        found = [(title, expression.replace(name, value)) for title, expression in found]
    return found


def test_every_query_of_the_dashboard_returns_a_series(
    repository: Path, prometheus: Prometheus, make_load: Callable[[], None]
) -> None:
    """Under load again and again until all do; the test's own time limit ends it."""
    left = read_expressions(repository)
    assert len(left) > 50
    while left:
        make_load()
        left = [each for each in left if not prometheus.query(each[1])]


def test_batches_form_under_load(prometheus: Prometheus, make_load: Callable[[], None]) -> None:
    """Of more than one picture in the detector, and of the faces of several pictures in the embedder."""

    def count_larger(stage: str) -> float:
        counts = f'sum(rollcall_batch_tasks_count{{stage="{stage}"}})'
        of_one = f'sum(rollcall_batch_tasks_bucket{{stage="{stage}",le="1.0"}})'
        return sum(float(each["value"][1]) for each in prometheus.query(f"{counts} - {of_one}"))

    while not all(count_larger(stage) > 0 for stage in ("detector", "embedder")):
        make_load()


def test_the_alerts_are_understood_and_quiet_about_a_service_that_is_well(
    repository: Path, prometheus: Prometheus
) -> None:
    rules = yaml.safe_load((repository / "config/prometheus/alerts.yaml").read_text())["groups"][0]["rules"]
    for rule in rules:
        prometheus.query(rule["expr"])
    while any(rule["health"] == "unknown" for rule in prometheus.read_rules()):
        time.sleep(POLL_S)
    told = {rule["name"]: rule for rule in prometheus.read_rules()}
    assert set(told) == {rule["alert"] for rule in rules}
    assert {rule["health"] for rule in told.values()} == {"ok"}
    firing = {name for name, rule in told.items() if rule["state"] == "firing"}
    assert not firing & {"RollcallNodeDown", "RollcallStageMissing", "RollcallDatabaseFails"}
    assert not firing & {"RollcallBackupMissing", "RollcallNeverBackedUp"}, "of a service that just began"


def test_what_is_told_agrees_with_what_was_done(client: httpx.Client, make_load: Callable[[], None]) -> None:
    def read(name: str, **labels: str) -> float:
        return math.fsum(
            sample.value
            for family in text_string_to_metric_families(scrape(client))
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    forget_answer(client)
    asked = {"route": "/v1/events/{event}/recognise", "method": "POST"}
    before = {
        "bad": read("rollcall_http_requests_total", **asked, status="400"),
        "unknown": read("rollcall_face_outcomes_total", outcome="unknown"),
        "verified": read("rollcall_verifications_total", outcome="verified"),
        "enrolled": read("rollcall_enrolled_faces_total"),
    }
    make_load()
    forget_answer(client)
    assert read("rollcall_http_requests_total", **asked, status="400") == before["bad"] + 1
    assert read("rollcall_verifications_total", outcome="verified") == before["verified"] + 1
    assert read("rollcall_enrolled_faces_total") == before["enrolled"] + 1
    assert read("rollcall_face_outcomes_total", outcome="unknown") > before["unknown"]
    assert read("rollcall_replicas", deployment="Detector") == 2
    assert read("rollcall_http_in_flight") >= 1


def test_no_event_person_or_path_is_told(client: httpx.Client, busy_event: str) -> None:
    for path in ("/v1/secret-path", f"{busy_event}/people/hidden-guest", f"{busy_event}/people/nobody"):
        client.get(path)
    client.request("BREW", "/v1/secret-path")
    forget_answer(client)
    told = scrape(client)
    for secret in ("hidden", "Hidden", "secret", "nobody", "BREW"):
        assert secret not in told
    assert re.search(r'route="/v1/events/\{event\}/people/\{person\}"', told)


def test_who_may_scrape(
    service: Service, client: httpx.Client, as_client: Callable[[str | None], httpx.Client]
) -> None:
    member = service.run_command("token", "tester", "--role", "member")
    for token, status, code in ((None, 401, "token_missing"), (member, 403, "forbidden")):
        with as_client(token) as other:
            answer = other.get("/metrics")
            assert (answer.status_code, answer.json()["code"]) == (status, code)
    exporter = f"http://127.0.0.1:{service.environment['ROLLCALL_METRICS__PORT']}/metrics"
    names = set(re.findall(r"^# TYPE (\w+)", httpx.get(exporter).text, re.M))
    assert names == set(re.findall(r"^# TYPE (\w+)", scrape(client), re.M))
