"""One real service for all tests that ask one, started by the command that users run."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from loadtest.service import Service, run_service
from serving.runtime import find_free_port
from tests.liveness_models import add_liveness_models
from tests.otlp_collector import Collector

MAX_PENDING_REQUESTS = 24
"""Small, so that a burst overruns it."""
COLLECTOR_SECRET = "collector-sesame-4711"
"""What the collector is told with each export, and no log line ever holds."""


def make_client(service: Service, token: str | None, trust: ssl.SSLContext | bool = True) -> httpx.Client:
    """A client of `service` that carries `token`, and trusts whom `trust` says."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=service.url, headers=headers, verify=trust, timeout=60)


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the service sends its traces: those of requests that come with a `traceparent`, no others."""
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory, repository: Path, collector: Collector
) -> Iterator[Service]:
    """`rollcall serve` on its own data."""
    environment = {
        "ROLLCALL_LOAD__MAX_PENDING_REQUESTS": str(MAX_PENDING_REQUESTS),
        "ROLLCALL_PICTURE__MAX_BYTES": "3000000",
        "ROLLCALL_PICTURE__MAX_PIXELS": "20000000",
        "ROLLCALL_METRICS__PORT": str(find_free_port()),
        "ROLLCALL_LOGGING__LEVEL": "debug",
        "ROLLCALL_STREAM__LOST_AFTER_S": "30",  # so that a slow machine makes nobody somebody new
        "ROLLCALL_STREAM__RECHECK_S": "1",
        "ROLLCALL_TRACING__ENDPOINT": collector.endpoint,
        "ROLLCALL_TRACING__SAMPLE_RATIO": "0",
        "ROLLCALL_TRACING__TIMEOUT_S": "1",
        "ROLLCALL_TRACING__HEADERS": f"authorization=Bearer {COLLECTOR_SECRET}",
    }
    data_dir = tmp_path_factory.mktemp("service") / "data"
    liveness = add_liveness_models(repository)
    if liveness is not None:
        environment["ROLLCALL_LIVENESS__MODEL"] = liveness
    with run_service(
        Service(data_dir, config=repository / "config" / "laptop.yaml", environment=environment)
    ) as running:
        running.run_command("admin", "create", "tester")
        yield running


@pytest.fixture(scope="session")
def token(service: Service) -> str:
    """Of the administrator."""
    return service.run_command("token", "tester")


@pytest.fixture(scope="session")
def client(service: Service, token: str) -> Iterator[httpx.Client]:
    """Speaks as the administrator."""
    with make_client(service, token) as client:
        yield client


@pytest.fixture
def event(client: httpx.Client) -> Iterator[str]:
    """A fresh event; its URL."""
    created = client.post("/v1/events", json={"request_policy": "any", "quality_level": "off"})
    assert created.status_code == 201, created.text
    url = f"/v1/events/{created.json()['id']}"
    yield url
    client.delete(url)


@pytest.fixture(scope="session")
def as_client(service: Service) -> Callable[[str | None], httpx.Client]:
    """Make a client that carries another token, or none."""
    return lambda token: make_client(service, token)
