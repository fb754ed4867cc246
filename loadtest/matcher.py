"""Searches in one large event beside many small ones, in the embedded engine: `python -m loadtest.matcher`.

Vectors are drawn to lie as a recogniser's (`loadtest/identities.py`): people with several faces each, known
probes that are new pictures of them, unknown probes that are pictures of others. Filling, building the graph
index and looking up the truth take long for a million faces; with `--directory` they are kept and used again.

What is measured, with half of the probes known and one in ten in a small event:

- recall@1 against exact search of the same vectors, and how much lower the cosine found is;
- `--clients` probes at once in this process, which is what each client waits for when all ask at once;
- `--clients` clients in a closed loop through the service's coalescer and the process that owns the gallery.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from loadtest.identities import Crowd, Vectors
from loadtest.latencies import Latencies
from loadtest.machine import describe_run
from loadtest.slo import Line
from serving.gallery.embedded import EmbeddedGallery
from serving.gallery.records import FaceRecord, Hit, Probe
from serving.graph.coalescer import Coalescer, CoalescerLimits
from serving.graph.messages import SearchTask
from serving.runtime import set_ray_flags

PACK = "drawn"
LARGE = "large"
SMALL_SHARE = 0.1
DEADLINE_S = 30.0
WARM_UP_BATCHES = 8
SAME_COSINE = 2e-6
"""Cosines are rounded to six decimals, and float32 sums depend on their order."""

console = Console(highlight=False)


@dataclass(frozen=True)
class Probes:
    """Probes of the large event, and the cosine of the face that is nearest to each in truth.

    Attributes:
        vectors: float32 [n, D], unit length.
        best_cosines: float32 [n].
    """

    vectors: Vectors
    best_cosines: Vectors


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status: 2 when an objective is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.matcher", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--faces", type=int, default=100_000, help="in the large event")
    parser.add_argument("--events", type=int, default=1000, help="small ones, of 20 faces each")
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--probes", type=int, default=1000, help="known ones, and as many unknown")
    parser.add_argument("--exact", action="store_true", help="build no graph index: every search is exact")
    parser.add_argument("--directory", type=Path, help="where the gallery is kept; default: nowhere")
    parser.add_argument("--json", type=Path, default=Path("bench-results/matcher.json"))
    options = parser.parse_args(arguments)
    where = (
        nullcontext(str(options.directory))
        if options.directory
        else tempfile.TemporaryDirectory(prefix="rollcall-matcher-")
    )
    with where as directory:
        report = measure(Path(directory), options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print_report(report)
    console.print(f"As JSON: {options.json}")
    return 0 if report["is_held"] else 2


def measure(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The measurements, as one JSON-able object."""
    crowd = Crowd(options.faces, options.dimension)
    seconds = fill_gallery(directory, crowd, options)
    known, unknown = read_probes(directory, crowd, options.probes)
    small = draw_small_events(crowd, options.events)
    asked = mix_probes(known.vectors, unknown.vectors, small)
    gallery = _open_gallery(directory, options)
    try:
        quality = {
            "known": measure_recall(gallery, known, options.clients),
            "unknown": measure_recall(gallery, unknown, options.clients),
        }
        together = measure_together(gallery, asked, options.clients, options.seconds)
    finally:
        gallery.close()
    service = asyncio.run(measure_service(directory, asked, options))
    lines = [
        Line("p99 through the owner", " ms", 10.0, service["p99_ms"]),
        *(
            Line(f"recall@1, {kind} probes", "", 0.999, found["recall"], at_least=True)
            for kind, found in quality.items()
        ),
    ]
    return {
        "schema": "rollcall-matcher/1",
        **describe_run(),
        "faces": options.faces,
        "people": crowd.people,
        "events": options.events,
        "dimension": options.dimension,
        "clients": options.clients,
        "search": "exact" if options.exact else "graph",
        "seconds_to": seconds,
        "quality": quality,
        "together": together,
        "service": service,
        "is_held": all(line.is_held for line in lines),
        "lines": [line.dump() for line in lines],
    }


# The gallery.


def _open_gallery(directory: Path, options: argparse.Namespace) -> EmbeddedGallery:
    gallery = EmbeddedGallery(directory, PACK, options.dimension, hnsw=not options.exact)
    gallery.open()
    return gallery


def fill_gallery(directory: Path, crowd: Crowd, options: argparse.Namespace) -> dict[str, float] | None:
    """Enrol everybody and build the index; the seconds both took, or None where it was done before."""
    mark = directory / "filled.json"
    wanted = [crowd.faces, crowd.dimension, options.events, not options.exact]
    if mark.is_file():
        if json.loads(mark.read_text(encoding="utf-8")) != wanted:
            raise SystemExit(f"{directory} holds another gallery: name a new directory")
        return None
    gallery = _open_gallery(directory, options)
    began = time.monotonic()
    with _show_progress("Enrolling", crowd.faces) as advance:
        for start, vectors in crowd.read_enrolled():
            gallery.upsert(_name_faces(LARGE, vectors, crowd.people, start))
            advance(len(vectors))
        for event, vectors in draw_small_events(crowd, options.events).items():
            gallery.upsert(_name_faces(event, vectors, 5, 0))
    gallery.flush()
    seconds = {"enrol": time.monotonic() - began}
    if not options.exact:
        console.print("Building the graph index: no progress can be shown")
        began = time.monotonic()
        gallery.compact()
        seconds["index"] = time.monotonic() - began
    gallery.close()
    mark.write_text(json.dumps(wanted), encoding="utf-8")
    return seconds


def _name_faces(event: str, vectors: Vectors, people: int, start: int) -> list[FaceRecord]:
    return [
        FaceRecord(event, f"person-{(start + row) % people}", str((start + row) // people), vector, 0.0)
        for row, vector in enumerate(vectors)
    ]


def draw_small_events(crowd: Crowd, count: int) -> dict[str, Vectors]:
    """The faces of each small event, float32 [20, D]; people who are in no other event."""
    vectors = crowd.draw_unknown(20_000 + 20 * count)[20_000:]
    return {f"small-{number}": vectors[20 * number : 20 * number + 20] for number in range(count)}


# What is asked.


def read_probes(directory: Path, crowd: Crowd, count: int) -> tuple[Probes, Probes]:
    """Known and unknown probes with the truth about them, which is looked up once for each directory."""
    file = directory / f"truth-{count}.npz"
    known, unknown = crowd.draw_known(count)[1], crowd.draw_unknown(count)
    if not file.is_file():
        best = np.full(2 * count, -1.0, np.float32)
        both = np.concatenate([known, unknown])
        with _show_progress("Comparing with everybody", crowd.faces) as advance:
            for _, vectors in crowd.read_enrolled():
                np.maximum(best, (both @ vectors.T).max(axis=1), out=best)
                advance(len(vectors))
        np.savez(file, best=best)
    best = np.load(file)["best"]
    return Probes(known, best[:count]), Probes(unknown, best[count:])


def mix_probes(known: Vectors, unknown: Vectors, small: dict[str, Vectors]) -> list[Probe]:
    """Probes in an order drawn once: known and unknown in the large event, some in the small ones."""
    random = np.random.default_rng(5)
    probes = [Probe(LARGE, vector, 1) for vector in np.concatenate([known, unknown])]
    events = list(small)
    for _ in range(round(len(probes) * SMALL_SHARE / (1 - SMALL_SHARE)) if events else 0):
        event = events[random.integers(len(events))]
        probes.append(Probe(event, small[event][random.integers(len(small[event]))], 1))
    return [probes[place] for place in random.permutation(len(probes))]


# What is measured.


def measure_recall(gallery: EmbeddedGallery, probes: Probes, clients: int) -> dict[str, float]:
    """How often the nearest face was found, and by how much what was found is worse than it."""
    found: list[float] = []
    for start in range(0, len(probes.vectors), clients):
        batch = [Probe(LARGE, vector, 1) for vector in probes.vectors[start : start + clients]]
        found += [hits[0].cosine for hits in gallery.search(batch)]
    missing: NDArray[Any] = probes.best_cosines - np.array(found, np.float32)
    return {
        "recall": float(np.mean(missing <= SAME_COSINE)),
        "cosine_lost_mean": float(np.maximum(missing, 0).mean()),
        "cosine_lost_most": float(missing.max()),
        "best_cosine_median": float(np.median(probes.best_cosines)),
    }


def measure_together(
    gallery: EmbeddedGallery, asked: Sequence[Probe], clients: int, seconds: float
) -> dict[str, Any]:
    """Searches of `clients` probes at once, one after the other, and CPU of each probe."""
    latencies, turn, count = Latencies(), itertools.cycle(asked), 0
    for _ in range(WARM_UP_BATCHES):
        gallery.search(list(itertools.islice(turn, clients)))
    until, began_cpu = time.monotonic() + seconds, time.process_time()
    while (began := time.monotonic()) < until:
        gallery.search(list(itertools.islice(turn, clients)))
        latencies.add(time.monotonic() - began)
        count += clients
    cpu_s = time.process_time() - began_cpu
    return {**latencies.summarise(), "probes_per_s": count / seconds, "cpu_ms_per_probe": 1e3 * cpu_s / count}


async def measure_service(
    directory: Path, asked: Sequence[Probe], options: argparse.Namespace
) -> dict[str, Any]:
    """`clients` clients, each asking again as soon as it is answered, through coalescer and owner."""
    set_ray_flags(own_cluster=True)
    import ray  # only now: it reads the flags set above

    from serving.gallery.owner_client import EmbeddedGalleryClient

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        client = EmbeddedGalleryClient(
            directory, PACK, options.dimension, timeout_s=DEADLINE_S, hnsw=not options.exact
        )
        await client.open()

        async def search(parcel: list[SearchTask]) -> list[list[Hit]]:
            return await client.search(
                [Probe(task.event_key, task.vectors[0], task.top_k) for task in parcel]
            )

        limits = CoalescerLimits(max_calls=1, max_parcel_tasks=max(32, options.clients))
        coalescer: Coalescer[SearchTask, list[Hit]] = Coalescer(search, limits)
        await ask_repeatedly(coalescer, asked, options.clients, 2.0)
        latencies = await ask_repeatedly(coalescer, asked, options.clients, options.seconds)
        await client.close()
        await client.stop_owner()
    finally:
        ray.shutdown()
    return {**latencies.summarise(), "probes_per_s": latencies.count / options.seconds}


async def ask_repeatedly(
    coalescer: Coalescer[SearchTask, list[Hit]], asked: Sequence[Probe], clients: int, seconds: float
) -> Latencies:
    """How long each probe took."""
    latencies, turn, until = Latencies(), itertools.cycle(asked), time.monotonic() + seconds

    async def run_client() -> None:
        while (began := time.monotonic()) < until:
            probe = next(turn)
            task = SearchTask(DEADLINE_S, probe.event, probe.vector[None], probe.top_k, 0.5)
            await coalescer.submit(task, probe.vector.nbytes)
            latencies.add(time.monotonic() - began)

    await asyncio.gather(*(run_client() for _ in range(clients)))
    return latencies


# What is shown.


@contextmanager
def _show_progress(what: str, total: int) -> Iterator[Any]:
    with Progress(console=console) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def print_report(report: dict[str, Any]) -> None:
    """The tables a person reads."""
    table = Table(
        f"{report['faces']:,} faces of {report['dimension']}-D, {report['search']}",
        *("p50 ms", "p99 ms", "probes/s"),
    )
    for name, row in (
        (f"{report['clients']} probes at once, in process", report["together"]),
        (f"{report['clients']} clients through the owner", report["service"]),
    ):
        table.add_row(name, f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}", f"{row['probes_per_s']:.0f}")
    console.print(table)
    for kind, found in report["quality"].items():
        console.print(
            f"{kind}: recall@1 {found['recall']:.4f}; the cosine found is lower by "
            f"{found['cosine_lost_mean']:.5f} on average, {found['cosine_lost_most']:.4f} at most"
        )


if __name__ == "__main__":
    sys.exit(main())
