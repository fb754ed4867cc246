"""Who used the cores: read from /proc while real processes burn CPU, and what an overload makes of it."""

import subprocess
import sys
import time
from typing import Any

import psutil
import pytest

from loadtest.cpu import ALL, GENERATOR, STOLEN, CpuRecorder
from loadtest.machine import count_cores
from loadtest.overload import judge_shares, print_shares, share_cores

BURN = (
    "import sys, time\n"
    "while time.process_time() < float(sys.argv[1]): pass\n"
    "print(time.process_time(), flush=True)\n"
    "sys.stdin.read()"
)
"""Uses so much CPU, says how much, and lives until it is told to end."""


def burn(seconds: float, *marks: str) -> "subprocess.Popen[str]":
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-S", "-c", BURN, str(seconds), *marks], **pipes)


def read_burnt(process: "subprocess.Popen[str]") -> float:
    assert process.stdout is not None
    return float(process.stdout.readline())


def test_what_the_service_uses_is_told_by_role_and_all_else_is_the_generators() -> None:
    detector, embedder = burn(0.4, "Detector"), burn(0.2, "Embedder")
    processes = [psutil.Process(each.pid) for each in (detector, embedder)]
    recorder = CpuRecorder(lambda: processes, every_s=0.05)
    others: list[subprocess.Popen[str]] = []
    try:
        # Counted from the first look on: what a process used before it is nobody's.
        burnt_before = [sum(process.cpu_times()[:2]) for process in processes]
        with recorder.recording():
            began_s = time.time()
            others.append(burn(0.3))
            burnt = [read_burnt(each) for each in (detector, embedder, *others)]
            time.sleep(0.2)
            ended_s = time.time()
        cores = recorder.measure_cores(began_s, ended_s)
    finally:
        for each in (detector, embedder, *others):
            each.communicate()
    assert cores is not None
    used = {role: value * (ended_s - began_s) for role, value in cores.items()}
    assert used["detector"] == pytest.approx(burnt[0] - burnt_before[0], abs=0.1)
    assert used["embedder"] == pytest.approx(burnt[1] - burnt_before[1], abs=0.1)
    assert used[GENERATOR] >= burnt[2] - 0.1, "and this process, which is one with it"
    assert used[STOLEN] >= 0
    assert used[ALL] >= 0.9 * (used["detector"] + used["embedder"])
    assert recorder.measure_cores(began_s - 60, ended_s) is None


class Recorder:
    """Says what was given for each window, in turn."""

    def __init__(self, *cores: dict[str, float] | None) -> None:
        self._cores = iter(cores)
        self.windows: list[tuple[float, float]] = []

    def measure_cores(self, from_s: float, to_s: float) -> dict[str, float] | None:
        self.windows.append((from_s, to_s))
        cores = next(self._cores)
        return None if cores is None else dict(cores)


PEAK = {
    "began_s": 1000.0,
    "seconds": 35.0,
    "judged": {"from_s": 5.0, "to_s": 35.0},
    "total": {"accepted_per_s": 90.0},
}
OVERLOAD = {
    "began_s": 2000.0,
    "phases": [{"from_s": begin, "to_s": end} for begin, end in ((0, 35), (35, 65), (65, 105))],
}


def test_a_service_that_accepts_less_on_fewer_cores_is_told_what_it_was_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cores = count_cores()
    recorder = Recorder(
        {"detector": 1.2, "HAProxy": 0.1, GENERATOR: 0.1 * cores, ALL: 1.5 + 0.1 * cores, STOLEN: 0.0},
        {"detector": 1.0, "HAProxy": 0.2, GENERATOR: 0.25 * cores, ALL: 1.2 + 0.25 * cores, STOLEN: 0.3},
    )
    cpu = share_cores(recorder, PEAK, OVERLOAD, 75.0)  # type: ignore[arg-type]
    assert cpu is not None
    assert recorder.windows == [(1005.0, 1035.0), (2040.0, 2065.0)]
    assert cpu["peak"]["cores"]["others"] == pytest.approx(0.2)
    assert cpu["overload"]["cores"]["stolen"] == pytest.approx(0.3)
    assert cpu["peak"]["service_cpu_ms_per_accepted"] == pytest.approx(1300 / 90)
    assert cpu["overload"]["service_cpu_ms_per_accepted"] == pytest.approx(1200 / 75)
    line = judge_shares(cpu)
    assert line.measured == pytest.approx((75 / 0.75) / (90 / 0.9))
    assert line.is_held
    print_shares(cpu)
    assert "detector" in capsys.readouterr().out


def test_without_a_look_at_a_load_nothing_is_said_of_it() -> None:
    assert share_cores(Recorder({GENERATOR: 0.1, ALL: 1.0, STOLEN: 0.0}, None), PEAK, OVERLOAD, 75.0) is None  # type: ignore[arg-type]
