"""The real graph, deployed from the laptop config on a small Ray, driven from the test's process."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from serving.runtime import find_free_port
from serving.settings import Settings, load_settings
from tests.liveness_models import add_liveness_models

APPLICATION = "rollcall"
START_TIMEOUT_S = 120.0


@dataclass
class Graph:
    """A deployed graph.

    Attributes:
        settings: with data of its own.
        config: the serve config it was deployed from.
        metrics_url: where Ray's metrics are.
    """

    settings: Settings
    config: dict[str, Any]
    metrics_url: str

    def handle(self, deployment: str) -> Any:
        """A handle; make and use it in one event loop."""
        from ray import serve

        return serve.get_deployment_handle(deployment, APPLICATION)

    def deploy(self, **user_configs: dict[str, Any]) -> None:
        """Deploy the config, with other `user_config` for some deployments, and wait until it runs.

        This is what `serve deploy` asks of Serve's controller; the command itself needs Ray's dashboard.
        """
        from ray import serve
        from ray.serve.context import _get_global_client
        from ray.serve.schema import ServeDeploySchema

        config = copy.deepcopy(self.config)
        for deployment in config["applications"][0]["deployments"]:
            deployment["user_config"] = user_configs.get(deployment["name"], deployment["user_config"])
        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config), _blocking=False)
        end = time.monotonic() + START_TIMEOUT_S
        time.sleep(0.5)
        while time.monotonic() < end:
            state = serve.status().applications.get(APPLICATION)
            if state is not None and state.status == "RUNNING":
                return
            assert state is None or state.status != "DEPLOY_FAILED", state.message
            time.sleep(0.5)
        raise AssertionError(f"not running after {START_TIMEOUT_S} s: {state}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def graph(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Graph]:
    """The graph of `config/laptop.yaml` on a local Ray, ended by its own handle."""
    import ray
    from ray import serve

    config = yaml.safe_load((repository / "config" / "laptop.yaml").read_text())
    arguments = {"data_dir": str(tmp_path_factory.mktemp("graph"))}
    liveness = add_liveness_models(repository)
    if liveness is not None:
        arguments["liveness"] = {"model": liveness}
    config["applications"][0]["args"] = arguments
    metrics_port = find_free_port()
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "2000")  # the tests read them
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        namespace="serve",
        _metrics_export_port=metrics_port,
    )
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": find_free_port()})
    deployed = Graph(load_settings(arguments), config, f"http://127.0.0.1:{metrics_port}/metrics")
    await asyncio.to_thread(deployed.deploy)
    yield deployed
    await serve.shutdown_async()  # in the loop that the handles belong to
    ray.shutdown()
    monkeypatch.undo()
