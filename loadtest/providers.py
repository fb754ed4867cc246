"""`python -m loadtest.providers`: what detector and embedder cost on each provider, in bare ONNX Runtime.

No pictures are decoded and nothing is served: only the models run, on random input, alternating between the
providers of this environment's ONNX Runtime. CPU time is that of all threads; on a GPU look at the rate.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from loadtest.random_models import BUILDERS
from serving.errors import RollcallError
from serving.installation import find_distribution
from serving.packs.configured import find_configured_pack, open_store
from serving.packs.conversions import find_conversion
from serving.settings import Settings, load_settings
from serving.vision.execution import ONNXRUNTIME_NAMES, Execution, parse_providers
from serving.vision.inference import open_session
from serving.vision.nvidia import read_driver

NUMPY_TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(float16)": np.float16}
SIDE_MULTIPLE = 32

console = Console(highlight=False)


@dataclass(frozen=True)
class Subject:
    """A model to measure, and the longer side of its input where it takes any."""

    name: str
    path: Path
    side_px: int


@dataclass
class Round:
    """What one model cost on one provider at one batch size."""

    wall_ms: list[float]
    cpu_ms: list[float]
    cosine: float


def main() -> None:
    """Parse, measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--providers", nargs="+", help="default: every one that is in this ONNX Runtime")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--side", type=int, default=640, help="longer side of the pictures, which are 4:3")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a model")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each model, provider, batch and round")
    parser.add_argument("--rounds", type=int, default=3, help="alternating between the providers")
    parser.add_argument(
        "--pack", action="append", default=[], metavar="ID", help="default: the one that serves"
    )
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="further ONNX files")
    parser.add_argument(
        "--random", nargs="*", default=[], choices=BUILDERS, help="architectures, with random weights"
    )
    parser.add_argument("--json", type=Path, default=Path("bench-results/providers.json"))
    arguments = parser.parse_args()
    report = run(arguments, load_settings())
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print_report(report)
    console.print(f"\nAs JSON: {arguments.json}")


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """The measurements, as one JSON-able object."""
    asked = arguments.providers or [
        name for name, long in ONNXRUNTIME_NAMES.items() if long in ort.get_available_providers()
    ]
    with TemporaryDirectory() as directory:
        rows = [
            row
            for subject in (
                *find_subjects(settings, arguments.pack, arguments.models, arguments.side),
                *make_subjects(arguments.random, Path(directory), arguments.side),
            )
            for row in measure_subject(subject, asked, settings, arguments)
        ]
    return {
        "machine": describe_machine(),
        "versions": describe_versions(),
        "threads": arguments.threads,
        "rows": rows,
    }


def find_subjects(
    settings: Settings, packs: Sequence[str], further: Sequence[Path], side_px: int
) -> Iterator[Subject]:
    """The models of the packs, or of the configured one, then those given."""
    store = open_store(settings)
    chosen = [store.find_pack(name) for name in packs] or [find_configured_pack(settings)]
    for files in map(store.prepare_files, chosen):
        for role, path in (("detector", files.detector_path), ("embedder", files.embedder_path)):
            yield Subject(f"{files.pack.id} {role}", path, side_px)
    for path in further:
        yield Subject(path.stem, path, side_px)


def make_subjects(names: Sequence[str], directory: Path, side_px: int) -> Iterator[Subject]:
    """Architectures whose weights are not at hand, converted as the real ones would be."""
    for name in names:
        conversion = find_conversion("scrfd" if name.startswith("scrfd") else "arcface")
        path = directory / f"{name}.onnx"
        path.write_bytes(conversion.convert(BUILDERS[name]()))
        yield Subject(f"{name}, random weights", path, side_px)


def measure_subject(
    subject: Subject, asked: Sequence[str], settings: Settings, arguments: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """One row for each provider and batch size; a provider that refuses has one row that says why."""
    base = replace(settings.make_execution(), intra_op_threads=arguments.threads)
    sessions: dict[str, Any] = {}
    for name in asked:
        execution = replace(base, providers=parse_providers([name]))
        started = time.perf_counter()
        try:
            sessions[name] = open_session(subject.path, execution)
        except RollcallError as error:
            yield {"model": subject.name, "provider": name, "refused": error.detail}
            continue
        console.print(f"[dim]{subject.name} on {name}: loaded in {time.perf_counter() - started:.1f} s[/]")
    reference = open_session(subject.path, Execution(intra_op_threads=arguments.threads))
    for batch in arguments.batches:
        feeds = make_feeds(reference, batch, subject.side_px)
        if feeds is None:
            continue
        wanted = reference.run(None, feeds)
        rounds: dict[str, Round] = {}
        for name, session in sessions.items():
            rounds[name] = Round([], [], compare(session.run(None, feeds), wanted))
        for _ in range(arguments.rounds):
            for name, session in sessions.items():
                measure(session, feeds, arguments.seconds, rounds[name])
        for name, measured in rounds.items():
            yield {
                "model": subject.name,
                "provider": name,
                "batch": batch,
                "cpu_ms": round(statistics.median(measured.cpu_ms) / batch, 3),
                "wall_ms": round(statistics.median(measured.wall_ms) / batch, 3),
                "per_s": round(1000 * batch / statistics.median(measured.wall_ms), 1),
                "cosine_to_cpu": round(measured.cosine, 6),
            }


def measure(session: Any, feeds: dict[str, NDArray[Any]], seconds: float, into: Round) -> None:
    """Run for about so long; note milliseconds of one run."""
    count, wall, cpu = 0, time.perf_counter(), time.process_time()
    while not count or time.perf_counter() - wall < seconds:
        session.run(None, feeds)
        count += 1
    into.cpu_ms.append(1000 * (time.process_time() - cpu) / count)
    into.wall_ms.append(1000 * (time.perf_counter() - wall) / count)


def make_feeds(session: Any, batch: int, side_px: int) -> dict[str, NDArray[Any]] | None:
    """Random input; None where the model takes no such batch. Free sides are 4:3, in steps of 32 pixels."""
    random = np.random.default_rng(5)
    feeds: dict[str, NDArray[Any]] = {}
    for model_input in session.get_inputs():
        first, *rest = model_input.shape
        if isinstance(first, int) and first not in (0, batch):
            return None
        sides = iter((side_px * 3 // 4 // SIDE_MULTIPLE * SIDE_MULTIPLE, side_px))
        shape = [batch, *(size if isinstance(size, int) and size > 0 else next(sides) for size in rest)]
        values = random.integers(0, 256, shape)
        kind = NUMPY_TYPES[model_input.type]
        pixels = values if kind is np.uint8 else (values - 127.5) / 127.5
        feeds[model_input.name] = np.asarray(pixels, kind)
    return feeds


def compare(given: Sequence[NDArray[Any]], wanted: Sequence[NDArray[Any]]) -> float:
    """The smallest cosine between an output and what it should be."""

    def cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
        flat, flat_other = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
        norms = float(np.linalg.norm(flat) * np.linalg.norm(flat_other))
        return float(flat @ flat_other) / norms if norms else float(np.array_equal(flat, flat_other))

    return min(cosine(one, other) for one, other in zip(given, wanted, strict=True))


def describe_machine() -> dict[str, Any]:
    """Processor, and what the NVIDIA driver shows."""
    driver = read_driver()
    return {
        "platform": platform.platform(),
        "processor": read_processor(),
        "gpus": [gpu.name for gpu in driver.gpus],
        "driver_cuda": driver.cuda_version,
    }


def describe_versions() -> dict[str, str]:
    """What was measured with."""
    found = find_distribution("onnxruntime")
    return {
        "python": platform.python_version(),
        "numpy": version("numpy"),
        **({found[0]: found[1]} if found else {"onnxruntime": ort.__version__}),
    }


def read_processor() -> str:
    """Its name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def print_report(report: dict[str, Any]) -> None:
    """The rows as a table."""
    table = Table("model", "provider", "batch", "CPU ms each", "ms each", "each/s", "cosine to the CPU's")
    for row in report["rows"]:
        if "refused" in row:
            table.add_row(row["model"], row["provider"], "", f"refused: {row['refused']}"[:80])
        else:
            values = (row[key] for key in ("batch", "cpu_ms", "wall_ms", "per_s", "cosine_to_cpu"))
            table.add_row(row["model"], row["provider"], *(str(value) for value in values))
    console.print(table)


if __name__ == "__main__":
    main()
