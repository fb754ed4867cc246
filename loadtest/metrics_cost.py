"""What counting costs: `python -m loadtest.metrics_cost`.

Makes the calls that one recognition of a picture with one face makes, in all processes together, and gives
their CPU time; then the CPU time of a scrape of a node with that many replicas, and of doing nothing. With
`--ray` also what one record costs through `ray.util.metrics`, in the process that makes it alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from serving.packs.configured import find_configured_pack
from serving.runtime import find_free_port
from serving.settings import Settings
from serving.telemetry import recording
from serving.telemetry.exporter import Exporter
from serving.telemetry.exposition import Exposition
from serving.telemetry.node_directory import NodeDirectory
from serving.telemetry.stage_meters import BatchMeter, CallMeter

STAGES = ("detector", "embedder", "matcher")
ROUTE = "/v1/events/{event}/recognise"
LOOK_UPS = 3
"""Units of work in the database for one recognition: the caller, the event, the names."""


class Recognition:
    """The counting of one recognition, batches and parcels of one, which is the dearest case."""

    def __init__(self, pack: str) -> None:
        self._pack = pack
        self._calls = [CallMeter(stage, pack) for stage in STAGES]
        self._batches = [BatchMeter(stage, pack) for stage in STAGES]

    def count(self) -> None:
        """Once."""
        recording.note_in_flight(1)
        recording.note_admitted(1, 50_000)
        for calls, batches in zip(self._calls, self._batches, strict=True):
            calls.note_waiting(1)
            calls.note_departure([0.001], 1)
            calls.note_waiting(0)
            batches.note_batch([0.001], 0.03, 0)
            batches.note_parcel(0.031)
            calls.note_answer(0.033)
            calls.note_return(0)
        self._batches[0].note_pictures([1])
        recording.note_faces(self._pack, "event", [("match", 0.95, 1e-4)])
        for _ in range(LOOK_UPS):
            recording.note_database("look_up", 0.0001, failed=False)
        recording.note_audit_queue(1)
        recording.note_audit_queue(0)
        recording.note_admitted(0, 0)
        recording.note_in_flight(-1)
        recording.note_request("POST", ROUTE, 200, 0.08, None)


def measure_cpu_us(work: Callable[[], object], times: int, rounds: int) -> list[float]:
    """CPU microseconds of one call, of each round, this process alone."""
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(times):
            work()
        spent.append((time.process_time() - began) / times * 1e6)
    return spent


def measure_scrape_ms(directory: Path, pack: str, replicas: int, rounds: int) -> tuple[list[float], int]:
    """CPU milliseconds of a scrape, and its bytes, where so many processes have counted one recognition."""
    command = [sys.executable, "-m", "loadtest.metrics_cost", "--count-in", str(directory), "--pack", pack]
    others = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(replicas)
    ]
    try:
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
        node = NodeDirectory(directory)
        spent = measure_cpu_us(lambda: Exposition(node).render(), 5, rounds)
        return [each / 1000 for each in spent], len(Exposition(node).render())
    finally:
        for other in others:
            other.communicate()


def measure_idle_us(seconds: float) -> float:
    """CPU microseconds a second of two replicas that wait: one's exporter listens, the other's waits to."""
    port = find_free_port()
    exporters = [Exporter("127.0.0.1", port, None, bytes, "text/plain") for _ in range(2)]
    for exporter in exporters:
        exporter.start()
    began = time.process_time()
    time.sleep(seconds)
    return (time.process_time() - began) / seconds * 1e6


def measure_ray_us(times: int, rounds: int) -> dict[str, list[float]]:
    """CPU microseconds of one record through `ray.util.metrics`, in this process alone."""
    import ray
    from ray.util.metrics import Counter, Histogram

    ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20)
    try:
        tags = {"stage": "detector", "pack": "starter"}
        names = tuple(tags)
        counter = Counter("rollcall_bench", tag_keys=names)
        histogram = Histogram("rollcall_bench_seconds", boundaries=[0.01, 0.1, 1.0], tag_keys=names)
        return {
            "counter": measure_cpu_us(lambda: counter.inc(1.0, tags), times, rounds),
            "histogram": measure_cpu_us(lambda: histogram.observe(0.05, tags), times, rounds),
        }
    finally:
        ray.shutdown()


def main() -> None:
    """Measure, print and, where asked, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--replicas", type=int, default=7)
    parser.add_argument("--idle-seconds", type=float, default=15.0)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--count-in", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--pack", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    pack = asked.pack or find_configured_pack(Settings()).id
    if asked.count_in:
        NodeDirectory(asked.count_in).join("Other")
        Recognition(pack).count()
        print("ready", flush=True)
        sys.stdin.read()
        return
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        NodeDirectory(directory).join("Ingress")
        found: dict[str, object] = {
            "recognition_cpu_us": measure_cpu_us(Recognition(pack).count, asked.times, asked.rounds)
        }
        scrape, size = measure_scrape_ms(directory, pack, asked.replicas - 1, asked.rounds)
        found["idle_cpu_us_per_s"] = measure_idle_us(asked.idle_seconds)
        found |= {"scrape_cpu_ms": scrape, "scrape_bytes": size, "replicas": asked.replicas}
    if asked.ray:
        for kind, spent in measure_ray_us(asked.times, asked.rounds).items():
            found[f"ray_{kind}_cpu_us"] = spent
    for name, value in found.items():
        print(f"{name}: {np.median(value):.1f}" if isinstance(value, list) else f"{name}: {value}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
