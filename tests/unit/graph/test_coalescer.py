"""When tasks leave, and with whom."""

from __future__ import annotations

import asyncio

import pytest

from serving.errors import (
    DeadlineExceeded,
    NoFace,
)
from tests.unit.graph.coalescer_stage import Numbered, Stage, make, settle, start, start_behind
from tests.unit.graph.virtual_time import in_virtual_time


@in_virtual_time
async def test_to_an_idle_stage_a_task_leaves_at_once() -> None:
    stage = Stage()
    tasks = start(make(stage, linger_s=10), [1])
    await settle()
    assert stage.parcels == [[1]]
    await stage.let_go()
    assert tasks[0].result() == 10


@in_virtual_time
async def test_what_one_turn_of_the_loop_submits_travels_together() -> None:
    stage = Stage()
    tasks = start(make(stage, max_parcel_tasks=3, linger_s=10), range(7))
    await settle()
    assert stage.parcels == [[0, 1, 2], [3, 4, 5]]
    while stage.under_way:
        await stage.let_go()
    assert await asyncio.gather(*tasks) == [number * 10 for number in range(7)]


@in_virtual_time
async def test_beside_a_call_under_way_tasks_linger_for_company() -> None:
    stage = Stage()
    coalescer = make(stage, linger_s=0.03)
    tasks = start(coalescer, [0])
    await settle()
    for number in (1, 2, 3):
        tasks += start(coalescer, [number])
        await asyncio.sleep(0.009)
    assert stage.parcels == [[0]]
    await asyncio.sleep(0.004)
    assert stage.parcels == [[0], [1, 2, 3]]
    while stage.under_way:
        await stage.let_go()
    assert await asyncio.gather(*tasks) == [0, 10, 20, 30]


@in_virtual_time
async def test_a_full_parcel_does_not_linger() -> None:
    stage = Stage()
    coalescer = make(stage, linger_s=10, max_parcel_tasks=2)
    tasks = await start_behind(coalescer, [0, 1])
    assert stage.parcels == [[0]]
    tasks += start(coalescer, [2])
    await settle()
    assert stage.parcels == [[0], [1, 2]]
    while stage.under_way:
        await stage.let_go()
    await asyncio.gather(*tasks)


@in_virtual_time
async def test_the_deadline_holds_while_lingering() -> None:
    stage = Stage()
    coalescer = make(stage, linger_s=0.1)
    start(coalescer, [0])
    await settle()
    with pytest.raises(DeadlineExceeded):
        await coalescer.submit(Numbered(0.01, 1), 1)
    await asyncio.sleep(0.12)
    assert stage.parcels == [[0]]


async def test_tasks_gather_while_every_call_is_under_way() -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=1, max_parcel_tasks=3)
    tasks = await start_behind(coalescer, range(8))
    assert stage.parcels == [[0]]
    assert coalescer.waiting == 7
    for _ in range(4):
        await stage.let_go()
    assert stage.parcels == [[0], [1, 2, 3], [4, 5, 6], [7]]
    assert await asyncio.gather(*tasks) == [number * 10 for number in range(8)]
    assert coalescer.waiting == 0


async def test_a_parcel_is_bounded_in_bytes_but_never_empty() -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=1, max_parcel_bytes=100)
    tasks = start(coalescer, [0])
    await settle()
    tasks += [
        *start(coalescer, [1, 2], size_bytes=50),
        *start(coalescer, [3], size_bytes=1),
        *start(coalescer, [4], size_bytes=500),
        *start(coalescer, [5], size_bytes=1),
    ]
    await settle()
    for _ in range(5):
        await stage.let_go()
    assert stage.parcels == [[0], [1, 2], [3], [4], [5]]
    assert await asyncio.gather(*tasks) == [0, 10, 20, 30, 40, 50]


async def test_a_tasks_own_error_reaches_its_caller_alone() -> None:
    stage = Stage()
    tasks = await start_behind(make(stage, max_calls=1), [0, 1, 2, 3])
    await stage.let_go()
    await stage.let_go([10, NoFace("in the second"), 30])
    assert tasks[1].result() == 10
    assert tasks[3].result() == 30
    with pytest.raises(NoFace, match="in the second"):
        tasks[2].result()
