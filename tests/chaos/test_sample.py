"""What tells most for its time: a model's replica and the owner of all vectors die at once, and a drain."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.endings import check_drain, end_under_load, look_at_rest, terminate
from tests.chaos.harness import Target, start_target
from tests.chaos.processes import count_ready, kill_role

KILLED = ("Detector", "gallery")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with start_target(tmp_path_factory.mktemp("chaos")) as target:
        yield target


def test_a_replica_and_the_gallery_killed_at_once_lose_nothing(target: Target) -> None:
    before = {role: count_ready(target.data_dir, role) for role in KILLED}

    def kill() -> None:
        for role in KILLED:
            kill_role(target.data_dir, role)

    row = target.suffer(
        "kill -9 of a detector and the gallery's owner at once",
        kill,
        is_whole=lambda: all(count_ready(target.data_dir, role) >= before[role] for role in KILLED),
    )
    assert row.recovery_s is not None
    assert row.whole_s is not None


def test_a_drain_answers_what_is_under_way_and_loses_nothing(target: Target) -> None:
    """The last one of this service."""
    ending = end_under_load(target, lambda: terminate(target), is_known_well=True)
    check_drain(ending)
    look_at_rest(target, "SIGTERM (a drain)", ending)
