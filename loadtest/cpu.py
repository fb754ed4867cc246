"""CPU time of a tree of processes, by role."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable

import psutil

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


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _role(process: psutil.Process) -> str:
    title = " ".join(process.cmdline()) or process.name()
    for mark, role in ROLES:
        if mark in title:
            return role
    return "the rest of Ray"
