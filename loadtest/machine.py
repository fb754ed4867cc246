"""What a measurement was made on and with, so that its numbers can be judged."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from serving.installation import find_distribution

PACKAGES = (
    "ray",
    "fastapi",
    "uvicorn",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "qdrant-edge-py",
    "qdrant-client",
    "locust",
    "gevent",
    "aiohttp",
)
_REPOSITORY = Path(__file__).resolve().parent.parent


def describe_machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory, system and how busy it was."""
    return {
        "processor": _find_processor(),
        "cores": count_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": list(os.getloadavg()),
    }


def describe_versions() -> dict[str, str]:
    """Python and every package that takes part."""
    found = {"python": platform.python_version()}
    for name in ("rollcall", *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**found, **dict([find_distribution("onnxruntime") or ("onnxruntime", "none")])}


def describe_commit() -> str | None:
    """Of the checkout, with `+changes` when it has some; None outside of one."""
    try:
        commit = _ask_git("rev-parse", "HEAD")
        return commit + ("+changes" if _ask_git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def describe_run() -> dict[str, Any]:
    """All of it, and when."""
    return {
        "made_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": describe_commit(),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def take_niceness(niceness: int) -> int:
    """Give this process a niceness, -20..19, where its user may; the one that it has then.

    Linux weighs sessions against each other before it looks at the processes in them ("autogroup",
    sched(7)), so a process that leads a session of its own gives that the same niceness.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
        if os.getsid(0) == os.getpid():
            Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")
    return os.getpriority(os.PRIO_PROCESS, 0)


def _find_processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _ask_git(*arguments: str) -> str:
    command = ["git", "-C", str(_REPOSITORY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
