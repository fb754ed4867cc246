"""A long low load, and what becomes of the memory of every process meanwhile.

    python -m tests.chaos.soak [--seconds 3600] [--rate 3] [--warm-up 600] [--wear] [--limit 1]

With --wear the service first does in minutes what takes it a day (`wear.py`); that is in none of the seconds.
Ends with 1 when a process grows faster than the limit beyond doubt, or acknowledged work was lost, or a
request failed. Growth is the slope of a straight line through means of half a minute each, in per cent of the
mean an hour, with the 95 % interval of that slope.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from tests.chaos.harness import Target, start_target
from tests.chaos.load import BackgroundLoad
from tests.chaos.processes import find_processes, name_role
from tests.chaos.wear import wear

SAMPLE_EVERY_S = 5.0
BIN_S = 30.0
"""What is averaged into one point: neighbouring samples are too alike to count as several."""
MIN_POINTS = 8
STUDENT_95 = {6: 2.45, 8: 2.31, 10: 2.23, 15: 2.13, 20: 2.09, 30: 2.04, 60: 2.0, 120: 1.98}
"""Two-sided quantiles of Student's t by degrees of freedom; the next smaller row is taken."""

Sample = tuple[float, int, int]
"""Seconds since the beginning, resident bytes, and of these the anonymous ones (heap and stacks)."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The memory of one process after warm-up.

    Attributes:
        mean_mb: MB (10^6 bytes).
        per_cent_an_hour: slope over mean.
        plus_minus: half of its 95 % interval, likewise.
    """

    mean_mb: float
    per_cent_an_hour: float
    plus_minus: float

    def describe(self) -> str:
        """For a table."""
        return f"{self.per_cent_an_hour:+.2f} ± {self.plus_minus:.2f}"


def fit_growth(times_s: Sequence[float], sizes: Sequence[float]) -> Growth | None:
    """A line by least squares through the means of `BIN_S` seconds each; None: too few points."""
    bins: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for time_s, size in zip(times_s, sizes, strict=True):
        bins[int(time_s // BIN_S)].append((time_s, size))
    if len(bins) < MIN_POINTS:
        return None
    x, y = np.array([np.mean(each, axis=0) for _, each in sorted(bins.items())]).T
    centred = x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread
    rest = y - y.mean() - slope * centred
    freedom = len(x) - 2
    error = math.sqrt(float(rest @ rest) / freedom / spread)
    student = STUDENT_95[max(key for key in STUDENT_95 if key <= freedom)]
    to_share = 3600 * 100 / float(y.mean())
    return Growth(float(y.mean()) / 1e6, slope * to_share, student * error * to_share)


class MemoryLog:
    """Samples of every process of a service, by role and pid."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._began_s = time.monotonic()
        self.samples: defaultdict[str, list[Sample]] = defaultdict(list)

    def sample(self) -> None:
        """Read them all once."""
        now_s = time.monotonic() - self._began_s
        for process in find_processes(self._data_dir):
            role = name_role(process)
            sizes = read_memory(process.pid)
            if sizes is not None and role != "gone":
                self.samples[f"{role} {process.pid}"].append((now_s, *sizes))

    def fit(self, warm_up_s: float) -> dict[str, tuple[Growth, Growth]]:
        """Growth of the resident and of the anonymous bytes of each process that lived throughout."""
        fitted = {}
        for name, samples in self.samples.items():
            after = [sample for sample in samples if sample[0] >= warm_up_s]
            times_s = [sample[0] for sample in after]
            both = [fit_growth(times_s, [sample[column] for sample in after]) for column in (1, 2)]
            if both[0] is not None and both[1] is not None:
                fitted[name] = (both[0], both[1])
        return fitted


def read_memory(pid: int) -> tuple[int, int] | None:
    """Resident and anonymous bytes of a process; None when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    try:
        resident, anonymous = (int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "RssAnon"))
    except KeyError:  # it has just ended
        return None
    return resident, anonymous


def soak(target: Target, seconds: float, rate_per_s: float) -> MemoryLog:
    """Load for so long; the memory meanwhile."""
    log = MemoryLog(target.data_dir)
    with BackgroundLoad(target.url, target.token, target.scene, target.ledger, rate_per_s):
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            log.sample()
            time.sleep(SAMPLE_EVERY_S)
    return log


def show(fitted: Mapping[str, tuple[Growth, Growth]], limit: float) -> list[str]:
    """Print the table; the names of those that grow beyond the limit beyond doubt."""
    table = Table("process", "resident MB", "% an hour", "heap MB", "% an hour", title="Memory after warm-up")
    beyond = []
    for name, (resident, heap) in sorted(fitted.items()):
        grows = resident.per_cent_an_hour - resident.plus_minus > limit
        beyond += [name] * grows
        cells = [f"{resident.mean_mb:.0f}", resident.describe(), f"{heap.mean_mb:.0f}", heap.describe()]
        table.add_row(name, *cells, style="red" if grows else "")
    Console(width=110).print(table)
    return beyond


def main(arguments: list[str] | None = None) -> int:
    """The command; see the head of this page."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.soak", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--rate", type=float, default=3.0, help="requests a second")
    parser.add_argument("--warm-up", type=float, default=600.0, help="seconds at the beginning not judged")
    parser.add_argument("--wear", action="store_true", help="first let it do in minutes what takes a day")
    parser.add_argument("--limit", type=float, default=1.0, help="per cent an hour")
    parser.add_argument("--output", type=Path, default=Path("chaos-results/soak/soak.json"))
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="rollcall-soak-") as directory,
        start_target(Path(directory)) as target,
    ):
        if options.wear:
            wear(target, options.rate)
        log = soak(target, options.seconds, options.rate)
        lost = target.find_lost()
    answers = target.ledger.read_answers()
    failed = Counter(each.code for each in answers if each.is_failed)
    fitted = log.fit(options.warm_up)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "seconds": options.seconds,
        "rate_per_s": options.rate,
        "warm_up_s": options.warm_up,
        "is_worn": options.wear,
        "requests": len(answers),
        "failed": dict(failed),
        "lost": lost,
        "growth": {
            name: {"resident": asdict(resident), "heap": asdict(heap)}
            for name, (resident, heap) in fitted.items()
        },
        "samples": log.samples,
        "cores": psutil.cpu_count(),
    }
    options.output.write_text(json.dumps(document))
    beyond = show(fitted, options.limit)
    print(f"{len(answers)} requests, failed: {dict(failed) or 'none'}, lost: {len(lost)} {lost[:10] or ''}")
    print(f"growing beyond {options.limit:g} % an hour: {', '.join(beyond) or 'none'}")
    return 1 if beyond or lost or failed else 0


if __name__ == "__main__":
    sys.exit(main())
