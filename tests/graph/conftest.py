"""The real graph on a small Ray of its own, driven from the test's process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest.service import find_free_port


@pytest.fixture(scope="module")
def metrics_url() -> Iterator[str]:
    """A local Ray with Serve, ended by its own handle; where its metrics are."""
    os.environ.setdefault("RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S", "1")
    import ray
    from ray import serve

    metrics_port = find_free_port()
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        namespace="serve",
        _metrics_export_port=metrics_port,
    )
    serve.start(proxy_location="Disabled")
    yield f"http://127.0.0.1:{metrics_port}/metrics"
    serve.shutdown()
    ray.shutdown()


@pytest.fixture(scope="module")
def deployment_options(repository: Path) -> dict[str, dict[str, Any]]:
    """The deployments' options in the laptop config, by name."""
    config = yaml.safe_load((repository / "config" / "laptop.yaml").read_text())
    deployments = config["applications"][0]["deployments"]
    return {entry.pop("name"): entry for entry in map(dict, deployments)}
