"""A stage that the coalescer's tests hold in their hands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.errors import (
    RollcallError,
)
from serving.graph.coalescer import Coalescer, CoalescerLimits
from serving.graph.messages import Task


@dataclass(slots=True)
class Numbered(Task):
    number: int


class Stage:
    """A stage whose calls the test lets go one by one; answers each task with ten times its number."""

    def __init__(self) -> None:
        self.parcels: list[list[int]] = []
        self.remaining: list[list[float]] = []
        self.under_way: list[asyncio.Future[Any]] = []

    async def __call__(self, parcel: list[Numbered]) -> Sequence[int | RollcallError]:
        self.parcels.append([task.number for task in parcel])
        self.remaining.append([task.remaining_s for task in parcel])
        gate: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.under_way.append(gate)
        answer = await gate
        return [task.number * 10 for task in parcel] if answer is None else answer

    async def let_go(self, answer: Any = None) -> None:
        """End the oldest call, by an answer or an error; None is the right answer."""
        gate = self.under_way.pop(0)
        if isinstance(answer, BaseException):
            gate.set_exception(answer)
        else:
            gate.set_result(answer)
        await settle()


async def settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


def start(
    coalescer: Coalescer[Numbered, int],
    numbers: Sequence[int],
    remaining_s: float = 60.0,
    size_bytes: int = 1,
) -> list[asyncio.Task[int]]:
    tasks = [
        asyncio.create_task(coalescer.submit(Numbered(remaining_s, number), size_bytes)) for number in numbers
    ]
    for task in tasks:  # else asyncio writes a traceback whenever the collector finds a task nobody asked
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return tasks


async def start_behind(
    coalescer: Coalescer[Numbered, int], numbers: Sequence[int]
) -> list[asyncio.Task[int]]:
    """Start the first number alone, and the others when its call is under way."""
    tasks = start(coalescer, numbers[:1])
    await settle()
    tasks += start(coalescer, numbers[1:])
    await settle()
    return tasks


def make(stage: Any, **limits: Any) -> Coalescer[Numbered, int]:
    return Coalescer(stage, CoalescerLimits(**limits))
