"""Checks of the machine: Python, packages, processors, memory, limits, ports, GPU."""

from __future__ import annotations

import os
import re
import resource
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from serving.installation import check_installation, find_distribution, normalise
from serving.operations.doctor.answers import is_rollcall
from serving.operations.doctor.checks import Check, Finding, Subject, fail, ok, warn
from serving.operations.service_note import make_local_url, read_note

LEAST_PYTHON = (3, 10)
LEAST_MEMORY_BYTES = 2 * 2**30
LEAST_SHM_BYTES = 160 * 2**20
"""`rollcall serve` gives Ray's shared memory 128 MiB."""
GOOD_FILES, LEAST_FILES = 65_536, 4096
_LISTEN = "0A"


def look_at_python(subject: Subject) -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < LEAST_PYTHON:
        yield fail(f"Python {found}", "Python 3.10 or newer: make clean, then make run PYTHON=python3.11.")
    else:
        yield ok(f"Python {found}")


def look_at_packages(subject: Subject) -> Iterator[Finding]:
    check_installation()  # raises with the pip commands that mend it
    runtime = find_distribution("onnxruntime")
    name = "requirements" + {"onnxruntime-gpu": "-gpu", "onnxruntime-openvino": "-openvino"}.get(
        runtime[0] if runtime else "", ""
    )
    lock = subject.directory / "config" / "locks" / f"{name}.txt"
    if not lock.is_file():
        yield warn(f"{lock} is not at hand", "Start this where Rollcall's checkout is, to compare versions.")
        return
    wanted = _read_lock(lock)
    differ = []
    for package, pinned in wanted.items():
        try:
            found = version(normalise(package))
        except PackageNotFoundError:
            continue  # of another platform or Python; what is missing would not start
        if found != pinned:
            differ.append(f"{package} {found}, locked {pinned}")
    if differ:
        shown = "; ".join(differ[:5]) + ("; ..." if len(differ) > 5 else "")
        yield warn(
            f"{len(differ)} packages are not as locked: {shown}", f"pip install --require-hashes -r {lock}"
        )
    else:
        yield ok(f"{len(wanted)} packages as locked; one onnxruntime, one cv2")


def look_at_processors(subject: Subject) -> Iterator[Finding]:
    there = _count_processors(subject)
    needed = sum(_least_cpus(each) for each in subject.deployments)
    wanted = sum(_most_cpus(each) for each in subject.deployments)
    seen = f"{there:g} processors; the serve config plans with {needed:g} to {wanted:g}"
    if needed > max(there, 2):  # `rollcall serve` tells Ray of two at least
        cure = "Lower num_cpus or min_replicas in the serve config, or take a larger machine or more nodes."
        yield fail(f"{seen}: some replicas would never start", cure)
    elif wanted > max(there, 2):
        yield warn(
            seen, "Beyond what is there replicas wait: on one machine lower max_replicas; else add nodes."
        )
    else:
        yield ok(seen)


def look_at_memory(subject: Subject) -> Iterator[Finding]:
    lines = (subject.proc / "meminfo").read_text().splitlines()
    facts = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}
    total, free = facts["MemTotal"], facts["MemAvailable"]
    seen = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB available"
    if total < LEAST_MEMORY_BYTES:
        yield fail(seen, f"At least {LEAST_MEMORY_BYTES / 2**30:g} GiB: Ray and the models take that.")
    elif free < LEAST_MEMORY_BYTES and read_note(subject.settings.data_dir) is None:
        yield warn(seen, "Free memory before the start: Ray kills workers when it runs out.")
    else:
        yield ok(seen)


def look_at_open_files(subject: Subject) -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen = "no limit" if soft == resource.RLIM_INFINITY else f"{soft} open files"
    if soft != resource.RLIM_INFINITY and soft < LEAST_FILES:
        yield fail(seen, f"ulimit -n {GOOD_FILES}, or LimitNOFILE={GOOD_FILES} in the unit.")
    elif soft != resource.RLIM_INFINITY and soft < GOOD_FILES:
        yield warn(seen, f"For a thousand clients at once: ulimit -n {GOOD_FILES}.")
    else:
        yield ok(seen)


def look_at_shared_memory(subject: Subject) -> Iterator[Finding]:
    path = subject.shared_memory
    if not path.is_dir():
        yield fail(
            "there is no /dev/shm", "Mount it: docker run --shm-size=1g, or an emptyDir of medium Memory."
        )
        return
    size = shutil.disk_usage(path)
    seen = f"{path}: {size.free / 2**20:.0f} of {size.total / 2**20:.0f} MiB free"
    if size.free < LEAST_SHM_BYTES:
        yield fail(seen, "docker run --shm-size=1g: Ray keeps its objects there.")
    else:
        yield ok(seen)


def look_at_ports(subject: Subject) -> Iterator[Finding]:
    http = subject.config.get("http_options") or {}
    ports = {"http_options.port": int(http.get("port", 8000))}
    if subject.settings.metrics.port is not None:
        ports["metrics.port"] = subject.settings.metrics.port
    note = read_note(subject.settings.data_dir)
    for name, port in ports.items():
        holders = find_listeners(subject.proc, port)
        if not holders:
            yield ok(f"{name} {port} is free")
        elif note is not None or (name == "http_options.port" and _is_own(subject, http, port)):
            yield ok(f"{name} {port} is held while the service runs ({', '.join(sorted(holders))})")
        else:
            yield fail(
                f"{name} {port} is held by {', '.join(sorted(holders))}",
                "Stop that, or take another port (--port; http_options.port; metrics.port).",
            )


def _is_own(subject: Subject, http: Mapping[str, Any], port: int) -> bool:
    """Whether the service itself listens there, or answers where it was said to: `rollcall deploy` ran it."""
    scheme = "https" if subject.settings.web.tls_certificate is not None else "http"
    here = make_local_url(str(http.get("host") or ""), port, scheme)
    if is_rollcall(here, is_verified=False):
        return True
    return subject.url is not None and is_rollcall(subject.url.rstrip("/"), is_verified=True)


def look_at_gpu(subject: Subject) -> Iterator[Finding]:
    from serving.vision.nvidia import read_driver
    from serving.vision.providers import check_providers

    execution = subject.settings.make_execution()
    check_providers(execution)  # raises with what is missing
    runtime = find_distribution("onnxruntime")
    shown = "no onnxruntime" if runtime is None else f"{runtime[0]} {runtime[1]}"
    if execution.on_nvidia:
        yield ok(f"{shown}; {', '.join(gpu.name for gpu in read_driver().gpus)}")
        return
    driver = read_driver()
    if not driver.problem and driver.gpus:
        yield warn(
            f"{driver.gpus[0].name} is here, and the models run on {', '.join(execution.providers)}",
            "make run GPU=1 lets it work (docs/gpu.md).",
        )
    else:
        yield ok(f"{shown} on {', '.join(execution.providers)}; no GPU is asked for")


def _read_lock(path: Path) -> dict[str, str]:
    """The versions that a lock file names for this Python and platform."""
    from packaging.requirements import Requirement

    wanted: dict[str, str] = {}
    for line in path.read_text("utf-8").splitlines():
        if re.match(r"[A-Za-z0-9]", line):
            requirement = Requirement(line.rstrip("\\ "))
            if requirement.marker is None or requirement.marker.evaluate():
                wanted[requirement.name] = str(requirement.specifier).removeprefix("==")
    return wanted


def find_listeners(proc: Path, port: int) -> set[str]:
    """Who listens on a TCP port: `name (pid)`, or `another user's process`."""
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    if not inodes:
        return set()
    wanted = {f"socket:[{inode}]" for inode in inodes}
    found: set[str] = set()
    for process in proc.glob("[0-9]*"):
        try:
            if any(os.readlink(handle) in wanted for handle in (process / "fd").iterdir()):
                found.add(f"{(process / 'comm').read_text().strip()} ({process.name})")
        except OSError:
            continue
    return found or {"another user's process"}


def _count_processors(subject: Subject) -> float:
    there = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = (subject.sys / "fs" / "cgroup" / "cpu.max").read_text().split()
        return there if quota == "max" else min(there, int(quota) / int(period))
    except (OSError, ValueError):
        return there


def _least_cpus(deployment: Mapping[str, Any]) -> float:
    scaling = deployment.get("autoscaling_config") or {}
    replicas = scaling.get("min_replicas", deployment.get("num_replicas", 1))
    return _cpus_of(deployment) * (replicas if isinstance(replicas, int) else 1)


def _most_cpus(deployment: Mapping[str, Any]) -> float:
    scaling = deployment.get("autoscaling_config") or {}
    replicas = scaling.get("max_replicas", deployment.get("num_replicas", 1))
    return _cpus_of(deployment) * (replicas if isinstance(replicas, int) else 1)


def _cpus_of(deployment: Mapping[str, Any]) -> float:
    return float((deployment.get("ray_actor_options") or {}).get("num_cpus", 1))


CHECKS = (
    Check("python", "version", look_at_python),
    Check("packages", "against the lock file; exactly one onnxruntime and one cv2", look_at_packages),
    Check(
        "processors",
        "against num_cpus and replicas in the serve config, cgroup limits included",
        look_at_processors,
    ),
    Check("memory", "total and available", look_at_memory),
    Check("open files", "the limit of file descriptors", look_at_open_files),
    Check("shared memory", "size of what Ray keeps its objects in", look_at_shared_memory),
    Check("ports", "free, or held by whom", look_at_ports),
    Check("gpu", "asked for, there, driver against the build of ONNX Runtime", look_at_gpu, 30.0),
)
