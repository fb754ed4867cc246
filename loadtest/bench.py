"""`make bench`: every target of docs/performance.md, measured here and now, in one table and one JSON.

    python -m loadtest.bench [--quick] [--only PART,PART] [--faces 1000000] [--list]

Each part is a command of its own, with a JSON of its own (`python -m loadtest.PART --help`); this one runs
them one after the other, at sizes that two cores get through, and judges what they measured. Exits with 0
when every row that was run is met, 2 when one is missed, 3 when a part broke.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from loadtest.gpu import explain_absence as explain_absent_gpu
from loadtest.machine import count_cores, describe_run
from loadtest.quality import find_shared_directory
from loadtest.targets import MANY_CORES, TARGETS
from serving.packs.configured import find_configured_pack
from serving.settings import load_settings

SCHEMA = "rollcall-bench/2"
SCHEMA_FILE = Path(__file__).with_name("bench.schema.json")
MISSED = 2
BROKEN = 3
PART_TIMEOUT_S = 7200.0
PART_END_S = 180.0
"""Of a part that was interrupted: its generator and its service each have a minute to stop."""

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Part:
    """A command of this folder.

    Attributes:
        name: `loadtest.NAME` is its module.
        arguments: what it is given.
        quick: what it is given by `--quick`; None: it is left out.
        seconds: how long it takes on two cores, and by `--quick`.
        json_option: how it is told where to write its JSON.
        explain_absence: why it cannot run here, or None.
        statuses: exit statuses with which it has measured.
    """

    name: str
    arguments: tuple[str, ...]
    quick: tuple[str, ...] | None
    seconds: tuple[float, float]
    json_option: str = "--json"
    explain_absence: Callable[[], str | None] = field(default=lambda: None)
    statuses: tuple[int, ...] = (0,)


def _explain_absent_pictures() -> str | None:
    return None if find_shared_directory() else "no LFW and WIDER FACE: set ROLLCALL_SHARED_DIR"


def _explain_few_cores() -> str | None:
    cores = count_cores()
    return None if cores >= MANY_CORES else f"{MANY_CORES} cores are needed, and here are {cores}"


PARTS = (
    Part("work", ("--rounds", "3"), ("--rounds", "1"), (30, 10), json_option="--output"),
    Part("start", ("--rounds", "3"), ("--rounds", "1"), (60, 20)),
    Part(
        "tax",
        ("--rounds", "2", "--seconds", "8"),
        ("--rounds", "1", "--seconds", "5", "--clients", "16"),
        (190, 60),
    ),
    Part(
        "empty_graph",
        ("--rounds", "2", "--seconds", "8"),
        ("--rounds", "1", "--seconds", "5"),
        (150, 70),
    ),
    Part(
        "compare",
        ("--rounds", "1", "--seconds", "8"),
        ("--rounds", "1", "--seconds", "4", "--clients", "16"),
        (140, 60),
    ),
    Part("overload", ("--seconds", "30"), None, (240, 0), statuses=(0, 2)),
    Part(
        "matcher", ("--faces", "100000"), ("--faces", "10000", "--seconds", "3"), (180, 35), statuses=(0, 2)
    ),
    Part("quality", (), None, (120, 0), explain_absence=_explain_absent_pictures),
    Part("gpu", (), (), (120, 120), explain_absence=explain_absent_gpu),
    Part("replicas", (), (), (150, 150), explain_absence=_explain_few_cores),
)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="some four minutes: smaller, and fewer parts")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), metavar="PART,PART", help=f"of {', '.join(names)}"
    )
    parser.add_argument(
        "--faces", type=int, help="of the matcher's large event; 1000000 takes most of an hour"
    )
    parser.add_argument("--list", action="store_true", help="name the parts and what they take, and end")
    parser.add_argument("--json", type=Path, default=Path("bench-results/bench.json"))
    options = parser.parse_args(arguments)
    if unknown := set(options.only or ()) - set(names):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    plan = [(part, find_absence(part, options)) for part in PARTS]
    announce(plan, options.quick)
    if options.list:
        return 0
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = run(plan, options)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print_report(report)
    console.print(f"As JSON: {options.json}")
    if any(part["state"] == "broken" for part in report["parts"].values()):
        return BROKEN
    return MISSED if any(row["state"] == "missed" for row in report["rows"]) else 0


def find_absence(part: Part, options: argparse.Namespace) -> str | None:
    """Why a part is not run, or None."""
    if options.only and part.name not in options.only:
        return "not asked for"
    if options.quick and part.quick is None and not options.only:
        return "not in the quick run"
    return part.explain_absence()


def announce(plan: Sequence[tuple[Part, str | None]], is_quick: bool) -> None:
    """What will be run, and how long it takes."""
    table = Table("part", "about", "", title="Benchmark")
    total_s = 0.0
    for part, absence in plan:
        seconds = part.seconds[is_quick] or part.seconds[0]
        total_s += 0 if absence else seconds
        table.add_row(
            part.name, "" if absence else f"{seconds:.0f} s", f"not run: {absence}" if absence else ""
        )
    console.print(table)
    console.print(f"About {max(1, round(total_s / 60))} min on two cores. Leave the machine to it.")


def run(plan: Sequence[tuple[Part, str | None]], options: argparse.Namespace) -> dict[str, Any]:
    """All parts one after the other, and what they say of the targets."""
    began = time.monotonic()
    head = describe_run()
    parts: dict[str, dict[str, Any]] = {}
    for part, absence in plan:
        parts[part.name] = (
            {"state": "not run", "why": absence, "seconds": 0.0, "command": None, "result": None}
            if absence
            else run_part(part, options)
        )
    return {
        "schema": SCHEMA,
        **head,
        "pack": find_configured_pack(load_settings()).id,
        "quick": options.quick,
        "seconds": time.monotonic() - began,
        "rows": [
            target.judge(parts[target.part]["result"], parts[target.part]["why"] or "") for target in TARGETS
        ],
        "parts": parts,
    }


def run_part(part: Part, options: argparse.Namespace) -> dict[str, Any]:
    """One part, with a bar; what it prints goes to a file beside its JSON."""
    file = options.json.parent / f"{part.name}.json"
    file.unlink(missing_ok=True)
    arguments = part.arguments if not options.quick or part.quick is None else part.quick
    if part.name == "matcher" and options.faces:
        arguments = (*arguments, "--faces", str(options.faces))
    command = [sys.executable, "-m", f"loadtest.{part.name}", *arguments, part.json_option, str(file)]
    began = time.monotonic()
    log_file = file.with_suffix(".log")
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _watch(process, part.name, part.seconds[options.quick] or part.seconds[0])
        except TimeoutError:
            process.send_signal(signal.SIGINT)
            raise
        finally:
            # Interrupted, as Ctrl-C does it too, it stops the services that it has started.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PART_END_S)
            process.kill()
            process.wait()
    result = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    found = {
        "seconds": time.monotonic() - began,
        "command": " ".join(["python", *command[1:]]),
        "result": result,
    }
    if process.returncode in part.statuses and result is not None:
        return {"state": "run", "why": None, **found}
    console.print(f"[red]{part.name} ended with {process.returncode}: see {log_file}[/]")
    return {"state": "broken", "why": f"it broke: see {log_file}", **found, "result": None}


def _watch(process: subprocess.Popen[bytes], name: str, expected_s: float) -> None:
    """Return when it has ended, showing how far it should be.

    Raises:
        TimeoutError: it does not end.
    """
    columns = (
        TextColumn("{task.description:12}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[of]}"),
    )
    began = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=expected_s, of=f"of about {expected_s:.0f} s")
        while process.poll() is None:
            elapsed_s = time.monotonic() - began
            if elapsed_s > PART_TIMEOUT_S:
                raise TimeoutError(f"{name} does not end")
            progress.update(task, completed=min(elapsed_s, 0.99 * expected_s))
            time.sleep(0.2)
        progress.update(task, completed=expected_s)


def print_report(report: dict[str, Any]) -> None:
    """The table a person reads."""
    cores = report["machine"]["cores"]
    table = Table("", "target", "reached", "", title=f"{report['pack']}, {cores} cores")
    colours = {"met": "green", "missed": "red", "not run": "dim"}
    for row in report["rows"]:
        bound = f"{'at least' if row['at_least'] else 'at most'} {row['target']:g}{row['unit']}"
        reached = "" if row["reached"] is None else f"{row['reached']:.4g}{row['unit']}"
        state = row["state"] if row["why"] is None else f"{row['state']}: {row['why']}"
        table.add_row(row["row"], bound, reached, f"[{colours[row['state']]}]{state}[/]")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
