"""Rollcall beside plain FastAPI services that do the same work, in one run: `python -m loadtest.compare`.

Contenders take turns: Rollcall, `plain_service` with a thread pool, and `plain_service` in its naive form.
Each is started, warmed up, asked by 1, 4 and 16 clients, and stopped, in every round. Ratios are what counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from loadtest.baseline import load_pipeline
from loadtest.client import recognise_repeatedly
from loadtest.cpu import CpuMeter
from loadtest.machine import describe_run
from loadtest.pictures import make_one_face_pictures
from loadtest.plain_service import FORMS, ROUTE
from loadtest.service import Service
from loadtest.tax import EVENT, create_event, enrol_people, fill_gallery
from serving.packs.configured import find_configured_pack
from serving.runtime import find_free_port
from serving.settings import load_settings

ROLLCALL = "rollcall"
CONTENDERS = (ROLLCALL, *FORMS)
WARM_UP_S = 4.0
START_TIMEOUT_S = 120.0

Rounds = dict[str, dict[int, list[dict[str, float]]]]

console = Console(highlight=False)


def main() -> None:
    """Parse, measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.compare", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--config", type=Path, default=Path("config/laptop.yaml"))
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=10.0, help="of load at each number of clients")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--gallery", type=int, default=1000, help="people enrolled")
    parser.add_argument("--json", type=Path, default=Path("bench-results/compare.json"))
    options = parser.parse_args()
    report = compare(options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_comparison(report)
    console.print(f"As JSON: {options.json}")


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """The measurements, as one JSON-able object."""
    settings = load_settings()
    pictures = make_one_face_pictures(load_pipeline(settings).finder)
    rounds: Rounds = {name: {clients: [] for clients in options.clients} for name in CONTENDERS}
    with tempfile.TemporaryDirectory(prefix="rollcall-compare-") as directory:
        home = Path(directory)
        key = asyncio.run(create_event(home / "data"))
        for gallery in (home / "data" / "gallery", *(home / form for form in FORMS)):
            fill_gallery(settings, gallery, key, options.gallery)
        service = Service(home / "data", config=options.config)
        service.run_command("admin", "create", "bench")
        token = service.run_command("token", "bench")
        for _ in range(options.rounds):
            for name in CONTENDERS:
                starter = (
                    _run_rollcall(service, token, pictures)
                    if name == ROLLCALL
                    else _run_plain(name, home, key)
                )
                with starter as (url, pid):
                    asyncio.run(recognise_repeatedly(url, token, pictures, max(options.clients), WARM_UP_S))
                    for clients in options.clients:
                        found = _measure(url, pid, token, pictures, clients, options.seconds)
                        rounds[name][clients].append(found)
    return summarise(options, rounds) | {"pack": find_configured_pack(settings).id}


@contextlib.contextmanager
def _run_rollcall(service: Service, token: str, pictures: list[bytes]) -> Iterator[tuple[str, int]]:
    service.start()
    try:
        asyncio.run(enrol_people(service.url, token, pictures))
        yield f"{service.url}/v1/events/{EVENT}/recognise", service.pid
    finally:
        service.stop()


@contextlib.contextmanager
def _run_plain(form: str, home: Path, key: str) -> Iterator[tuple[str, int]]:
    port = find_free_port()
    command = [sys.executable, "-m", "loadtest.plain_service", "--form", form, "--port", str(port)]
    process = subprocess.Popen([*command, "--gallery", str(home / form), "--event", key])
    try:
        until = time.monotonic() + START_TIMEOUT_S
        while not _is_ready(f"http://127.0.0.1:{port}/readyz"):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the plain service ({form}) did not start")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}{ROUTE}", process.pid
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _measure(
    url: str, pid: int, token: str, pictures: list[bytes], clients: int, seconds: float
) -> dict[str, float]:
    root = psutil.Process(pid)
    meter = CpuMeter()
    meter.start([root, *root.children(recursive=True)])
    result = asyncio.run(recognise_repeatedly(url, token, pictures, clients, seconds))
    used_s = sum(meter.stop([root, *root.children(recursive=True)]).values())
    good = len(result.latencies_s)
    if good != sum(result.statuses.values()):
        raise RuntimeError(f"not every answer was good: {dict(result.statuses)}")
    return {
        "rate_per_s": result.rate_per_s,
        "cpu_ms": used_s / max(1, good) * 1000,
        **{f"p{percent}_ms": result.percentile_ms(percent) for percent in (50, 95, 99)},
    }


def summarise(options: argparse.Namespace, rounds: Rounds) -> dict[str, Any]:
    """Medians over the rounds; `ratio` is Rollcall's rate over the contender's, also a median."""
    rows = []
    for clients in options.clients:
        for name in CONTENDERS:
            measured, own = rounds[name][clients], rounds[ROLLCALL][clients]
            row: dict[str, Any] = {"clients": clients, "contender": name}
            for key in measured[0]:
                row[key] = statistics.median(one[key] for one in measured)
            ratios = [a["rate_per_s"] / b["rate_per_s"] for a, b in zip(own, measured, strict=True)]
            row["ratio"] = statistics.median(ratios)
            row["ratios"] = ratios
            rows.append(row)
    return {
        "schema": "rollcall-compare/1",
        **describe_run(),
        "config": str(options.config),
        "seconds": options.seconds,
        "rounds": options.rounds,
        "gallery": options.gallery,
        "rows": rows,
    }


def print_comparison(report: dict[str, Any]) -> None:
    """The table a person reads."""
    table = Table(
        "clients", "", "requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms/request", "Rollcall / it"
    )
    for row in report["rows"]:
        figures = [f"{row[key]:.1f}" for key in ("rate_per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_ms")]
        ratio = "" if row["contender"] == ROLLCALL else f"{row['ratio']:.2f}"
        table.add_row(str(row["clients"]), row["contender"], *figures, ratio)
    console.print(table)


if __name__ == "__main__":
    main()
