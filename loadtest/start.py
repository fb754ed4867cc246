"""How long a service takes from the command until it is ready, and what its processes have worked by then.

    python -m loadtest.start [--rounds 3] [--config FILE] [--json bench-results/start.json]

Each round starts a fresh service on data of its own and stops it again. CPU seconds are those of the
processes that live when it is ready; JSON gets every round with the machine and the versions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest.cpu import CpuMeter
from loadtest.endings import unwind_when_ended
from loadtest.machine import describe_machine
from loadtest.service import Service


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.start", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--config", type=Path, default=Path("config/laptop.yaml"))
    parser.add_argument("--json", type=Path, default=Path("bench-results/start.json"))
    options = parser.parse_args(arguments)
    with unwind_when_ended():
        rounds = [start_once(options.config) for _ in range(options.rounds)]
    print_rounds(rounds)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    result = {"machine": describe_machine(), "rounds": rounds}
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def start_once(config: Path) -> dict[str, Any]:
    """One start.

    Returns:
        `ready_s`, and `cpu_s` by role.
    """
    with tempfile.TemporaryDirectory(prefix="rollcall-start-") as directory:
        service = Service(Path(directory) / "data", config=config)
        try:
            ready_s = service.start()
            cpu_s = CpuMeter().stop(service.processes())
            service.stop()
        finally:
            service.kill()
    return {"ready_s": ready_s, "cpu_s": dict(cpu_s)}


def print_rounds(rounds: list[dict[str, Any]]) -> None:
    """The table a person reads: the median of each figure."""
    table = Table("", "seconds", title="A start, median of " + str(len(rounds)))
    table.add_row("until it is ready", f"{statistics.median(each['ready_s'] for each in rounds):.1f}")
    roles = sorted({role for each in rounds for role in each["cpu_s"]})
    spent = {role: statistics.median(each["cpu_s"].get(role, 0.0) for each in rounds) for role in roles}
    table.add_row("CPU of all processes", f"{sum(spent.values()):.1f}")
    for role, cpu_s in sorted(spent.items(), key=lambda item: -item[1]):
        table.add_row(f"  {role}", f"{cpu_s:.1f}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
