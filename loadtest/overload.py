"""Whether the service stays itself when three times too much is asked of it: `python -m loadtest.overload`.

    python -m loadtest.overload [--host URL | --config FILE] [--clients 16] [--seconds 30] [--json FILE]

Three loads, one after the other, on one service (a fresh one of its own without --host; else ROLLCALL_TOKEN):

1. the peak: `--clients` clients, each asking again as soon as it is answered;
2. 70 % of the peak, open loop: p99 / p50;
3. 70 % of the peak, then `--factor` times the peak, then 70 % again, open loop.

Exits with 0 when all rows are met, 2 when one is missed, 3 when it could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest.cpu import ALL, GENERATOR, STOLEN, CpuRecorder
from loadtest.ideal_queue import find_ratio
from loadtest.local import Target, run_locust, start_target
from loadtest.machine import count_cores, describe_run
from loadtest.slo import Line
from loadtest.tally import Cell

USUAL_SHARE = 0.7
RECOVERY_S = 40
WINDOW_S = 10
"""In which p99 is looked at after the overload."""

NORMAL_FACTOR = 1.5
"""p99 is back to normal at so many times what it was before: less than two windows of ten seconds differ."""

LEFT_CORES = "accepted / peak, of the cores left to the service"

SETTLING_S = 5
"""Of each load, at its beginning, that is not looked at."""

MISSED = 2
BROKEN = 3

console = Console(highlight=False)


class NotMeasured(Exception):
    """A load did not take place."""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.overload", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--host", help="a service that runs; default: a fresh one")
    parser.add_argument("--config", type=Path, default=Path("config/laptop.yaml"), help="of the fresh one")
    parser.add_argument("--users", default="RecogniseOneFace", help="user class of the locustfile")
    parser.add_argument("--clients", type=int, default=16, help="that find the peak")
    parser.add_argument("--factor", type=float, default=3.0, help="offered over peak")
    parser.add_argument("--seconds", type=int, default=30, help="of the peak, and of the overload")
    parser.add_argument("--max-in-flight", type=int, default=2000)
    parser.add_argument("--json", type=Path, default=Path("bench-results/overload.json"))
    options = parser.parse_args(arguments)
    token = os.environ.get("ROLLCALL_TOKEN", "")
    target = nullcontext(Target(options.host, token)) if options.host else start_target(options.config)
    try:
        with target as running:
            report = watch(running, options)
    except NotMeasured as error:
        console.print(f"[red]{error}[/]")
        return BROKEN
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print_report(report)
    console.print(f"As JSON: {options.json}")
    return 0 if report["is_held"] else MISSED


def watch(target: Target, options: argparse.Namespace) -> dict[str, Any]:
    """As `measure`, with who used the cores meanwhile, where the service is one of our own."""
    if target.service is None:
        return measure(target, options, None)
    recorder = CpuRecorder(target.service.processes)
    with recorder.recording():
        return measure(target, options, recorder)


def measure(target: Target, options: argparse.Namespace, recorder: CpuRecorder | None) -> dict[str, Any]:
    """The three loads, and what they say."""
    stem, seconds = options.json.with_suffix(""), options.seconds
    closed = ["--closed", "--shape", "steady", "--rate", str(options.clients), "--user-rate", "1"]
    peak_load = run_load(target, options, f"{stem}-peak", [*closed, "--seconds", str(seconds + 5)])
    peak_per_s = float(peak_load["total"]["accepted_per_s"] or 0.0)
    if peak_per_s <= 0:
        raise NotMeasured("the service accepted nothing")
    usual = USUAL_SHARE * peak_per_s
    steady = ["--shape", "steady", "--rate", f"{usual:.3f}", "--seconds", str(2 * seconds + 5)]
    usual_load = run_load(target, options, f"{stem}-usual", steady)
    phases = ((usual, seconds + 5), (options.factor * peak_per_s, seconds), (usual, RECOVERY_S))
    steps = ",".join(f"{rate:.3f}:{length}" for rate, length in phases)
    overload = run_load(target, options, f"{stem}-overload", ["--shape", "steps", "--steps", steps])
    lines, facts = judge_overload(peak_per_s, usual_load, overload)
    cpu = None if recorder is None else share_cores(recorder, peak_load, overload, facts["accepted_per_s"])
    if cpu is not None:
        lines.insert(2, judge_shares(cpu))
    return {
        "schema": "rollcall-overload/1",
        **describe_run(),
        "users": options.users,
        "clients": options.clients,
        "factor": options.factor,
        "peak_per_s": peak_per_s,
        "is_held": all(line.is_held for line in lines),
        "lines": [line.dump() for line in lines],
        "facts": facts,
        "cpu": cpu,
        "reports": [f"{stem}-{name}.html" for name in ("peak", "usual", "overload")],
    }


def run_load(
    target: Target, options: argparse.Namespace, report: str, arguments: Sequence[str]
) -> dict[str, Any]:
    """One load; its report.

    Raises:
        NotMeasured: there is none.
    """
    console.print(f"Measuring: {Path(report).name}")
    more = ["--report", report, "--warm-up", "5", "--max-in-flight", str(options.max_in_flight)]
    status = run_locust(target, [options.users, *arguments, *more, "--slo-errors", "1"], is_quiet=True)
    path = Path(f"{report}.json")
    if status not in (0, MISSED) or not path.is_file():
        raise NotMeasured(f"locust ended with {status}")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def judge_overload(
    peak_per_s: float, usual: dict[str, Any], overload: dict[str, Any]
) -> tuple[list[Line], dict[str, Any]]:
    """A line for each thing that an overload must leave as it is, and the numbers beside them.

    Accepted requests are counted by when they were answered: what the service kept up while it was asked for
    too much, without its first five seconds. Refusals are timed twice: from when they were due, as a client
    whose own machine is late would see it, and from when they were sent, which leaves out the delay of a
    generator that shares cores with the service (`generator_lag`).
    """
    before, during, after = overload["phases"]
    latency = usual["total"]["latency"]
    cells = _Cells(overload)
    flood = cells.between(during["from_s"], during["to_s"])
    normal_s = cells.between(before["from_s"] + SETTLING_S, before["to_s"]).accepted.percentile_s(99)
    recovered_s = find_recovery(cells, during["to_s"], after["to_s"], normal_s)
    accepted_per_s = cells.count_answered(during["from_s"] + SETTLING_S, during["to_s"]) / (
        during["to_s"] - during["from_s"] - SETTLING_S
    )
    other = sum(
        count
        for reason, count in overload["reasons"].items()
        if not reason.partition(": ")[2].startswith(("503", "429"))
    )
    memory = _measure_memory(overload, during["from_s"], during["to_s"])
    lines = [
        Line("p99 / p50 at 70 % of the peak", "", 2.5, _divide(latency["p99_ms"], latency["p50_ms"])),
        Line("accepted / peak", "", 0.95, accepted_per_s / peak_per_s, at_least=True),
        Line("p99 of refusals", " ms", 100.0, _as_ms(flood.shed.percentile_s(99))),
        Line("p99 of refusals, once sent", " ms", 100.0, _as_ms(flood.shed_once_sent.percentile_s(99))),
        Line("refusals without Retry-After", "", 0.0, float(overload["shed_without_retry_after"])),
        Line("other failures", "", 0.0, float(other)),
        Line("memory, end / begin", "", 1.05, memory),
        Line("p99 back to normal after", " s", 10.0, recovered_s),
    ]
    facts = {
        "ideal_p99_over_p50": find_ratio(count_cores(), USUAL_SHARE),
        "usual_p50_ms": latency["p50_ms"],
        "usual_p99_ms": latency["p99_ms"],
        "accepted_per_s": accepted_per_s,
        "offered_per_s": flood.offered / (during["to_s"] - during["from_s"]),
        "accepted_latency": flood.accepted.summarise(),
        "refusals": flood.shed.summarise(),
        "refusals_once_sent": flood.shed_once_sent.summarise(),
        "normal_p99_ms": _as_ms(normal_s),
        "generator_lag": overload["generator_lag"],
        "reasons": overload["reasons"],
    }
    return lines, facts


def share_cores(
    recorder: CpuRecorder, peak: dict[str, Any], overload: dict[str, Any], accepted_per_s: float
) -> dict[str, Any] | None:
    """Who used the cores at the peak and in the overload, and for how many accepted; None: not known."""
    during = overload["phases"][1]
    windows = {
        "peak": (peak, peak["judged"]["from_s"], peak["seconds"], peak["total"]["accepted_per_s"]),
        "overload": (overload, during["from_s"] + SETTLING_S, during["to_s"], accepted_per_s),
    }
    shares: dict[str, Any] = {}
    for name, (load, from_s, to_s, answered_per_s) in windows.items():
        cores = recorder.measure_cores(load["began_s"] + from_s, load["began_s"] + to_s)
        if cores is None or not answered_per_s:
            return None
        generator, everything, stolen = cores.pop(GENERATOR, 0.0), cores.pop(ALL), cores.pop(STOLEN)
        service = sum(cores.values())
        shares[name] = {
            "accepted_per_s": answered_per_s,
            "cores": {
                "all": count_cores(),
                "service": service,
                "generator": generator,
                "others": max(0.0, everything - service - generator),
                "stolen": stolen,
            },
            "service_cores": dict(sorted(cores.items(), key=lambda item: -item[1])),
            "service_cpu_ms_per_accepted": 1000 * service / answered_per_s,
        }
    return shares


def judge_shares(cpu: dict[str, Any]) -> Line:
    """Accepted / peak, each over the cores that the generator left to the service meanwhile."""
    rates = {
        name: share["accepted_per_s"] / (share["cores"]["all"] - share["cores"]["generator"])
        for name, share in cpu.items()
    }
    return Line(LEFT_CORES, "", 0.95, rates["overload"] / rates["peak"], at_least=True)


class _Cells:
    """The time series of a report."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._interval_s = document["series"]["interval_s"]
        self._rows = [(row["at_s"], Cell.read(row)) for row in document["series"]["rows"]]
        self._answers = document["series"]["answered"]

    def between(self, from_s: float, to_s: float) -> Cell:
        """What was due in a stretch of time."""
        return Cell().merge(cell for at, cell in self._rows if from_s <= at < to_s)

    def count_answered(self, from_s: float, to_s: float) -> int:
        """Accepted requests whose answers came in a stretch of time."""
        return sum(count for at, count in self._answers if from_s <= at < to_s)


def find_recovery(cells: _Cells, from_s: float, to_s: float, normal_s: float | None) -> float | None:
    """Seconds after from_s from which requests are answered as before; None when they never are."""
    if normal_s is None:
        return None
    for begin in range(int(from_s + 0.999), int(to_s - WINDOW_S) + 1):
        found_s = cells.between(begin, begin + WINDOW_S).accepted.percentile_s(99)
        if found_s is not None and found_s <= NORMAL_FACTOR * normal_s:
            return begin - from_s
    return None


def _measure_memory(document: dict[str, Any], from_s: float, to_s: float) -> float | None:
    """Resident bytes of all replicas in the last third of a stretch of time over those in the second."""
    if not document["service"]:
        return None
    third = (to_s - from_s) / 3
    means = []
    for begin in (from_s + third, from_s + 2 * third):
        rows = [row for row in document["service"]["series"] if begin <= row["at_s"] < begin + third]
        totals = [sum(row["resident_bytes"].values()) for row in rows]
        means.append(sum(totals) / len(totals) if totals else 0.0)
    return means[1] / means[0] if all(means) else None


def _as_ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _divide(over: float | None, under: float | None) -> float | None:
    return over / under if over and under else None


def print_report(report: dict[str, Any]) -> None:
    """The table a person reads."""
    offered = f"peak {report['peak_per_s']:.1f}/s, offered {report['facts']['offered_per_s']:.1f}/s"
    table = Table(offered, "measured", "asked", "")
    for line in report["lines"]:
        measured = "-" if line["measured"] is None else f"{line['measured']:.4g}{line['unit']}"
        bound = f"{'at least' if line['at_least'] else 'at most'} {line['limit']:g}{line['unit']}"
        table.add_row(line["name"], measured, bound, "held" if line["is_held"] else "[red]missed[/]")
    console.print(table)
    if report["cpu"] is not None:
        print_shares(report["cpu"])
    console.print(
        f"p99 / p50 of an ideal queue with {report['machine']['cores']} workers: "
        f"{report['facts']['ideal_p99_over_p50']:.2f} (loadtest/ideal_queue.py)"
    )


def print_shares(cpu: dict[str, Any]) -> None:
    """Who used the cores, and what an accepted request cost the service."""
    peak, overload = cpu["peak"], cpu["overload"]
    table = Table("", "cores, peak", "overload", "CPU ms/accepted, peak", "overload")
    roles = {**peak["service_cores"], **overload["service_cores"]}
    rows = [(role, *(share["service_cores"].get(role, 0.0) for share in (peak, overload))) for role in roles]
    rows.append(("the service", peak["cores"]["service"], overload["cores"]["service"]))
    for role, *cores in rows:
        costs = (
            1000 * used / share["accepted_per_s"] for used, share in zip(cores, (peak, overload), strict=True)
        )
        table.add_row(role, *(f"{used:.3f}" for used in cores), *(f"{cost:.2f}" for cost in costs))
    for name, title in (("generator", GENERATOR), ("others", "all others"), ("stolen", STOLEN)):
        table.add_row(title, *(f"{share['cores'][name]:.3f}" for share in (peak, overload)))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
