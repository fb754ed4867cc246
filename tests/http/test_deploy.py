"""`rollcall deploy serve_config.yaml`, as it stands in the repository, on Ray as operators start it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.chaos.cluster import RayCluster
from tests.chaos.processes import find_role, wait_until

ROLES = ("Ingress", "Detector", "Embedder", "Matcher")
WAIT_S = 150.0


@dataclass
class Deployment:
    """A cluster of one node, with a secret in a file."""

    cluster: RayCluster
    config: dict[str, Any]
    secret: Path

    def deploy(self, *options: str) -> str:
        return self.cluster.deploy(self.config, *options, wait_s=WAIT_S)

    def find_pids(self) -> set[int]:
        """Of all replicas."""
        return {each.pid for role in ROLES for each in find_role(self.cluster.data_dir, role)}

    def takes(self, secret: str) -> bool:
        """Whether a scrape with it is answered."""
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.get(f"{self.cluster.url}/metrics", headers=headers, timeout=30).status_code == 200


@pytest.fixture(scope="module")
def deployment(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("deploy")
    secret = directory / "metrics_token"
    secret.write_text("of-yesterday")
    cluster = RayCluster(directory / "data", {"ROLLCALL_METRICS__TOKEN_FILE": str(secret)})
    config = yaml.safe_load((repository / "serve_config.yaml").read_text())
    # A busy machine is slow to start replicas: that must not cost a request here.
    config["http_options"] |= {"host": "127.0.0.1", "port": cluster.port, "request_timeout_s": 120}
    config["applications"][0]["args"]["load"]["request_timeout_s"] = 100
    try:
        cluster.start_node("head")
        yield Deployment(cluster, config, secret)
    finally:
        cluster.close()


@dataclass
class Asking:
    """Recognises all the time until it is told to stop."""

    url: str
    token: str
    picture: bytes
    outcomes: list[str] = field(default_factory=list)

    def __enter__(self) -> Asking:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _ask(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=120) as client:
            while not self._stopping.wait(0.2):
                began = time.monotonic()
                try:
                    answer = client.post("/v1/events/gala/recognise", content=self.picture)
                    faces = answer.json().get("faces", [])
                    said = ",".join(sorted({face["outcome"] for face in faces})) or str(answer.json())
                except httpx.HTTPError as error:
                    said = repr(error)
                self.outcomes.append(f"{said} {time.monotonic() - began:.1f}")


@pytest.mark.timeout(500)
def test_what_changed_is_brought_to_every_replica_while_it_answers(
    deployment: Deployment, samples: dict[str, Path]
) -> None:
    assert "It runs." in deployment.deploy()
    deployment.cluster.run_command("admin", "create", "ops")
    token = deployment.cluster.run_command("token", "ops")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=deployment.cluster.url, headers=headers, timeout=60) as client:
        assert client.post("/v1/events", json={"id": "gala"}).status_code == 201
        picture = samples["guest"].read_bytes()
        assert client.post("/v1/events/gala/people?person_id=guest", content=picture).status_code == 201
        answer = client.post("/v1/events/gala/recognise", content=samples["group"].read_bytes())
        assert sorted(face["outcome"] for face in answer.json()["faces"]) == ["match"] + ["unknown"] * 5
    first = deployment.find_pids()
    assert len(first) == len(ROLES)

    assert "Settings, secrets and release are those that run" in deployment.deploy()
    assert deployment.find_pids() == first

    deployment.secret.write_text("of-today")
    assert deployment.takes("of-yesterday")
    with Asking(deployment.cluster.url, token, picture) as asking:
        assert "Every replica was replaced." in deployment.deploy()
        wait_until(lambda: deployment.takes("of-today"), "the new secret", 30)
    assert {outcome.split()[0] for outcome in asking.outcomes} == {"match"}, asking.outcomes
    print(f"the slowest took {max(float(outcome.split()[1]) for outcome in asking.outcomes)} s")
    assert not first & deployment.find_pids()
    assert not deployment.takes("of-yesterday")


@pytest.mark.timeout(300)
def test_what_cannot_be_is_refused_and_what_runs_goes_on(deployment: Deployment) -> None:
    before = deployment.find_pids()
    environment = dict(deployment.cluster.environment)
    try:
        deployment.cluster.environment["ROLLCALL_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/rollcall"
        with pytest.raises(RuntimeError, match="What the service needs is not there: registry"):
            deployment.deploy()
        del deployment.cluster.environment["ROLLCALL_DATABASE_URL"]
        # Ray on the nodes was started before this was set.
        deployment.cluster.environment["ROLLCALL_PICTURE__MAX_FACES"] = "7"
        with pytest.raises(RuntimeError, match="let both have the same environment, and restart Ray"):
            deployment.deploy()
    finally:
        deployment.cluster.environment = environment
    assert deployment.find_pids() == before
    assert deployment.takes("of-today")
