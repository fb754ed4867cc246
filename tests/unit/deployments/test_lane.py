from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from serving.deployments import lane as lane_module
from serving.deployments.lane import Arrival, ModelLane, Turnstile, answer_parcel
from serving.errors import DeadlineExceeded, InternalError, NoFace, RollcallError
from serving.graph.messages import Task
from tests.unit.deployments.frozen_clock import FrozenClock

PATIENCE_S = 60.0
"""How long a thread waits for what will come, at most; only a test that fails waits so long."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FrozenClock:
    clock = FrozenClock()
    monkeypatch.setattr(lane_module, "time", clock)
    return clock


@dataclass(slots=True)
class Numbered(Task):
    number: int


def arrivals(*numbers: int, remaining_s: float = 60.0) -> list[Arrival[Numbered]]:
    now = lane_module.time.monotonic()
    return [Arrival(Numbered(remaining_s, number), now + remaining_s) for number in numbers]


def recording(model: Callable[[int], Any]) -> tuple[list[list[int]], Callable[[list[Numbered]], list[Any]]]:
    """A model that is run on batches, and the batches it has seen."""
    batches: list[list[int]] = []

    def run(tasks: list[Numbered]) -> list[Any]:
        batches.append([task.number for task in tasks])
        return [model(task.number) for task in tasks]

    return batches, run


async def test_a_batch_goes_through_the_model_once_in_order() -> None:
    batches, run = recording(lambda number: number * 10)
    assert await ModelLane("test").run_batch(arrivals(3, 1, 2), run) == [30, 10, 20]
    assert batches == [[3, 1, 2]]


@pytest.mark.parametrize("error", [ValueError("secret"), NoFace("mine"), MemoryError()])
async def test_only_the_task_at_fault_fails(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    def model(number: int) -> int:
        if number == 2:
            raise error
        return number * 10

    batches, run = recording(model)
    logging.getLogger("ray.serve").addHandler(caplog.handler)
    outcomes = await ModelLane("test").run_batch(arrivals(1, 2, 3), run)
    logging.getLogger("ray.serve").removeHandler(caplog.handler)
    assert [outcomes[0], outcomes[2]] == [10, 30]
    assert batches[1:] == [[1], [2], [3]]
    if isinstance(error, NoFace):
        assert outcomes[1] is error
        return
    assert type(outcomes[1]) is InternalError
    assert "secret" not in outcomes[1].detail
    assert type(error).__name__ in outcomes[1].detail
    assert any(record.exc_info for record in caplog.records)  # the operator's log has the whole story


async def test_an_error_that_the_model_returns_stays_in_its_place() -> None:
    error = NoFace()
    batches, run = recording(lambda number: error if number == 1 else number)
    assert await ModelLane("test").run_batch(arrivals(0, 1, 2), run) == [0, error, 2]
    assert len(batches) == 1


async def test_work_whose_time_is_up_never_reaches_the_model() -> None:
    batches, run = recording(lambda number: number)
    work = [*arrivals(1), *arrivals(2, remaining_s=-0.001), *arrivals(3), *arrivals(4, remaining_s=0)]
    outcomes = await ModelLane("test").run_batch(work, run)
    assert batches == [[1, 3]]
    assert [outcomes[0], outcomes[2]] == [1, 3]
    assert isinstance(outcomes[1], DeadlineExceeded)
    assert isinstance(outcomes[3], DeadlineExceeded)
    await ModelLane("test").run_batch(arrivals(5, remaining_s=-1), run)
    assert batches == [[1, 3]]


async def test_time_spent_behind_another_batch_counts(clock: FrozenClock) -> None:
    lane = ModelLane("test")
    batches, run = recording(lambda number: number)
    release = threading.Event()
    busy = asyncio.create_task(lane.run(lambda: release.wait(PATIENCE_S)))
    await asyncio.sleep(0)
    work = asyncio.create_task(lane.run_batch(arrivals(1, remaining_s=0.02) + arrivals(2), run))
    await asyncio.sleep(0)
    clock.seconds += 0.05
    release.set()
    assert await busy
    outcomes = await work
    assert isinstance(outcomes[0], DeadlineExceeded)
    assert outcomes[1] == 2
    assert batches == [[2]]


async def test_work_whose_time_is_up_is_not_run_again(clock: FrozenClock) -> None:
    batches: list[list[int]] = []

    def run(tasks: list[Numbered]) -> list[int]:
        batches.append([task.number for task in tasks])
        if len(tasks) > 1:
            clock.seconds += 0.03
            raise ValueError
        return [tasks[0].number]

    await ModelLane("test").run_batch([*arrivals(1), *arrivals(2, remaining_s=0.01)], run)
    assert batches == [[1, 2], [1]]


async def test_the_event_loop_stays_free_and_one_model_runs_at_a_time() -> None:
    lane, loop = ModelLane("name-of-the-lane"), asyncio.get_running_loop()
    running = most = 0
    names = set()

    def model() -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        names.add(threading.current_thread().name.rpartition("_")[0])
        turned = threading.Event()
        loop.call_soon_threadsafe(turned.set)
        in_time = turned.wait(PATIENCE_S)
        time.sleep(0.005)  # in which another could begin
        running -= 1
        return in_time

    assert await asyncio.gather(*(lane.run(model) for _ in range(4))) == [True] * 4
    assert most == 1
    assert names == {"name-of-the-lane"}


async def test_a_parcel_is_answered_place_by_place(clock: FrozenClock) -> None:
    done = [asyncio.Event() for _ in range(5)]
    done[4].set()

    async def run_one(arrival: Arrival[Numbered]) -> Any:
        assert arrival.deadline == clock.seconds + arrival.task.remaining_s
        await done[arrival.task.number + 1].wait()  # the last comes first
        done[arrival.task.number].set()
        if arrival.task.number == 1:
            raise NoFace("mine")
        if arrival.task.number == 2:
            raise KeyError("secret")
        return arrival.task.number

    outcomes: list[int | RollcallError] = await answer_parcel(
        [Numbered(float(number + 1), number) for number in range(4)], run_one, Turnstile()
    )
    assert [outcomes[0], outcomes[3]] == [0, 3]
    assert isinstance(outcomes[1], NoFace)
    assert type(outcomes[2]) is InternalError
    assert outcomes[2].detail == "unexpected KeyError"


async def test_an_empty_parcel_is_answered_emptily() -> None:
    async def run_one(arrival: Arrival[Numbered]) -> Any:
        raise AssertionError

    assert await answer_parcel([], run_one, Turnstile()) == []


async def test_what_comes_while_a_batch_runs_waits_for_its_end() -> None:
    lane = ModelLane("test")
    batches, run = recording(lambda number: number)
    started, release = threading.Event(), threading.Event()
    passed: list[int] = []

    def slow(tasks: list[Numbered]) -> list[int]:
        started.set()
        assert release.wait(PATIENCE_S)
        return run(tasks)

    async def run_one(arrival: Arrival[Numbered]) -> int:
        passed.append(arrival.task.number)
        return arrival.task.number

    first = asyncio.create_task(lane.run_batch(arrivals(0), slow))
    await asyncio.sleep(0)
    parcels = [
        asyncio.create_task(answer_parcel([Numbered(5, number)], run_one, lane.turnstile))
        for number in (1, 2)
    ]
    assert await asyncio.to_thread(started.wait, PATIENCE_S)
    for _ in range(10):
        await asyncio.sleep(0)
    assert passed == []
    release.set()
    assert await first == [0]
    assert await asyncio.gather(*parcels) == [[1], [2]]
    assert batches == [[0]]


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
async def test_a_turnstile_opens_again_whatever_happens(error: BaseException) -> None:
    turnstile = Turnstile()
    with pytest.raises(type(error)), turnstile.closed():
        raise error
    await asyncio.wait_for(turnstile.pass_through(), 1)


async def test_the_wait_at_the_turnstile_counts_against_the_deadline(clock: FrozenClock) -> None:
    turnstile = Turnstile()

    async def run_one(arrival: Arrival[Numbered]) -> float:
        return arrival.deadline - clock.seconds

    with turnstile.closed():
        parcel = asyncio.create_task(answer_parcel([Numbered(1.0, 1)], run_one, turnstile))
        await asyncio.sleep(0)
        clock.seconds += 0.25
    assert await parcel == [0.75]


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is a thread's own on Linux only")
async def test_models_and_the_threads_they_start_step_back_behind_all_else() -> None:
    def measure_niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)

    def measure_in_thread() -> int:
        with ThreadPoolExecutor(1) as own:
            return own.submit(measure_niceness).result()

    usual = measure_niceness()
    lane = ModelLane("test")
    expected = min(19, usual + lane_module.MODEL_NICENESS)
    assert lane.load(measure_in_thread) == expected
    assert await lane.run(measure_niceness) == expected
    assert measure_niceness() == usual
