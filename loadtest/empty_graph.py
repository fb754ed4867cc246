"""What the graph costs by itself, with empty models, beside Ray's defaults: `python -m loadtest.empty_graph`.

The same four boxes pass the same bytes, in turns: as Rollcall sets them (its Ray flags, HAProxy, coalesced
calls, batches, its serve config), and as Ray sets them (Serve's own Python proxy, a handle call for each
request and stage, no flags, no options). CPU is that of every process of each, Ray's included; the load
generator is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from rich.console import Console
from rich.table import Table

from loadtest.client import recognise_repeatedly
from loadtest.cpu import CpuMeter
from loadtest.machine import describe_run
from loadtest.service import START_TIMEOUT_S, STOP_TIMEOUT_S, Service, run_service
from serving.runtime import find_free_port

FORMS = ("rollcall", "defaults")
WARM_UP_S = 3.0
PLANNED_CPUS = 16
"""That Ray may plan with under its defaults, where each replica asks for a whole one."""

_REPOSITORY = Path(__file__).resolve().parent.parent

console = Console(highlight=False)


def main() -> None:
    """Parse, measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.empty_graph", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--config", type=Path, default=Path("config/laptop.yaml"))
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=8.0, help="of load on each, in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, default=Path("bench-results/empty_graph.json"))
    parser.add_argument("--serve-defaults", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_defaults:
        serve_by_defaults(options.serve_defaults, count_detectors(options.config))
        return
    report = measure(options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_report(report)
    console.print(f"As JSON: {options.json}")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The measurements, as one JSON-able object."""
    rounds: dict[str, list[dict[str, Any]]] = {form: [] for form in FORMS}
    for _ in range(options.rounds):
        for form in FORMS:
            runner = run_rollcall(options.config) if form == "rollcall" else run_defaults(options.config)
            with runner as (url, pid):
                rounds[form].append(measure_load(url, pid, options.clients, options.seconds))
    return {
        "schema": "rollcall-empty-graph/1",
        **describe_run(),
        "config": str(options.config),
        "clients": options.clients,
        "seconds": options.seconds,
        "rounds": options.rounds,
        **summarise(rounds),
    }


def summarise(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians of each form, with its rounds; `ratio` is the median of the ratios of neighbouring rounds."""
    ratios = [
        own["cpu_ms"] / other["cpu_ms"] for own, other in zip(*(rounds[form] for form in FORMS), strict=True)
    ]
    found: dict[str, Any] = {"ratio": statistics.median(ratios), "ratios": ratios, "forms": {}}
    for form, measured in rounds.items():
        medians = {
            key: statistics.median(one[key] for one in measured)
            for key in ("rate_per_s", "p50_ms", "p99_ms", "cpu_ms")
        }
        found["forms"][form] = {**medians, "cpu_ms_by_role": measured[-1]["cpu_ms_by_role"]}
    return found


def measure_load(url: str, pid: int, clients: int, seconds: float) -> dict[str, Any]:
    """Rate, latency and CPU of a process and all its descendants under load.

    Raises:
        RuntimeError: an answer was not good.
    """
    from loadtest.empty_stages import BODY_BYTES, ROUTE

    body = np.random.default_rng(1).bytes(BODY_BYTES)
    root = psutil.Process(pid)
    asyncio.run(recognise_repeatedly(url + ROUTE, "none", [body], clients, WARM_UP_S))
    meter = CpuMeter()
    meter.start([root, *root.children(recursive=True)])
    result = asyncio.run(recognise_repeatedly(url + ROUTE, "none", [body], clients, seconds))
    used = meter.stop([root, *root.children(recursive=True)])
    good = len(result.latencies_s)
    if not good or good != sum(result.statuses.values()):
        raise RuntimeError(f"not every answer was good: {dict(result.statuses)}")
    return {
        "rate_per_s": result.rate_per_s,
        "p50_ms": result.percentile_ms(50),
        "p99_ms": result.percentile_ms(99),
        "cpu_ms": sum(used.values()) / good * 1000,
        "cpu_ms_by_role": {role: spent / good * 1000 for role, spent in used.most_common()},
    }


@contextlib.contextmanager
def run_rollcall(config: Path) -> Iterator[tuple[str, int]]:
    """`rollcall serve` with empty stages in the place of its own; its URL and process id."""
    with tempfile.TemporaryDirectory(prefix="rollcall-empty-") as directory:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        content["applications"][0]["import_path"] = "loadtest.empty_stages:build"
        derived = Path(directory) / "empty.yaml"
        derived.write_text(yaml.safe_dump(content), encoding="utf-8")
        service = Service(Path(directory) / "data", config=derived, environment=_make_environment())
        with run_service(service):
            yield service.url, service.pid


@contextlib.contextmanager
def run_defaults(config: Path) -> Iterator[tuple[str, int]]:
    """The graph by Ray's defaults; its URL and process id."""
    port = find_free_port()
    command = [sys.executable, "-m", "loadtest.empty_graph", "--serve-defaults", str(port)]
    # Nothing that Rollcall would have set may come in from outside.
    environment = {name: value for name, value in _make_environment().items() if not name.startswith("RAY_")}
    with tempfile.NamedTemporaryFile("w+", prefix="rollcall-empty-", suffix=".log") as log:
        process = subprocess.Popen(
            [*command, "--config", str(config.absolute())],
            env={**environment, "RAY_USAGE_STATS_ENABLED": "0"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_ready(process, url, log.name)
            yield url, process.pid
        finally:
            end_process(process, STOP_TIMEOUT_S)


def end_process(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Ctrl-C, then, to what of it and its descendants is still there, kill -9.

    Serve by its defaults at times never comes back from its own shutdown; what was measured stands.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        descendants = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
        for each in (process, *descendants):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(descendants, timeout=timeout_s)
    process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: str) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"it did not start:\n{Path(log).read_text()[-3000:]}") from None
            time.sleep(0.2)


def serve_by_defaults(port: int, detectors: int) -> None:
    """Serve the graph as Ray would until interrupted."""
    import ray
    from ray import serve

    from loadtest.empty_stages import build_by_defaults

    # A shell that starts the benchmark in the background ignores it for all that follows.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ray.init(address="local", num_cpus=PLANNED_CPUS, include_dashboard=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(build_by_defaults(detectors))
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        serve.shutdown()
        ray.shutdown()


def count_detectors(config: Path) -> int:
    """How many replicas of the Detector a serve config begins with."""
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    for deployment in content["applications"][0]["deployments"]:
        if deployment["name"] == "Detector":
            return int(deployment["autoscaling_config"]["min_replicas"])
    return 1


def _make_environment() -> dict[str, str]:
    """With this package where Ray's workers find it."""
    return {**os.environ, "PYTHONPATH": str(_REPOSITORY)}


def print_report(report: dict[str, Any]) -> None:
    """The table a person reads."""
    table = Table(
        f"empty models, {report['clients']} clients", "requests/s", "p50 ms", "p99 ms", "CPU ms/request"
    )
    for form, row in report["forms"].items():
        table.add_row(form, *(f"{row[key]:.1f}" for key in ("rate_per_s", "p50_ms", "p99_ms", "cpu_ms")))
    console.print(table)
    for form, row in report["forms"].items():
        roles = ", ".join(f"{role} {spent:.2f}" for role, spent in row["cpu_ms_by_role"].items())
        console.print(f"{form}: {roles}")
    console.print(f"Rollcall / Ray's defaults: {report['ratio']:.3f}")


if __name__ == "__main__":
    main()
