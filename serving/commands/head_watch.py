"""`rollcall serve` ends when its Ray has: nothing that is left could replace what dies next."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from serving.commands.console import messages

CHECK_EVERY_S = 0.5
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
    while not stopping.wait(CHECK_EVERY_S):
        dead = _find_dead()
        if dead is not None and not stopping.is_set():
            _end(dead, clean_up)


def kill_run(run: str) -> None:
    """kill -9 of every process of a run but this one; on Linux, elsewhere nothing is found."""
    wanted = f"{RUN_VARIABLE}={run}".encode()
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended, or is somebody else's
            if int(directory.name) != os.getpid() and wanted in (directory / "environ").read_bytes().split(
                b"\0"
            ):
                os.kill(int(directory.name), signal.SIGKILL)


def _find_dead() -> str | None:
    """The name of the vital process that has ended, if one has."""
    from ray._private import worker  # there is no public way to ask for them

    node = worker._global_node
    if node is None:
        return None
    names = {str(name) for name, _ in node.dead_processes()}
    return next((name for name in VITAL if name in names), None)


def _end(dead: str, clean_up: Callable[[], None]) -> None:
    told = (
        f"Ray's {dead} has died, and without it nothing that fails can be replaced: the service ends. "
        "What was acknowledged is on disk. Start it again; if this repeats, look for the kernel's "
        "out-of-memory killer, and at the files in /tmp/ray/session_latest/logs."
    )
    messages.print(f"[bold red]The service has failed[/]: {told}")
    logger.critical("%s", told)
    with contextlib.suppress(OSError):
        clean_up()
    kill_run(os.environ[RUN_VARIABLE])
    os._exit(1)
