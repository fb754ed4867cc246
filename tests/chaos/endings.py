"""Ends of a whole service under load: how it ended, what clients saw, and what is there after a new start."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psutil

from tests.chaos.at_rest import find_lost_at_rest
from tests.chaos.harness import Target, make_row
from tests.chaos.ledger import Answered
from tests.chaos.load import BackgroundLoad
from tests.chaos.processes import find_processes, kill_processes, name_role
from tests.chaos.results import Row, record

REFUSALS = {"connection refused", "connection cut", "stage_unavailable", "overloaded"}
"""What a client may be told by a service that ends: come again, or find another."""
LOAD_PER_S = 6.0
END_LIMIT_S = 60.0
START_ATTEMPTS = 5
LEFT_GRACE_S = 3.0
"""Processes that are about to end may do so."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a service ended.

    Attributes:
        status: of the command, negative for a signal.
        seconds: from what ended it to the end of the command.
        left: roles of processes that were still there, `LEFT_GRACE_S` later; they have been killed.
        under_way: answers to what had been sent before, and was not answered yet when it began to end.
        after: answers to what was sent from then on.
    """

    status: int
    seconds: float
    left: list[str]
    under_way: list[Answered]
    after: list[Answered]


def terminate(target: Target) -> None:
    """What a supervisor does."""
    os.kill(target.service.pid, signal.SIGTERM)


def end_under_load(
    target: Target, end: Callable[[], object], rate_per_s: float = LOAD_PER_S, *, is_known_well: bool = False
) -> Ending:
    """End the service while it works.

    Args:
        end: what makes it end; returns at once.
        is_known_well: it has just recovered from a failure; then one success of each kind is enough.
    """
    with BackgroundLoad(target.url, target.token, target.scene, target.ledger, rate_per_s):
        if is_known_well:
            target.await_answers()
        else:
            target.await_well()
        family = target.service.processes()
        began_s = time.monotonic()
        end()
        status = wait_for_end(target, END_LIMIT_S)
        seconds = time.monotonic() - began_s
    # Ray's agents rename themselves, and their environment is not to be read any more.
    remaining = {process.pid: process for process in [*find_processes(target.data_dir), *family]}
    _, left = psutil.wait_procs(list(remaining.values()), timeout=LEFT_GRACE_S)
    roles = [name_role(process) for process in left]
    kill_processes(left)
    answers = [each for each in target.ledger.read_answers() if each.done_s >= began_s]
    under_way = [each for each in answers if each.sent_s < began_s]
    after = [each for each in answers if each.sent_s >= began_s]
    return Ending(status, seconds, roles, under_way, after)


def wait_for_end(target: Target, limit_s: float) -> int:
    """The status of the command.

    Raises:
        AssertionError: it hangs.
    """
    try:
        return target.service.wait(limit_s)
    except subprocess.TimeoutExpired:
        raise AssertionError(
            f"still running after {limit_s:g} s:\n{target.service.read_log()[-2000:]}"
        ) from None


def check_drain(ending: Ending) -> None:
    """It ended well, and nobody was told anything but that it does."""
    assert ending.status == 0
    assert ending.left == []
    assert {each.code for each in ending.under_way} <= {"ok"}
    assert {each.code for each in ending.after} <= {"ok", *REFUSALS}


def look_at_rest(target: Target, failure: str, ending: Ending) -> Row:
    """Check the ledger against what the ended service left on disk, and record the row.

    Raises:
        AssertionError: something acknowledged was lost.
    """
    lost = find_lost_at_rest(target)
    return _record(failure, ending, None, lost, f"ended with status {ending.status}")


def start_again(target: Target, failure: str, ending: Ending) -> Row:
    """Start the service on the data that the ended one left, check the ledger and record the row.

    Raises:
        AssertionError: something acknowledged was lost.
    """
    start_s = _start_insisting(target)
    lost = target.find_lost()
    return _record(failure, ending, start_s, lost, f"status {ending.status}; recovered: by a start")


def _record(failure: str, ending: Ending, recovery_s: float | None, lost: list[str], note: str) -> Row:
    answers = [*ending.under_way, *ending.after]
    row = make_row(failure, answers, len(lost), recovery_s, ending.seconds, LOAD_PER_S)
    row = replace(row, outage_s=ending.seconds, note=note)
    record(row)
    assert not lost, f"{failure}: {lost}"
    return row


def _start_insisting(target: Target) -> float:
    """Seconds of the start that succeeds; a connection of somebody else may sit on one of the ports."""
    for _ in range(START_ATTEMPTS - 1):
        try:
            return target.service.start()
        except RuntimeError as error:
            if "in use" not in str(error):
                raise
            time.sleep(1)
    return target.service.start()
