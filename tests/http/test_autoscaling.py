"""Detectors come with the load and go with it, and numbers change live; no request is lost on the way."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from serving.runtime import find_free_port
from serving.settings import load_settings
from tests.graph.conftest import Graph

CLIENTS = 8
POLL_S = 0.1
"""Between two looks at the metrics: nobody may ask more often than 1,200 times in a minute."""

QUICK = {
    "min_replicas": 1,
    "max_replicas": 3,
    "target_ongoing_requests": 1,
    "upscale_delay_s": 0.5,
    "downscale_delay_s": 1,
    "metrics_interval_s": 0.25,
    "look_back_period_s": 1,
}
"""In the place of the Detector's own: what is shipped waits for minutes before it lets replicas go."""

BATCH_SIZE = 3


class Clients:
    """Each asks for the faces in a picture, again as soon as it is answered, until it is told to stop.

    Attributes:
        outcomes: answers by status, failures by name.
        many: while it is set all ask; else one does.
    """

    def __init__(self, client: httpx.Client, url: str, picture: bytes) -> None:
        self._client, self._url, self._picture = client, url, picture
        self.outcomes: Counter[object] = Counter()
        self.many = threading.Event()
        self.ended = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        self.many.set()
        with ThreadPoolExecutor(CLIENTS) as pool:
            for number in range(CLIENTS):
                pool.submit(self._ask, is_first=number == 0)
            try:
                yield
            finally:
                self.ended.set()

    def _ask(self, *, is_first: bool) -> None:
        while not self.ended.is_set() and (is_first or self.many.is_set()):
            try:
                self.outcomes[self._client.post(self._url, content=self._picture).status_code] += 1
            except httpx.HTTPError as error:
                self.outcomes[type(error).__name__] += 1
            if not self.many.is_set():
                self.ended.wait(0.2)


@pytest.fixture
def deployed(repository: Path, tmp_path: Path) -> Iterator[tuple[Graph, httpx.Client]]:
    """The laptop's graph with quick autoscaling of the Detector, and a client that may do everything."""
    import ray
    from ray import serve

    config = yaml.safe_load((repository / "config" / "laptop.yaml").read_text())
    application = config["applications"][0]
    application["args"] = {"data_dir": str(tmp_path / "data")}
    detector = next(each for each in application["deployments"] if each["name"] == "Detector")
    assert detector["autoscaling_config"].keys() <= QUICK.keys()
    detector["autoscaling_config"] = QUICK
    port = find_free_port()
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        namespace="serve",
    )
    try:
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        graph = Graph(load_settings(application["args"]), config, "")
        graph.deploy()
        environment = {**os.environ, "ROLLCALL_DATA_DIR": str(tmp_path / "data")}
        rollcall = [sys.executable, "-m", "serving.cli"]
        subprocess.run([*rollcall, "admin", "create", "ops"], env=environment, check=True)
        asked = subprocess.run([*rollcall, "token"], env=environment, check=True, capture_output=True)
        headers = {"Authorization": f"Bearer {asked.stdout.decode().strip()}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
            yield graph, client
    finally:
        serve.shutdown()
        ray.shutdown()


def read_detector(client: httpx.Client, name: str, **labels: str) -> float:
    """A metric of the Detector now."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    samples = (sample for family in text_string_to_metric_families(answer.text) for sample in family.samples)
    return max(
        (each.value for each in samples if each.name == name and labels.items() <= each.labels.items()),
        default=0.0,
    )


def count_detectors(client: httpx.Client) -> float:
    return read_detector(client, "rollcall_replicas", deployment="Detector")


def test_replicas_follow_the_load_and_numbers_change_live_without_a_lost_request(
    deployed: tuple[Graph, httpx.Client], samples: dict[str, Path]
) -> None:
    """What it waits for comes, or the test's own time limit ends it."""
    graph, client = deployed
    assert client.post("/v1/events", json={"id": "gala", "quality_level": "off"}).status_code == 201
    assert count_detectors(client) == 1
    clients = Clients(client, "/v1/events/gala/recognise", samples["guest"].read_bytes())
    with clients.running():
        while count_detectors(client) < 2:
            assert not clients.outcomes.keys() - {200}, clients.outcomes
            time.sleep(POLL_S)
        tuned: dict[str, Any] = {"max_batch_size": BATCH_SIZE, "batch_wait_timeout_s": 0.001}
        ingress = copy.deepcopy(graph.config["applications"][0]["deployments"][0]["user_config"])
        ingress["detector"]["max_parcel_tasks"] += 1
        graph.deploy(Detector=tuned, Ingress=ingress)
        while read_detector(client, "rollcall_batch_limit", stage="detector") != BATCH_SIZE:
            time.sleep(POLL_S)
        under_load = clients.outcomes.total()
        clients.many.clear()
        while count_detectors(client) > 1:
            time.sleep(POLL_S)
        asked_after = clients.outcomes.total()
        while clients.outcomes.total() < asked_after + 3:
            time.sleep(POLL_S)
    assert clients.outcomes.keys() == {200}, clients.outcomes
    assert under_load > CLIENTS
