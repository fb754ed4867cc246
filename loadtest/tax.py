"""What a recognition costs through the service and in process: `python -m loadtest.tax`.

Everything is measured in one run on one machine, alternating, because only ratios travel between machines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from loadtest.baseline import load_pipeline, measure_in_process
from loadtest.client import LoadResult, recognise_repeatedly
from loadtest.cpu import CpuMeter
from loadtest.machine import count_cores, describe_run
from loadtest.pictures import make_one_face_pictures
from loadtest.service import Service
from serving.database import Database
from serving.gallery.embedded import EmbeddedGallery
from serving.gallery.records import FaceRecord
from serving.packs.configured import find_configured_pack
from serving.registry.registry import Registry
from serving.settings import Settings, load_settings

EVENT = "bench"
WARM_UP_S = 4.0

console = Console(highlight=False)


def main() -> None:
    """Parse, measure, print the tables and write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.tax", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--config", type=Path, default=Path("config/laptop.yaml"))
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=15.0, help="of load at each number of clients")
    parser.add_argument("--rounds", type=int, default=2, help="of in-process and service, alternating")
    parser.add_argument("--gallery", type=int, default=1000, help="people enrolled")
    parser.add_argument("--json", type=Path, default=Path("bench-results/tax.json"))
    arguments = parser.parse_args()
    report = run(arguments)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print_report(report)
    console.print(f"\nAs JSON: {arguments.json}")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The measurements, as one JSON-able object."""
    settings = load_settings()
    pictures = make_one_face_pictures(load_pipeline(settings).finder)
    in_process: list[tuple[float, float]] = []
    loads: dict[int, list[dict[str, Any]]] = {clients: [] for clients in arguments.clients}
    cores = count_cores()
    steps = arguments.rounds * (len(arguments.clients) + 1)
    with (
        tempfile.TemporaryDirectory(prefix="rollcall-bench-") as directory,
        Progress(console=console) as progress,
    ):
        task = progress.add_task("Measuring", total=steps)
        home = Path(directory)
        event_key = asyncio.run(create_event(home / "data"))
        for gallery_dir in (home / "data" / "gallery", *(home / f"worker-{n}" for n in range(cores))):
            fill_gallery(settings, gallery_dir, event_key, arguments.gallery)
        service = Service(home / "data", config=arguments.config)
        service.run_command("admin", "create", "bench")
        token = service.run_command("token", "bench")
        target = f"{service.url}/v1/events/{EVENT}/recognise"
        for _ in range(arguments.rounds):
            in_process.append(
                measure_in_process(settings, pictures, home, event_key, arguments.seconds, cores)
            )
            progress.advance(task)
            service.start()
            try:
                asyncio.run(enrol_people(service.url, token, pictures))
                asyncio.run(recognise_repeatedly(target, token, pictures, max(arguments.clients), WARM_UP_S))
                for clients in arguments.clients:
                    loads[clients].append(
                        measure_load(service, target, token, pictures, clients, arguments.seconds)
                    )
                    progress.advance(task)
            finally:
                service.stop()
    return summarise(arguments, in_process, loads, cores)


def fill_gallery(settings: Settings, directory: Path, event_key: str, people: int) -> None:
    """An embedded gallery with strangers: random unit vectors."""
    pack = find_configured_pack(settings)
    gallery = EmbeddedGallery(directory, pack.id, pack.dimension)
    gallery.open()
    vectors = np.random.default_rng(7).normal(size=(people, pack.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gallery.upsert(
        [
            FaceRecord(event_key, f"stranger-{place}", "0", vector, time.time())
            for place, vector in enumerate(vectors)
        ]
    )
    gallery.close()


async def create_event(data_dir: Path, args: Mapping[str, Any] | None = None) -> str:
    """The event, made where a service with these args will find it; its partition in the gallery."""
    settings = load_settings({**(args or {}), "data_dir": str(data_dir)})
    registry = Registry(Database(settings.registry_url))
    await registry.open()
    event = await registry.create_event(
        EVENT, None, find_configured_pack(settings).id, {"quality_level": "off"}
    )
    await registry.close()
    return event.key


async def enrol_people(url: str, token: str, pictures: list[bytes]) -> None:
    """Enrol who is in the pictures; again changes nothing."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}
    async with aiohttp.ClientSession(url, headers=headers) as session:
        for place, picture in enumerate(pictures):
            route = f"/v1/events/{EVENT}/people?person_id=person-{place}&on_duplicate=allow"
            async with session.post(route, data=picture) as answer:
                assert answer.status == 201, await answer.text()


def measure_load(
    service: Service, target: str, token: str, pictures: list[bytes], clients: int, seconds: float
) -> dict[str, Any]:
    """Rate, latency and CPU of the whole service under `clients` clients."""
    meter = CpuMeter()
    meter.start(service.processes())
    result: LoadResult = asyncio.run(recognise_repeatedly(target, token, pictures, clients, seconds))
    used = meter.stop(service.processes())
    answered = max(1, len(result.latencies_s))
    return {
        "rate_per_s": result.rate_per_s,
        "p50_ms": result.percentile_ms(50),
        "p95_ms": result.percentile_ms(95),
        "p99_ms": result.percentile_ms(99),
        "cpu_ms": sum(used.values()) / answered * 1000,
        "cpu_ms_by_role": {role: spent / answered * 1000 for role, spent in used.most_common()},
        "statuses": dict(result.statuses),
    }


def summarise(
    arguments: argparse.Namespace,
    in_process: list[tuple[float, float]],
    loads: dict[int, list[dict[str, Any]]],
    cores: int,
) -> dict[str, Any]:
    """Medians over the rounds, and the ratios."""
    in_process_ms = statistics.median(cost for cost, _ in in_process)
    rows = []
    for clients, measured in loads.items():
        row: dict[str, Any] = {"clients": clients}
        for key in ("rate_per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_ms"):
            row[key] = statistics.median(one[key] for one in measured)
        row["tax"] = row["cpu_ms"] / in_process_ms
        row["statuses"] = [one["statuses"] for one in measured]
        row["cpu_ms_by_role"] = {
            role: statistics.median(one["cpu_ms_by_role"].get(role, 0.0) for one in measured)
            for role in measured[0]["cpu_ms_by_role"]
        }
        rows.append(row)
    return {
        "schema": "rollcall-tax/1",
        **describe_run(),
        "pack": find_configured_pack(load_settings()).id,
        "picture": "one face, 640x480 JPEG",
        "config": str(arguments.config),
        "seconds": arguments.seconds,
        "rounds": arguments.rounds,
        "in_process": {
            "cpu_ms": in_process_ms,
            "rate_per_s": statistics.median(rate for _, rate in in_process),
            "workers": cores,
            "cpu_ms_of_rounds": [cost for cost, _ in in_process],
        },
        "service": rows,
    }


def print_report(report: dict[str, Any]) -> None:
    """The tables a person reads."""
    base = report["in_process"]
    console.print(
        f"\n[bold]{report['pack']}[/], {report['picture']}, {report['machine']['cores']} cores, "
        f"median of {report['rounds']} rounds of {report['seconds']:g} s"
    )
    table = Table("", "requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms/request", "graph tax")
    table.add_row(
        f"in process, {base['workers']} workers",
        f"{base['rate_per_s']:.1f}",
        "",
        "",
        "",
        f"{base['cpu_ms']:.1f}",
        "1",
    )
    for row in report["service"]:
        figures = [f"{row[key]:.1f}" for key in ("rate_per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_ms")]
        table.add_row(f"service, {row['clients']} clients", *figures, f"{row['tax']:.2f}")
    console.print(table)
    last = report["service"][-1]
    roles = Table(f"CPU ms/request at {last['clients']} clients", "")
    for role, spent in last["cpu_ms_by_role"].items():
        roles.add_row(role, f"{spent:.2f}")
    console.print(roles)


if __name__ == "__main__":
    main()
