"""The processes of one service and no other: found by the data directory in their environment, and title."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

TITLES = {
    "Ingress": "ray::ServeReplica:rollcall:Ingress",
    "Detector": "ray::ServeReplica:rollcall:Detector",
    "Embedder": "ray::ServeReplica:rollcall:Embedder",
    "Matcher": "ray::ServeReplica:rollcall:Matcher",
    "gallery": "ray::GalleryOwner",
    "controller": "ray::ServeController",
}
"""How a process of each role calls itself, at the beginning; Ray adds the method that runs."""


def find_processes(data_dir: Path) -> list[psutil.Process]:
    """All processes of the service on this data, whoever their parent is now; not this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get("ROLLCALL_DATA_DIR") == str(data_dir):
                found.append(process)
    return found


def name_role(process: psutil.Process) -> str:
    """`Detector`, `gallery`, `haproxy`, `raylet` and so on; the command's name for what has no role."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return "gone"
    if not command:
        return process.name()
    for role, title in TITLES.items():
        if command[0].startswith(title):
            return role
    if command[0].startswith("ray::"):
        return command[0].removeprefix("ray::").partition(".")[0]
    return Path(command[0]).name


def find_role(data_dir: Path, role: str) -> list[psutil.Process]:
    """The service's processes of a role, the youngest last."""
    found = [process for process in find_processes(data_dir) if name_role(process) == role]
    return sorted(found, key=lambda process: process.create_time())


def count_ready(data_dir: Path, role: str) -> int:
    """Processes of a role that have finished starting, by what Ray says they are doing."""
    count = 0
    for process in find_role(data_dir, role):
        with contextlib.suppress(psutil.Error, LookupError):
            count += ".initialize" not in process.cmdline()[0]
    return count


def kill_role(data_dir: Path, role: str) -> psutil.Process:
    """kill -9 of one process of a role, the oldest; it is dead when this returns."""
    found = find_role(data_dir, role)
    assert found, f"no {role} among {sorted(map(name_role, find_processes(data_dir)))}"
    kill_processes(found[:1])
    return found[0]


def kill_processes(processes: Iterable[psutil.Process]) -> None:
    """kill -9 of all at once; they are dead when this returns."""
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = 60.0) -> float:
    """Seconds until something is so.

    Raises:
        AssertionError: it was not so in time.
    """
    began_s = time.monotonic()
    while not is_so():
        assert time.monotonic() - began_s < timeout_s, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.1)
    return time.monotonic() - began_s
