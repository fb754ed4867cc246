"""Many concurrent requests, few Serve calls: what waits for a stage travels together in one parcel.

A Serve call costs milliseconds of CPU on both sides, whatever it carries. To an idle stage a task leaves at
once, with those that were submitted in the same turn of the event loop. While calls are under way tasks
gather for `linger_s`, and beyond `max_calls` until one returns; the next call then takes all it may.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from serving.deployments.messages import Task
from serving.errors import DeadlineExceeded, InternalError, Overloaded, RollcallError, StageUnavailable

TaskT = TypeVar("TaskT", bound=Task)
ResultT = TypeVar("ResultT")


class CallLost(Exception):
    """The replica that held a parcel died, or could not be reached; the work may be sent again."""


@dataclass(frozen=True, slots=True)
class CoalescerLimits:
    """Bounds of one coalescer; all can change while it runs.

    Attributes:
        max_calls: Serve calls under way at once, about two for each replica of the stage.
        linger_s: how long a task may wait for company while another call is under way. The answers of one
            parcel bring their clients' next requests milliseconds apart; without it each would leave alone.
        max_parcel_tasks: tasks in one parcel.
        max_parcel_bytes: payload bytes in one parcel (a single larger task still travels, alone).
        max_waiting: tasks waiting for a call; more are refused.
    """

    max_calls: int = 2
    linger_s: float = 0.004
    max_parcel_tasks: int = 16
    max_parcel_bytes: int = 32 * 2**20
    max_waiting: int = 1024


@dataclass(slots=True)
class _Waiting(Generic[TaskT]):
    task: TaskT
    size_bytes: int
    deadline: float
    future: asyncio.Future[Any]
    resent: bool = False


class Coalescer(Generic[TaskT, ResultT]):
    """Gathers tasks for one stage and hands each caller its own result.

    Args:
        call: sends a parcel and returns one outcome for each task; raises `CallLost` when the whole parcel
            was lost and `RollcallError` when the stage refused it.
        limits: see `CoalescerLimits`.
    """

    def __init__(
        self,
        call: Callable[[list[TaskT]], Awaitable[Sequence[ResultT | RollcallError]]],
        limits: CoalescerLimits,
    ) -> None:
        self._call = call
        self.limits = limits
        self._waiting: deque[_Waiting[TaskT]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._departure: asyncio.Handle | None = None

    @property
    def waiting(self) -> int:
        """Tasks that no call has taken yet."""
        return len(self._waiting)

    async def submit(self, task: TaskT, size_bytes: int) -> ResultT:
        """The stage's result for `task`, within `task.remaining_s` seconds.

        Raises:
            Overloaded: too many tasks wait already.
            DeadlineExceeded: the time ran out, waiting or in the stage.
            StageUnavailable: the stage lost the task twice.
            RollcallError: the stage's own error for this task.
        """
        if len(self._waiting) >= self.limits.max_waiting:
            raise Overloaded(waiting=len(self._waiting))
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + task.remaining_s
        entry = _Waiting(task, size_bytes, deadline, loop.create_future())
        timer = loop.call_later(task.remaining_s, _expire, entry.future)
        self._waiting.append(entry)
        self._schedule_departure(loop)
        try:
            result: ResultT = await entry.future
            return result
        finally:
            timer.cancel()

    def _schedule_departure(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._departure is not None:
            if len(self._waiting) < self.limits.max_parcel_tasks:
                return
            self._departure.cancel()  # a full parcel has nothing to wait for
            self._departure = None
        if len(self._calls) >= self.limits.max_calls:
            return  # the call that returns next takes what waits
        if self._calls and len(self._waiting) < self.limits.max_parcel_tasks:
            self._departure = loop.call_later(self.limits.linger_s, self._depart)
        else:
            self._departure = loop.call_soon(self._depart)

    def _depart(self) -> None:
        self._departure = None
        while self._waiting and len(self._calls) < self.limits.max_calls:
            parcel = self._take_parcel()
            if parcel:
                call = asyncio.create_task(self._run(parcel))
                self._calls.add(call)
                call.add_done_callback(self._finish_call)

    def _finish_call(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if self._waiting and self._departure is None:
            self._depart()

    def _take_parcel(self) -> list[_Waiting[TaskT]]:
        """What may travel together now; those whose caller has gone, or whose time is up, are dropped."""
        parcel: list[_Waiting[TaskT]] = []
        parcel_bytes = 0
        now = time.monotonic()
        while self._waiting and len(parcel) < self.limits.max_parcel_tasks:
            entry = self._waiting[0]
            if entry.future.done():
                self._waiting.popleft()
                continue
            # A task that was lost with a replica travels alone, in case it is what kills replicas.
            if parcel and (entry.resent or parcel_bytes + entry.size_bytes > self.limits.max_parcel_bytes):
                break
            self._waiting.popleft()
            entry.task.remaining_s = entry.deadline - now
            parcel.append(entry)
            parcel_bytes += entry.size_bytes
            if entry.resent:
                break
        return parcel

    async def _run(self, parcel: list[_Waiting[TaskT]]) -> None:
        try:
            outcomes = await self._call([entry.task for entry in parcel])
            if len(outcomes) != len(parcel):
                raise InternalError("a stage answered a parcel with another number of results")
        except CallLost as lost:
            self._send_again(parcel, lost)
        except RollcallError as error:
            _fail(parcel, error)
        except asyncio.CancelledError:
            _fail(parcel, StageUnavailable("the service is stopping"))
            raise
        except Exception as error:
            _fail(parcel, InternalError(f"a stage failed: {type(error).__name__}"))
        else:
            for entry, outcome in zip(parcel, outcomes, strict=True):
                _settle(entry.future, outcome)

    def _send_again(self, parcel: list[_Waiting[TaskT]], lost: CallLost) -> None:
        for entry in reversed(parcel):
            if entry.resent:
                _settle(entry.future, StageUnavailable(str(lost) or None))
            elif not entry.future.done():
                entry.resent = True
                self._waiting.appendleft(entry)


def _expire(future: asyncio.Future[Any]) -> None:
    _settle(future, DeadlineExceeded())


def _fail(parcel: Sequence[_Waiting[Any]], error: RollcallError) -> None:
    for entry in parcel:
        _settle(entry.future, error)


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, RollcallError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
