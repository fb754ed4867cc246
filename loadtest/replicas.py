"""Whether more replicas give more recognitions: `python -m loadtest.replicas`.

Starts the service once for each number of detectors (with half as many embedders), finds its highest rate
in a closed loop, and compares the last number with the first: linear is 1. Needs a core for each detector of
the last number and as many again for all else; on a smaller machine it says so and ends with 3, unless
`--anyway`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from loadtest.baseline import load_pipeline
from loadtest.client import recognise_from_processes
from loadtest.machine import count_cores, describe_run
from loadtest.pictures import make_one_face_pictures
from loadtest.service import Service, run_service
from loadtest.tax import EVENT, create_event, enrol_people, fill_gallery
from serving.packs.configured import find_configured_pack
from serving.settings import load_settings

NOT_RUN = 3
CLIENTS_PER_DETECTOR = 8
WARM_UP_S = 4.0

console = Console(highlight=False)


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.replicas", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--config", type=Path, default=Path("config/sixteen-cores.yaml"))
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4, 8], help="detectors, rising")
    parser.add_argument("--seconds", type=float, default=10.0, help="of load on each number")
    parser.add_argument("--gallery", type=int, default=1000, help="people enrolled")
    parser.add_argument("--anyway", action="store_true", help="although the machine is too small")
    parser.add_argument("--json", type=Path, default=Path("bench-results/replicas.json"))
    options = parser.parse_args()
    cores, needed = count_cores(), 2 * max(options.replicas)
    if cores < needed and not options.anyway:
        console.print(f"not run: {needed} cores are needed, and here are {cores}")
        return NOT_RUN
    rows = measure(options, cores)
    first, last = rows[0], rows[-1]
    report = {
        "schema": "rollcall-replicas/1",
        **describe_run(),
        "config": str(options.config),
        "pack": find_served_pack(options.config),
        "rows": rows,
        "of_linear": last["rate_per_s"] / first["rate_per_s"] / (last["detectors"] / first["detectors"]),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    table = Table("detectors", "requests/s", "p50 ms", "p99 ms")
    for row in rows:
        table.add_row(
            str(row["detectors"]), *(f"{row[key]:.1f}" for key in ("rate_per_s", "p50_ms", "p99_ms"))
        )
    console.print(table)
    console.print(f"of linear: {report['of_linear']:.2f}\nAs JSON: {options.json}")
    return 0


def measure(options: argparse.Namespace, cores: int) -> list[dict[str, Any]]:
    """The highest rate at each number of detectors."""
    pictures = make_one_face_pictures(load_pipeline(load_settings()).finder)
    rows = []
    for detectors in options.replicas:
        with run_filled_service(options.config, detectors, options.gallery, pictures) as (url, token):
            clients = CLIENTS_PER_DETECTOR * detectors
            processes = max(1, cores // 4)
            recognise_from_processes(url, token, pictures, clients, WARM_UP_S, processes)
            found = recognise_from_processes(url, token, pictures, clients, options.seconds, processes)
        if found.statuses.keys() != {200}:
            raise RuntimeError(f"not every answer was good: {dict(found.statuses)}")
        percentiles = {f"p{percent}_ms": found.percentile_ms(percent) for percent in (50, 99)}
        rows.append({"detectors": detectors, "rate_per_s": found.rate_per_s, **percentiles})
    return rows


@contextmanager
def run_filled_service(
    config: Path, detectors: int | None, gallery: int, pictures: Sequence[bytes]
) -> Iterator[tuple[str, str]]:
    """A service on a gallery of strangers at which who is in the pictures is enrolled.

    Args:
        config: of the service.
        detectors: how many; None: as config says.
        gallery: strangers.

    Yields:
        The URL to recognise at and a token.
    """
    with tempfile.TemporaryDirectory(prefix="rollcall-replicas-") as directory:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        if detectors is not None:
            fix_replicas(content, detectors)
        derived = Path(directory) / "config.yaml"
        derived.write_text(yaml.safe_dump(content), encoding="utf-8")
        data = Path(directory) / "data"
        args = content["applications"][0]["args"]
        key = asyncio.run(create_event(data, args))
        fill_gallery(load_settings(args), data / "gallery", key, gallery)
        service = Service(data, config=derived)
        service.run_command("admin", "create", "bench")
        token = service.run_command("token", "bench")
        with run_service(service):
            asyncio.run(enrol_people(service.url, token, list(pictures)))
            yield f"{service.url}/v1/events/{EVENT}/recognise", token


def fix_replicas(content: dict[str, Any], detectors: int) -> None:
    """So many detectors, and half as many embedders, in the content of a serve config."""
    numbers = {"Detector": detectors, "Embedder": math.ceil(detectors / 2)}
    for deployment in content["applications"][0]["deployments"]:
        if deployment["name"] in numbers:
            count = numbers[deployment["name"]]
            deployment["autoscaling_config"] |= {"min_replicas": count, "max_replicas": count}
        if deployment["name"] == "Ingress":
            deployment["user_config"]["detector"]["max_calls"] = 2 * detectors


def find_served_pack(config: Path) -> str:
    """The id of the pack that a serve config serves."""
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    return find_configured_pack(load_settings(content["applications"][0]["args"])).id


if __name__ == "__main__":
    sys.exit(main())
