"""What becomes of tasks when calls, callers or time run out."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from ray.serve.context import _get_serve_request_context, _RequestContext, _serve_request_context

from serving.errors import (
    DeadlineExceeded,
    InternalError,
    NoFace,
    Overloaded,
    RollcallError,
    StageUnavailable,
)
from serving.graph.coalescer import CallLost, Coalescer, CoalescerLimits
from tests.unit.graph.coalescer_stage import Numbered, Stage, make, settle, start, start_behind
from tests.unit.graph.virtual_time import in_virtual_time, now


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Overloaded("full"), Overloaded),
        (ValueError("secret words"), InternalError),
        ([1, 2, 3], InternalError),
        ([], InternalError),
        (17, InternalError),
    ],
)
async def test_an_error_of_the_call_reaches_every_caller(answer: Any, kind: type[RollcallError]) -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=1)
    tasks = await start_behind(coalescer, [0, 1, 2])
    await stage.let_go()
    await stage.let_go(answer)
    for task in tasks[1:]:
        with pytest.raises(kind) as caught:
            task.result()
        assert "secret" not in str(caught.value.detail)
    last = start(coalescer, [7])
    await settle()
    await stage.let_go()
    assert last[0].result() == 70


async def test_callers_of_a_failed_parcel_share_no_exception() -> None:
    stage = Stage()
    tasks = await start_behind(make(stage, max_calls=1), [0, 1, 2])
    await stage.let_go()
    await stage.let_go(Overloaded("full"))
    assert tasks[1].exception() is not tasks[2].exception()


@in_virtual_time
async def test_whoever_has_gone_is_left_out_of_the_parcel() -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=1)
    tasks = await start_behind(coalescer, [0, 1, 2])
    short = start(coalescer, [3], remaining_s=0.02)
    last = start(coalescer, [4])
    await settle()
    tasks[1].cancel()
    with pytest.raises(DeadlineExceeded):
        await short[0]
    await stage.let_go()
    assert stage.parcels == [[0], [2, 4]]
    await stage.let_go()
    assert [tasks[2].result(), last[0].result()] == [20, 40]
    assert tasks[1].cancelled()


async def test_when_all_have_gone_no_call_is_made() -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=1)
    tasks = await start_behind(coalescer, [0, 1, 2])
    for task in tasks[1:]:
        task.cancel()
    await settle()
    await stage.let_go()
    assert stage.parcels == [[0]]
    assert coalescer.waiting == 0


async def test_a_result_for_a_caller_that_has_gone_is_dropped() -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=1)
    tasks = await start_behind(coalescer, [0, 1, 2])
    await stage.let_go()
    tasks[1].cancel()
    await stage.let_go()
    assert tasks[2].result() == 20
    assert tasks[1].cancelled()


@in_virtual_time
async def test_the_time_a_task_has_waited_is_taken_off() -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=1)
    tasks = start(coalescer, [0], remaining_s=10)
    await settle()
    tasks += start(coalescer, [1], remaining_s=10)
    await settle()
    await asyncio.sleep(0.05)
    await stage.let_go()
    await stage.let_go()
    assert stage.remaining == [[pytest.approx(10)], [pytest.approx(9.95)]]
    await asyncio.gather(*tasks)


async def test_overloaded_beyond_max_waiting() -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=1, max_waiting=2)
    tasks = await start_behind(coalescer, [0, 1, 2, 3])
    with pytest.raises(Overloaded) as caught:
        tasks[3].result()
    assert caught.value.context == {"waiting": 2}
    await stage.let_go()
    more = start(coalescer, [4])
    await settle()
    await stage.let_go()
    await stage.let_go()
    assert await asyncio.gather(*tasks[:3], *more) == [0, 10, 20, 40]


@in_virtual_time
async def test_the_deadline_holds_although_the_stage_hangs() -> None:
    stage = Stage()
    began = now()
    tasks = start(make(stage, max_calls=1), [0, 1], remaining_s=0.05)
    for task in tasks:
        with pytest.raises(DeadlineExceeded):
            await task
    assert now() - began == pytest.approx(0.05)


@in_virtual_time
async def test_a_call_that_hangs_gives_its_place_back() -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=1)
    with pytest.raises(DeadlineExceeded):
        await coalescer.submit(Numbered(0.02, 1), 1)
    start(coalescer, [2], remaining_s=0.1)
    await asyncio.sleep(0.05)
    assert stage.parcels == [[1], [2]]


@in_virtual_time
async def test_tasks_whose_time_is_up_take_no_room() -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=1, max_waiting=3)
    start(coalescer, [0])
    await settle()
    gone = start(coalescer, [1, 2, 3], remaining_s=0.02)
    await asyncio.wait(gone)
    assert coalescer.waiting == 0
    late = start(coalescer, [4])
    await settle()
    await stage.let_go()
    await stage.let_go()
    assert late[0].result() == 40


async def test_lost_tasks_are_sent_once_more_each_alone() -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=1)
    tasks = await start_behind(coalescer, [0, 1, 2, 3])
    await stage.let_go()
    more = start(coalescer, [4, 5])
    await settle()
    await stage.let_go(CallLost("ActorDiedError"))
    await stage.let_go()
    await stage.let_go(CallLost("ActorDiedError"))
    await stage.let_go()
    await stage.let_go()
    assert stage.parcels == [[0], [1, 2, 3], [1], [2], [3], [4, 5]]
    with pytest.raises(StageUnavailable, match="ActorDiedError"):
        tasks[2].result()
    assert await asyncio.gather(tasks[0], tasks[1], tasks[3], *more) == [0, 10, 30, 40, 50]


async def test_lost_tasks_whose_caller_has_gone_are_not_sent_again() -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=1)
    tasks = await start_behind(coalescer, [0, 1, 2])
    await stage.let_go()
    tasks[1].cancel()
    await settle()
    await stage.let_go(CallLost())
    await stage.let_go()
    assert stage.parcels == [[0], [1, 2], [2]]
    assert tasks[2].result() == 20


@pytest.mark.parametrize("limits", [{"max_calls": 3}, {"max_calls": 1, "max_parcel_tasks": 2}])
async def test_limits_change_while_tasks_wait(limits: dict[str, int]) -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=1)
    tasks = await start_behind(coalescer, range(6))
    coalescer.limits = CoalescerLimits(**{"max_parcel_tasks": 2, **limits})
    while stage.under_way:
        await stage.let_go()
    if limits["max_calls"] == 1:
        assert stage.parcels == [[0], [1, 2], [3, 4], [5]]
    else:
        assert stage.parcels[1:3] == [[1, 2], [3, 4]]
    assert await asyncio.gather(*tasks) == [number * 10 for number in range(6)]


async def test_fewer_calls_are_honoured_when_those_under_way_have_ended() -> None:
    stage = Stage()
    coalescer = make(stage, max_calls=3, max_parcel_tasks=1)
    tasks = await start_behind(coalescer, range(6))
    coalescer.limits = CoalescerLimits(max_calls=1, max_parcel_tasks=1)
    await stage.let_go()
    await stage.let_go()
    assert len(stage.under_way) == 1
    while stage.under_way:
        await stage.let_go()
        assert len(stage.under_way) <= 1
    assert len(await asyncio.gather(*tasks)) == 6


@in_virtual_time
async def test_a_parcel_travels_in_no_callers_request_context() -> None:
    """Serve cancels the calls made in a request's context when that request's client disconnects."""
    contexts: list[str] = []

    async def call(parcel: list[Numbered]) -> list[int]:
        contexts.append(_get_serve_request_context()._internal_request_id)
        await asyncio.sleep(0.005)
        return [task.number for task in parcel]

    coalescer = make(call, max_calls=1)

    async def request(number: int) -> int:
        _serve_request_context.set(_RequestContext(_internal_request_id=f"request-{number}"))
        return await coalescer.submit(Numbered(5, number), 1)

    requests = [asyncio.create_task(request(0))]
    await settle()
    requests += [asyncio.create_task(request(number)) for number in (1, 2, 3)]
    await asyncio.gather(*requests)
    assert len(contexts) == 2
    assert not any(contexts), contexts


async def test_a_call_cancelled_from_below_is_sent_again() -> None:
    stage = Stage()
    tasks = await start_behind(make(stage, max_calls=1), [0, 1, 2])
    await stage.let_go()
    await stage.let_go(asyncio.CancelledError())
    while stage.under_way:
        await stage.let_go()
    assert await asyncio.gather(*tasks[1:]) == [10, 20]


async def test_a_call_cancelled_twice_leaves_nobody_waiting() -> None:
    stage = Stage()
    tasks = await start_behind(make(stage, max_calls=1), [0, 1])
    await stage.let_go(asyncio.CancelledError())
    await stage.let_go(asyncio.CancelledError())
    await stage.let_go()
    assert isinstance(tasks[0].exception(), StageUnavailable)
    assert tasks[1].result() == 10


FATES = ["ok", "ok", "ok", "own error", "lost", "refused", "bug", "short", "hang"]


@pytest.mark.parametrize("seed", range(30))
@in_virtual_time
async def test_every_task_settles_exactly_once(seed: int) -> None:
    """Whatever the stage does: each caller gets its own result or an error of ours, and in time."""
    order = random.Random(seed)
    fates = order.choices(FATES if seed % 3 else FATES[:4], k=order.randint(1, 30))
    max_calls, max_parcel_tasks = order.randint(1, 4), order.randint(1, 6)
    linger_s = order.choice([0, 0.001, 0.01])
    limits = CoalescerLimits(max_calls, linger_s, max_parcel_tasks, 60, order.randint(1, 20))
    calls = 0
    busiest = 0
    seen: dict[int, int] = {}

    async def call(parcel: list[Numbered]) -> list[Any]:
        nonlocal calls, busiest
        calls += 1
        busiest = max(busiest, calls)
        try:
            assert 1 <= len(parcel) <= max_parcel_tasks
            for task in parcel:
                seen[task.number] = seen.get(task.number, 0) + 1
            for _ in range(order.randrange(4)):
                await asyncio.sleep(0)
            kinds = [fates[task.number] for task in parcel]
            if "hang" in kinds:
                await asyncio.sleep(0.15)
            if "lost" in kinds:
                raise CallLost("died")
            if "refused" in kinds:
                raise Overloaded
            if "bug" in kinds:
                raise KeyError("x")
            answers: list[Any] = [
                NoFace(number=task.number) if fates[task.number] == "own error" else task.number
                for task in parcel
            ]
            return answers[:-1] if "short" in kinds else answers
        finally:
            calls -= 1

    async def caller(coalescer: Coalescer[Numbered, int], number: int) -> Any:
        for _ in range(order.randrange(6)):
            await asyncio.sleep(0)
        try:
            return await coalescer.submit(Numbered(0.1, number), order.randrange(40))
        except RollcallError as error:
            return error

    coalescer = Coalescer(call, limits)
    callers = [asyncio.create_task(caller(coalescer, number)) for number in range(len(fates))]
    gone = set(order.sample(range(len(fates)), len(fates) // 5))
    for number in gone:
        await asyncio.sleep(0)
        callers[number].cancel()
    outcomes = await asyncio.wait_for(asyncio.gather(*callers, return_exceptions=True), 0.101)
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, asyncio.CancelledError):
            assert number in gone
        elif isinstance(outcome, NoFace):
            assert outcome.context == {"number": number}
        elif isinstance(outcome, RollcallError):
            assert set(fates) - {"ok", "own error"} or isinstance(outcome, Overloaded)
        else:
            assert outcome == number
    for _ in range(100):
        if not coalescer._calls:
            break
        await asyncio.sleep(0.01)
    assert coalescer.waiting == 0
    assert not coalescer._calls
    assert busiest <= max_calls
    assert all(times <= 2 for times in seen.values())
