"""When a clock is believed, and that retention erases nobody by one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.database import Database, sqlite_url
from serving.graph.steady_clock import HOLD_S, MAX_JUMP_S, SteadyClock
from tests.unit.graph.test_retention import World

DAY_S = 86400.0


class Clocks:
    """A wall clock that can be set, beside one that cannot."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.shift_s = 1.7e9

    def make(self) -> SteadyClock:
        return SteadyClock(lambda: self.now_s + self.shift_s, lambda: self.now_s)

    def go_on(self, seconds: float, jump_s: float = 0.0) -> None:
        self.now_s += seconds
        self.shift_s += jump_s


@pytest.mark.parametrize("jump_s", [MAX_JUMP_S + 1, DAY_S, -DAY_S])
def test_a_clock_that_jumped_is_believed_once_it_has_gone_on_evenly(jump_s: float) -> None:
    clocks = Clocks()
    clock = clocks.make()
    assert clock.is_steady()
    clocks.go_on(10, jump_s)
    assert not clock.is_steady()
    clocks.go_on(HOLD_S - 1)
    assert not clock.is_steady()
    clocks.go_on(1)
    assert clock.is_steady()


def test_a_clock_set_right_again_is_held_from_then_on() -> None:
    clocks = Clocks()
    clock = clocks.make()
    clocks.go_on(10, DAY_S)
    assert not clock.is_steady()
    clocks.go_on(HOLD_S - 1, -DAY_S)
    assert not clock.is_steady()
    clocks.go_on(HOLD_S - 1)
    assert not clock.is_steady()
    clocks.go_on(1)
    assert clock.is_steady()


def test_small_corrections_never_add_up_to_a_jump() -> None:
    clocks = Clocks()
    clock = clocks.make()
    for _ in range(100):
        clocks.go_on(60, MAX_JUMP_S / 2)
        assert clock.is_steady()


@pytest.mark.asyncio
async def test_nobody_is_erased_by_a_clock_that_has_just_jumped(tmp_path: Path) -> None:
    database = Database(sqlite_url(tmp_path / "registry.sqlite"))
    world, clocks = World(database), Clocks()
    await world.registry.open()
    try:
        job = world.make_job(clock=clocks.make())
        key = await world.create("e", 7)
        await world.enrol(key, "kept", days_ago=8)
        clocks.go_on(1, DAY_S)
        await job.look_once()
        assert world.gallery.faces == {(key, "kept", "f1")}
        clocks.go_on(HOLD_S)
        await job.look_once()
        assert world.gallery.faces == set()
    finally:
        await world.registry.close()
