"""What a load generator does so that it measures the service and not itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.service import Service

ASK = "from loadtest.machine import take_niceness; print(take_niceness({niceness}))"


def _take(niceness: int) -> int:
    command = [sys.executable, "-c", ASK.format(niceness=niceness)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, start_new_session=True
    )
    return int(done.stdout)


def test_a_generator_takes_the_niceness_it_is_told_or_keeps_its_own() -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert _take(min(19, own + 1)) == min(19, own + 1)
    assert _take(-10) in (-10, own)


def test_options_of_a_load_are_kept_from_the_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROLLCALL_LOAD_NICENESS", "0")
    monkeypatch.setenv("ROLLCALL_LOAD__MAX_PENDING_REQUESTS", "64")
    environment = Service(tmp_path).environment
    assert "ROLLCALL_LOAD_NICENESS" not in environment
    assert environment["ROLLCALL_LOAD__MAX_PENDING_REQUESTS"] == "64"
