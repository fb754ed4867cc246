"""A Prometheus of its own, with the configuration that Rollcall ships, for tests."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from serving.runtime import find_free_port


class Prometheus:
    """Debian's `prometheus` on a free loopback port.

    Args:
        config: the shipped configuration, used but for its intervals and targets.
        targets: job -> `host:port`; a job without one is left out.
        folder: where it keeps its data.
    """

    def __init__(self, config: Path, targets: Mapping[str, str], folder: Path) -> None:
        content = yaml.safe_load(config.read_text())
        content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        content["rule_files"] = [str(config.parent / name) for name in content["rule_files"]]
        jobs = [job for job in content["scrape_configs"] if job["job_name"] in targets]
        for job in jobs:
            job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
        content["scrape_configs"] = jobs
        folder.mkdir()
        file = folder / "prometheus.yaml"
        file.write_text(yaml.safe_dump(content))
        port = find_free_port()
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=error",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30)

    @staticmethod
    def is_installed() -> bool:
        """Whether the tests can have one."""
        return shutil.which("prometheus") is not None and shutil.which("promtool") is not None

    def stop(self) -> None:
        """End it and let go of its files."""
        self._process.terminate()
        self._process.wait(30)
        self._client.close()
        self._log.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now.

        Raises:
            AssertionError: Prometheus calls it wrong.
        """
        answer = self._get("/query", query=expression)
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    def read_rules(self) -> list[dict[str, Any]]:
        """The alerts with their health."""
        groups = self._get("/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def _get(self, path: str, **params: str) -> httpx.Response:
        while True:  # until it listens, or has ended
            try:
                return self._client.get(path, params=params)
            except httpx.ConnectError:
                assert self._process.poll() is None, "prometheus ended: see its log"
                time.sleep(0.05)
