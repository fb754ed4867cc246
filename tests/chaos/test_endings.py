"""The end of the whole service: asked for, or because what cannot be replaced has died."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.chaos.endings import check_drain, end_under_load, start_again, terminate
from tests.chaos.harness import Target, start_target
from tests.chaos.processes import kill_role


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with start_target(tmp_path_factory.mktemp("chaos")) as target:
        yield target


def test_a_drain_and_a_start_lose_nothing(target: Target) -> None:
    ending = end_under_load(target, lambda: terminate(target))
    check_drain(ending)
    start_again(target, "SIGTERM, then a start", ending)


@pytest.mark.parametrize("role", ["gcs_server", "raylet"])
def test_without_its_ray_the_service_ends_and_says_so(target: Target, role: str) -> None:
    ending = end_under_load(target, lambda: kill_role(target.data_dir, role))
    assert ending.status == 1
    assert ending.left == []
    assert f"Ray's {role} has died" in target.service.read_log()
    start_again(target, f"kill -9 of Ray's {role}, then a start", ending)


def test_nothing_outlives_the_command_for_long(target: Target) -> None:
    """kill -9 of `rollcall serve` itself: what it had started ends too, and the port is free."""
    ending = end_under_load(target, lambda: os.kill(target.service.pid, signal.SIGKILL))
    assert ending.status == -9
    start_again(target, "kill -9 of rollcall serve, then a start", ending)
