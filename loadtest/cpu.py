"""CPU time of a tree of processes, by role."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import psutil

GENERATOR = "load generator"
ALL = "all processes of the machine"
STOLEN = "taken by the machine's host"
"""Time in which a virtual machine would have worked and its host let it not ("steal")."""

ROLES = (
    ("Ingress", "ingress"),
    ("Detector", "detector"),
    ("Embedder", "embedder"),
    ("Matcher", "matcher"),
    ("GalleryOwner", "gallery owner"),
    ("haproxy", "HAProxy"),
    ("HAProxyManager", "Serve's proxy manager"),
    ("ProxyActor", "Serve's proxy manager"),
    ("ServeController", "Serve's controller"),
    ("raylet", "raylet and GCS"),
    ("gcs_server", "raylet and GCS"),
)


class CpuMeter:
    """Counts user and system time between `start` and `stop`.

    Keyed by process id and start time: Serve's actors change their titles while they work. A role is what
    the title said at the start.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[int, float], tuple[str, float]] = {}

    def start(self, processes: Iterable[psutil.Process]) -> None:
        """Note where each process stands."""
        self._before = {}
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._before[process.pid, process.create_time()] = (_role(process), _cpu_s(process))

    def stop(self, processes: Iterable[psutil.Process]) -> Counter[str]:
        """CPU seconds by role since `start`; a process that came later counts from its birth."""
        used: Counter[str] = Counter()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                now_s = _cpu_s(process)
                role, before_s = self._before.get((process.pid, process.create_time()), (_role(process), 0.0))
                used[role] += now_s - before_s  # type: ignore[assignment]
        return used


@dataclass(frozen=True, slots=True)
class CpuReading:
    """CPU seconds by role since the recording began, at a Unix time."""

    at_s: float
    seconds: Mapping[str, float]


class CpuRecorder:
    """Notes again and again, in a thread of its own, how much CPU each role has used.

    Args:
        service: the processes of the service that live now. All other descendants of this process, itself
            among them, are the load generator.
        every_s: between two looks, each of which costs some milliseconds.
    """

    def __init__(self, service: Callable[[], Iterable[psutil.Process]], every_s: float = 1.0) -> None:
        self._service, self._every_s = service, every_s
        self._seen: dict[tuple[int, float], tuple[str, float]] = {}
        self._used: Counter[str] = Counter()
        self._readings: list[CpuReading] = []
        self._is_over = threading.Event()
        self._busy_before_s, self._stolen_before_s = _read_machine_s()

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Within the block it looks."""
        self._look()
        thread = threading.Thread(target=self._look_repeatedly, name="cpu", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()
            self._look()

    def measure_cores(self, from_s: float, to_s: float) -> dict[str, float] | None:
        """Cores that each role used between two Unix times, `ALL`, `STOLEN`; None when it did not look then.

        A look that fell between is taken to have grown evenly since the one before.
        """
        begin, end = self._read_at(from_s), self._read_at(to_s)
        if begin is None or end is None or to_s <= from_s:
            return None
        return {role: (used_s - begin.get(role, 0.0)) / (to_s - from_s) for role, used_s in end.items()}

    def _read_at(self, at_s: float) -> dict[str, float] | None:
        for before, after in pairwise(self._readings):
            if before.at_s <= at_s <= after.at_s:
                share = (at_s - before.at_s) / (after.at_s - before.at_s)
                return {
                    role: before.seconds.get(role, 0.0) * (1 - share) + used_s * share
                    for role, used_s in after.seconds.items()
                }
        return None

    def _look_repeatedly(self) -> None:
        while not self._is_over.wait(self._every_s):
            self._look()

    def _look(self) -> None:
        """Add what each process used since the look before; one that came since then, all that it used."""
        service = {process.pid: process for process in self._service()}
        own = psutil.Process()
        found = {process.pid: process for process in (own, *own.children(recursive=True))} | service
        is_first = not self._readings
        for pid, process in found.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                key = (pid, process.create_time())
                now_s = _cpu_s(process)
                role, before_s = self._seen.get(key) or (
                    _role(process) if pid in service else GENERATOR,
                    now_s if is_first else 0.0,
                )
                self._seen[key] = (role, now_s)
                self._used[role] += now_s - before_s  # type: ignore[assignment]
        busy_s, stolen_s = _read_machine_s()
        machine = {ALL: busy_s - self._busy_before_s, STOLEN: stolen_s - self._stolen_before_s}
        self._readings.append(CpuReading(time.time(), {**self._used, **machine}))


def _read_machine_s() -> tuple[float, float]:
    """CPU seconds of all processes since the machine started, and those that its host took."""
    times = psutil.cpu_times()._asdict()
    # User time holds guest time already.
    other = ("idle", "iowait", "guest", "guest_nice", "steal")
    busy_s = sum(spent_s for name, spent_s in times.items() if name not in other)
    return float(busy_s), float(times.get("steal", 0.0))


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _role(process: psutil.Process) -> str:
    title = " ".join(process.cmdline()) or process.name()
    for mark, role in ROLES:
        if mark in title:
            return role
    return "the rest of Ray"
