"""A Ray cluster of several nodes on this machine, and the service deployed on it as operators do it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from loadtest.service import Service
from serving.runtime import RAY_FLAGS, choose_own_ports, find_free_port
from tests.chaos.harness import REPOSITORY, Target, populate
from tests.chaos.processes import find_processes, kill_processes, wait_until

NODE_VARIABLE = "CHAOS_NODE"
START_TIMEOUT_S = 120.0
COMMAND_TIMEOUT_S = 120.0
CPUS_PER_NODE = 2


class RayCluster(Service):
    """`ray start` for each node, and `rollcall deploy`; all on loopback, on ports and in a folder of its own.

    Args:
        data_dir: gallery, registry and keys, which all nodes reach.
        environment: more environment variables of every node.
    """

    def __init__(self, data_dir: Path, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir, environment=environment)
        self.data_dir = data_dir
        # Sockets lie in it, and their paths must be short.
        self._ray_dir = Path(tempfile.mkdtemp(prefix="chaos-"))
        self._config_file = data_dir.with_name("serve_config.yaml")
        self._gcs_port, self._dashboard_port = find_free_port(), find_free_port()
        self.environment |= {**RAY_FLAGS, **choose_own_ports()}
        # Ray's way of saying that there is one node: a test session says so for services of its own.
        self.environment.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def start_node(self, name: str) -> None:
        """A node more; the first one is the head. Returns when its raylet runs."""
        command = [_find_script("ray"), "start", "--block", "--disable-usage-stats"]
        command += ["--node-ip-address=127.0.0.1", f"--num-cpus={CPUS_PER_NODE}"]
        command += [
            f"--{port}-port={find_free_port()}"
            for port in (
                *("object-manager", "node-manager", "metrics-export", "runtime-env-agent"),
                *("dashboard-agent-listen", "dashboard-agent-grpc"),
            )
        ]
        command.append(f"--object-store-memory={128 * 2**20}")
        if self._nodes:
            command.append(f"--address=127.0.0.1:{self._gcs_port}")
        else:
            command += ["--head", f"--port={self._gcs_port}", f"--temp-dir={self._ray_dir}"]
            command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={self._dashboard_port}"]
            command.append(f"--ray-client-server-port={find_free_port()}")
        with self._log_file.open("ab") as log:
            self._nodes[name] = subprocess.Popen(
                command,
                env={**self.environment, NODE_VARIABLE: name},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: any("raylet" in p.name() for p in self.find_node(name)), f"{name}'s raylet")

    def deploy(self, config: Mapping[str, Any], *options: str, wait_s: float = 0) -> str:
        """`rollcall deploy`; what it says. It returns when the config has been accepted, or when it runs.

        Raises:
            RuntimeError: it was refused, or did not run in time; holds what the command said.
        """
        self._config_file.write_text(yaml.safe_dump(dict(config)))
        command = [sys.executable, "-m", "serving.cli", "deploy", "--config", str(self._config_file)]
        done = subprocess.run(
            [*command, "--timeout-s", str(wait_s), *options],
            env={**self.environment, "RAY_DASHBOARD_ADDRESS": f"http://127.0.0.1:{self._dashboard_port}"},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S + wait_s,
        )
        said = done.stdout + done.stderr
        if done.returncode != 0:
            raise RuntimeError(said)
        return said

    def find_node(self, name: str) -> list[psutil.Process]:
        """All processes of a node."""
        found = []
        for process in find_processes(self.data_dir):
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(NODE_VARIABLE) == name:
                    found.append(process)
        return found

    def kill_node(self, name: str) -> None:
        """kill -9 of all its processes, as if its machine had lost power."""
        kill_processes(self.find_node(name))
        self._nodes.pop(name).wait(10)

    def close(self) -> None:
        """End everything at once."""
        kill_processes(find_processes(self.data_dir))
        for process in self._nodes.values():
            process.wait(10)
        shutil.rmtree(self._ray_dir, ignore_errors=True)


def make_config(port: int, replicas: int, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`config/laptop.yaml` with so many replicas of each deployment, one of a kind on a node."""
    config = yaml.safe_load((REPOSITORY / "config" / "laptop.yaml").read_text())
    config["http_options"] |= {"host": "127.0.0.1", "port": port}
    application = config["applications"][0]
    application["args"] = dict(settings or {})
    for deployment in application["deployments"]:
        deployment["autoscaling_config"] |= {"min_replicas": replicas, "max_replicas": replicas}
        deployment["max_replicas_per_node"] = 1
    return dict(config)


@contextlib.contextmanager
def start_cluster(
    directory: Path, nodes: tuple[str, ...], environment: Mapping[str, str] | None = None
) -> Iterator[tuple[RayCluster, Target]]:
    """A cluster that serves, with one replica of everything on each node; ended when the block ends."""
    cluster = RayCluster(directory / "data", environment)
    try:
        cluster.run_command("admin", "create", "chaos")
        token = cluster.run_command("token", "chaos")
        for name in nodes:
            cluster.start_node(name)
        cluster.deploy(make_config(cluster.port, len(nodes)))
        wait_until(cluster.is_ready, "the service", START_TIMEOUT_S)
        yield cluster, populate(cluster, cluster.data_dir, token)
    finally:
        cluster.close()


def _find_script(name: str) -> str:
    return shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name) or name
