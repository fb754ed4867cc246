"""`make load`: a load test of a fresh service of its own on this machine, which it starts and stops.

    python -m loadtest.local [--url URL | --config FILE] [options of Locust and of loadtest/options.py]

With --url it is a service that runs, and the token is in ROLLCALL_TOKEN.

Exits as Locust does: 0 when the objectives are held, 2 when one is missed, 3 when there could be no load.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.endings import hold_endings, unwind_when_ended
from loadtest.service import Service, run_service

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
DEFAULT_OPTIONS = (
    *("--shape", "steady", "--rate", "5", "--seconds", "60", "--warm-up", "10"),
    *("--slo-p99-ms", "2000", "--slo-shed", "0"),
)
"""What `make load` asks where ARGS say nothing: a rate that two cores hold."""
POLL_S = 0.05
STOP_TIMEOUT_S = 60.0
"""Of a generator that is told to stop: it waits for what is under way, and takes back what it has made."""


@dataclass(frozen=True, slots=True)
class Target:
    """A service that load may be put on."""

    url: str
    token: str
    service: Service | None = None


@contextlib.contextmanager
def start_target(config: Path, environment: Mapping[str, str] | None = None) -> Iterator[Target]:
    """A fresh service with an administrator, on data of its own; removed when the block ends."""
    with unwind_when_ended(), tempfile.TemporaryDirectory(prefix="rollcall-load-") as directory:
        service = Service(Path(directory) / "data", config=config, environment=environment)
        service.run_command("admin", "create", "load")
        token = service.run_command("token", "load")
        with run_service(service):
            yield Target(service.url, token, service)


def run_locust(target: Target, arguments: Sequence[str], *, is_quiet: bool = False) -> int:
    """Locust headless against target; its exit status. A quiet one says only what goes wrong."""
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
    command += ["--host", target.url, *arguments]
    # The service's environment, so that the token stays off the command line.
    own = {} if target.service is None else target.service.environment
    environment = {**os.environ, **own, "ROLLCALL_TOKEN": target.token}
    if is_quiet:
        command += ["--skip-log-setup"]
    output = subprocess.DEVNULL if is_quiet else None
    with hold_endings() as ended:
        # In a session of its own, which can go before the service's (`take_niceness`).
        process = subprocess.Popen(command, env=environment, stdout=output, start_new_session=True)
        try:
            while process.poll() is None and not ended:
                time.sleep(POLL_S)
            if ended:  # what ends this command does not reach that session
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):  # as it is when no worker is left either
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
    return status


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.local", description=(__doc__ or "").splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--config", type=Path, default=Path("config/laptop.yaml"))
    parser.add_argument("--url")
    options, rest = parser.parse_known_args(arguments)
    if options.url:
        with unwind_when_ended():
            known = Target(options.url, os.environ.get("ROLLCALL_TOKEN", ""))
            return run_locust(known, [*DEFAULT_OPTIONS, *rest])
    with start_target(options.config) as target:
        return run_locust(target, [*DEFAULT_OPTIONS, *rest])


if __name__ == "__main__":
    sys.exit(main())
