"""Three failures that tell most for their time: a model's replica, the owner of all vectors, and a drain."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.endings import check_drain, end_under_load, look_at_rest, terminate
from tests.chaos.harness import Target, start_target


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with start_target(tmp_path_factory.mktemp("chaos")) as target:
        yield target


@pytest.mark.parametrize(
    ("failure", "role"),
    [("kill -9 of a detector", "Detector"), ("kill -9 of the gallery's owner", "gallery")],
)
def test_a_process_that_is_killed_loses_nothing(target: Target, failure: str, role: str) -> None:
    row = target.suffer_kill(failure, role)
    assert row.recovery_s is not None
    assert row.whole_s is not None


def test_a_drain_answers_what_is_under_way_and_loses_nothing(target: Target) -> None:
    """The last one of this service."""
    ending = end_under_load(target, lambda: terminate(target))
    check_drain(ending)
    look_at_rest(target, "SIGTERM (a drain)", ending)
