"""`rollcall serve` ends when its Ray has: nothing that is left could replace what dies next."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.commands.console import messages

CHECK_EVERY_S = 0.5
CHECKS_PER_SURVEY = 20
"""All processes of the machine are looked through for it."""
RUN_VARIABLE = "_ROLLCALL_RUN"
"""In the environment of every process of this run, wherever it was started from."""
VITAL = ("gcs_server", "raylet")

logger = logging.getLogger(__name__)


def mark_run() -> None:
    """Let all processes that are started from now on be known as this run's."""
    os.environ[RUN_VARIABLE] = uuid.uuid4().hex


def watch_head(stopping: threading.Event, clean_up: Callable[[], None]) -> None:
    """Wait until `stopping`, or until a process dies that Ray cannot live without; then end this program.

    It ends with status 1 and everything it has started is killed: Ray's own way of stopping asks the process
    that has died. What was acknowledged is on disk by then. To be run in a thread, after `mark_run` and
    `ray.init`.

    Args:
        clean_up: called before the end.
    """
    family: dict[int, str] = {}
    for check in itertools.count():
        if stopping.wait(CHECK_EVERY_S):
            return
        if check % CHECKS_PER_SURVEY == 0:
            family = find_descendants(os.getpid())
        dead = _find_dead()
        if dead is not None and not stopping.is_set():
            _end(dead, family, clean_up)


def find_descendants(pid: int) -> dict[int, str]:
    """Children of a process, theirs and so on: when each began, by process id. On Linux; elsewhere none."""
    parents: dict[int, tuple[int, str]] = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(directory.name)] = _read_origin(directory)
    found: dict[int, str] = {}
    wanted = {pid}
    while wanted:
        children = {child: began for child, (parent, began) in parents.items() if parent in wanted}
        found |= children
        wanted = set(children)
    return found


def kill_run(run: str, family: Mapping[int, str]) -> None:
    """kill -9 of every process of a run but this one. On Linux; elsewhere nothing is found.

    Args:
        run: what `RUN_VARIABLE` holds. It is not to be read of processes that have renamed themselves.
        family: `find_descendants` when all was well, which does not know those that came later.
    """
    wanted = f"{RUN_VARIABLE}={run}".encode()
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended, or is somebody else's
            pid = int(directory.name)
            is_known = pid in family and family[pid] == _read_origin(directory)[1]
            if pid != os.getpid() and (
                is_known or wanted in (directory / "environ").read_bytes().split(b"\0")
            ):
                os.kill(pid, signal.SIGKILL)


def _read_origin(directory: Path) -> tuple[int, str]:
    """The parent of a process, and when it began in ticks since the machine did (proc(5))."""
    fields = (directory / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return int(fields[1]), fields[19]


def _find_dead() -> str | None:
    """The name of the vital process that has ended, if one has."""
    from ray._private import worker  # there is no public way to ask for them

    node = worker._global_node
    if node is None:
        return None
    names = {str(name) for name, _ in node.dead_processes()}
    return next((name for name in VITAL if name in names), None)


def _end(dead: str, family: dict[int, str], clean_up: Callable[[], None]) -> None:
    told = (
        f"Ray's {dead} has died, and without it nothing that fails can be replaced: the service ends. "
        "What was acknowledged is on disk. Start it again; if this repeats, look for the kernel's "
        "out-of-memory killer, and at the files in /tmp/ray/session_latest/logs."
    )
    messages.print(f"[bold red]The service has failed[/]: {told}")
    logger.critical("%s", told)
    with contextlib.suppress(OSError):
        clean_up()
    kill_run(os.environ[RUN_VARIABLE], family | find_descendants(os.getpid()))
    os._exit(1)
