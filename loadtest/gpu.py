"""How much one GPU recognises through HTTP, beside bare ONNX Runtime on it: `python -m loadtest.gpu`.

The service gets more and more clients in a closed loop; counted is the highest rate whose p99 is within the
bound. Beside it, on the same GPU after the service has ended, detector and embedder run alone in ONNX Runtime
at their best batch. Without an NVIDIA GPU it says so and ends with 3.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest.baseline import load_pipeline
from loadtest.client import recognise_from_processes
from loadtest.machine import count_cores, describe_run
from loadtest.pictures import make_one_face_pictures
from loadtest.replicas import NOT_RUN, WARM_UP_S, find_served_pack, run_filled_service
from serving.settings import load_settings
from serving.vision.nvidia import read_driver

CORES_NEEDED = 16

console = Console(highlight=False)


def explain_absence() -> str | None:
    """Why nothing can be measured here, or None."""
    if not read_driver().gpus:
        return "no NVIDIA GPU"
    if count_cores() < CORES_NEEDED:
        return f"{CORES_NEEDED} cores are needed, and here are {count_cores()}"
    return None


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.gpu", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--config", type=Path, default=Path("config/one-gpu.yaml"))
    parser.add_argument("--provider", default="cuda", help="of the bare measurement")
    parser.add_argument("--clients", type=int, nargs="+", default=[16, 64, 128, 256, 384])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--p99-ms", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=10.0, help="of load at each number of clients")
    parser.add_argument("--anyway", action="store_true", help="although the machine is too small")
    parser.add_argument("--json", type=Path, default=Path("bench-results/gpu.json"))
    options = parser.parse_args()
    absence = explain_absence()
    if absence and not options.anyway:
        console.print(f"not run: {absence}")
        return NOT_RUN
    rows = measure_service(options)
    best = max((row["rate_per_s"] for row in rows if row["p99_ms"] <= options.p99_ms), default=0.0)
    bare = measure_bare(options)
    report = {
        "schema": "rollcall-gpu/1",
        **describe_run(),
        "gpus": [gpu.name for gpu in read_driver().gpus],
        "pack": find_served_pack(options.config),
        "config": str(options.config),
        "p99_ms": options.p99_ms,
        "rows": rows,
        "rate_per_s": best,
        "bare_per_s": bare,
        "of_bare": best / bare,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    table = Table("clients", "requests/s", "p50 ms", "p99 ms")
    for row in rows:
        table.add_row(str(row["clients"]), *(f"{row[key]:.1f}" for key in ("rate_per_s", "p50_ms", "p99_ms")))
    console.print(table)
    console.print(
        f"within {options.p99_ms:g} ms: {best:.0f}/s; bare ONNX Runtime {bare:.0f}/s; {best / bare:.2f} of it"
    )
    console.print(f"As JSON: {options.json}")
    return 0


def measure_service(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rate and latency at each number of clients."""
    pictures = make_one_face_pictures(load_pipeline(load_settings()).finder)
    rows = []
    processes = max(1, count_cores() // 4)
    with run_filled_service(options.config, None, 1000, pictures) as (url, token):
        recognise_from_processes(url, token, pictures, max(options.clients), WARM_UP_S, processes)
        for clients in options.clients:
            found = recognise_from_processes(url, token, pictures, clients, options.seconds, processes)
            percentiles = {f"p{percent}_ms": found.percentile_ms(percent) for percent in (50, 99)}
            rows.append(
                {
                    "clients": clients,
                    "rate_per_s": found.rate_per_s,
                    **percentiles,
                    "statuses": dict(found.statuses),
                }
            )
    return rows


def measure_bare(options: argparse.Namespace) -> float:
    """Pictures of one face a second that detector and embedder take turns on, each at its best batch."""
    file = options.json.with_name("gpu-bare.json")
    command = [sys.executable, "-m", "loadtest.providers", "--providers", options.provider]
    command += [
        "--pack",
        find_served_pack(options.config),
        "--batches",
        *map(str, options.batches),
        "--json",
        str(file),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    best: dict[str, float] = {}
    for row in json.loads(file.read_text(encoding="utf-8"))["rows"]:
        if "refused" not in row:
            best[row["model"]] = max(best.get(row["model"], 0.0), row["per_s"])
    if len(best) != 2:
        raise RuntimeError(f"a model does not run on {options.provider}: see {file}")
    return 1 / sum(1 / rate for rate in best.values())


if __name__ == "__main__":
    sys.exit(main())
