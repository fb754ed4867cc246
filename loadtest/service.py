"""A Rollcall of its own, started by the real command and stopped without leftovers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from serving.runtime import choose_own_ports, find_free_port

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0


def _is_of_load(variable: str) -> bool:
    """Whether it is one of `loadtest/options.py`, which Rollcall would refuse as a setting that is none."""
    return variable.startswith("ROLLCALL_LOAD_") and not variable.startswith("ROLLCALL_LOAD__")


class Service:
    """`rollcall serve` on a free loopback port.

    Args:
        data_dir: gallery, registry and keys; kept when the service stops.
        config: the serve config.
        environment: more environment variables, `ROLLCALL_*` settings among them.
        log_file: where its output goes.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        config: Path = Path("config/laptop.yaml"),
        environment: Mapping[str, str] | None = None,
        log_file: Path | None = None,
    ) -> None:
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.metrics_url = f"http://127.0.0.1:{find_free_port()}/metrics"
        self._config = config
        # The parent's ports are the parent's: a test session has them in its environment.
        self.environment = {
            **{name: value for name, value in os.environ.items() if not _is_of_load(name)},
            **choose_own_ports(),
            "ROLLCALL_DATA_DIR": str(data_dir),
            **(environment or {}),
        }
        self._log_file = log_file or data_dir.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the command; everything else is among its descendants."""
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> float:
        """Start and wait until it is ready; the seconds that took.

        Raises:
            RuntimeError: it ended, or was not ready within `START_TIMEOUT_S`; holds the end of its log.
        """
        began = time.monotonic()
        command = [sys.executable, "-m", "serving.cli", "serve", "--config", str(self._config)]
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port), "--metrics-port", str(urlsplit(self.metrics_url).port)],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() - began > START_TIMEOUT_S:
                self.kill()
                raise RuntimeError(f"the service did not start:\n{self.read_log()[-3000:]}")
            time.sleep(0.2)
        return time.monotonic() - began

    def is_ready(self) -> bool:
        """Whether `/readyz` says so."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def run_command(self, *arguments: str) -> str:
        """The output of `rollcall ARGUMENTS` with this service's settings."""
        done = subprocess.run(
            [sys.executable, "-m", "serving.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode != 0:
            raise RuntimeError(f"rollcall {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()

    def processes(self) -> list[psutil.Process]:
        """The command and all its descendants that live now."""
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def stop(self) -> list[psutil.Process]:
        """Ctrl-C, then wait; what it left running (nothing, if all is well) is killed and returned."""
        descendants = self.processes()
        os.kill(self.pid, signal.SIGINT)
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        _, left = psutil.wait_procs(descendants, timeout=5)
        _kill(left)
        return list(left)

    def wait(self, timeout_s: float) -> int:
        """The command's exit status, once it has ended by itself.

        Raises:
            subprocess.TimeoutExpired: it has not within `timeout_s`.
        """
        assert self._process is not None, "not started"
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """kill -9 of every process at once, as a power cut would."""
        if self._process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            _kill(self.processes())
        self._process.wait(10)

    def read_log(self) -> str:
        """All that it printed."""
        return self._log_file.read_text(errors="replace")


@contextlib.contextmanager
def run_service(service: Service) -> Iterator[Service]:
    """`service`, started; stopped when the block ends."""
    service.start()
    try:
        yield service
    finally:
        service.stop()


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
