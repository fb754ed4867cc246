"""Stages tell what really happened to their batches and calls, also when something fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from serving.deployments.lane import Arrival, ModelLane, answer_parcel
from serving.errors import Overloaded, StageUnavailable
from serving.graph.coalescer import CallLost, Coalescer, CoalescerLimits
from serving.graph.messages import Task
from serving.telemetry.exposition import Exposition
from serving.telemetry.stage_meters import BatchMeter, CallMeter
from tests.unit.telemetry.conftest import Samples, find, parse

pytestmark = pytest.mark.usefixtures("fresh_counts")

LABELS = {"stage": "detector", "pack": "p"}


def scrape() -> Samples:
    return parse(Exposition(None).render())


async def test_batches_are_counted_as_they_ran() -> None:
    lane = ModelLane("test", BatchMeter("detector", "p"))

    def run_model(tasks: Sequence[Task]) -> Sequence[str]:
        if len(tasks) > 2:
            raise ZeroDivisionError  # then each is run alone
        return ["done"] * len(tasks)

    async def run_one(arrival: Arrival[Task]) -> str:
        outcomes = await lane.run_batch([arrival], run_model)
        assert outcomes == ["done"]
        return "done"

    late = Arrival(Task(0), deadline=0.0)
    fresh = [Arrival(Task(60), deadline=float("inf")) for _ in range(3)]
    await lane.run_batch([*fresh[:2], late], run_model)
    await lane.run_batch(fresh, run_model)
    await answer_parcel([Task(60)], run_one, lane.turnstile, lane.meter)
    await answer_parcel([], run_one, lane.turnstile, lane.meter)
    samples = scrape()
    assert find(samples, "rollcall_batch_tasks_bucket", **LABELS, le="1.0") == 4
    assert find(samples, "rollcall_batch_tasks_bucket", **LABELS, le="2.0") == 5
    assert find(samples, "rollcall_batch_tasks_count", **LABELS) == 5, "what failed as a whole is none"
    assert find(samples, "rollcall_batch_wait_seconds_count", **LABELS) == 6
    assert find(samples, "rollcall_batch_expired_total", **LABELS) == 1
    assert find(samples, "rollcall_replica_seconds_count", **LABELS) == 1, "an empty parcel is a question"


async def test_calls_and_waits_are_counted_as_they_were() -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def call(parcel: list[Task]) -> list[str]:
        started.set()
        await release.wait()
        return ["done"] * len(parcel)

    limits = CoalescerLimits(max_calls=1, max_waiting=2)
    coalescer: Coalescer[Task, str] = Coalescer(call, limits, CallMeter("detector", "p"))
    first = asyncio.create_task(coalescer.submit(Task(60), 1))
    await started.wait()
    assert find(scrape(), "rollcall_stage_calls", **LABELS) == 1
    others = [asyncio.create_task(coalescer.submit(Task(60), 1)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await coalescer.submit(Task(60), 1)
    samples = scrape()
    assert find(samples, "rollcall_stage_waiting", **LABELS) == 2
    assert find(samples, "rollcall_shed_total", reason="queue") == 1
    release.set()
    assert await asyncio.gather(first, *others) == ["done"] * 3
    await asyncio.sleep(0)
    samples = scrape()
    assert find(samples, "rollcall_stage_waiting", **LABELS) == 0
    assert find(samples, "rollcall_stage_calls", **LABELS) == 0
    assert find(samples, "rollcall_parcel_tasks_sum", **LABELS) == 3
    assert find(samples, "rollcall_parcel_tasks_count", **LABELS) == 2
    assert find(samples, "rollcall_stage_call_seconds_count", **LABELS) == 2
    assert find(samples, "rollcall_stage_queue_seconds_count", **LABELS) == 3


async def test_calls_that_die_with_their_replica_are_counted() -> None:
    async def call(parcel: list[Task]) -> list[str]:
        raise CallLost

    coalescer: Coalescer[Task, str] = Coalescer(call, CoalescerLimits(), CallMeter("detector", "p"))
    with pytest.raises(StageUnavailable):
        await coalescer.submit(Task(60), 1)
    samples = scrape()
    assert find(samples, "rollcall_stage_lost_calls_total", **LABELS) == 2
    assert find(samples, "rollcall_stage_call_seconds_count", **LABELS) == 0
