"""Many concurrent requests, few Serve calls: what waits for a stage travels together in one parcel.

A Serve call costs milliseconds of CPU on both sides, whatever it carries. To an idle stage a task leaves at
once, with those that were submitted in the same turn of the event loop. While calls are under way tasks
gather for `linger_s`, and beyond `max_calls` until one returns; the next call then takes all it may.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from serving.errors import DeadlineExceeded, InternalError, Overloaded, RollcallError, StageUnavailable
from serving.graph.messages import Task
from serving.telemetry import recording
from serving.telemetry.request_notes import RequestNote, current
from serving.telemetry.stage_meters import CallMeter
from serving.telemetry.stage_notes import CallSpans

logger = logging.getLogger("ray.serve")

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


@dataclass(slots=True, eq=False)
class _Entry(Generic[TaskT]):
    task: TaskT
    size_bytes: int
    submitted: float
    deadline: float
    future: asyncio.Future[Any]
    note: RequestNote | None = None
    resent: bool = False


class Coalescer(Generic[TaskT, ResultT]):
    """Gathers tasks for one stage and hands each caller its own result.

    Args:
        call: sends a parcel and returns one outcome for each task; raises `CallLost` when the whole parcel
            was lost and `RollcallError` when the stage refused it.
        limits: see `CoalescerLimits`.
        meter: is told of every wait and call.
    """

    def __init__(
        self,
        call: Callable[[list[TaskT]], Awaitable[Sequence[ResultT | RollcallError]]],
        limits: CoalescerLimits,
        meter: CallMeter | None = None,
    ) -> None:
        self._call = call
        self._meter = meter
        self.limits = limits
        self._waiting: dict[_Entry[TaskT], None] = {}
        self._lost: dict[_Entry[TaskT], None] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._departure: asyncio.Handle | None = None
        # A parcel belongs to many requests. In the context of one of them Serve would count the call as that
        # request's own, and cancel it for all when that client disconnects.
        self._context = contextvars.copy_context()

    @property
    def waiting(self) -> int:
        """Tasks that no call has taken yet, and whose callers still want them."""
        return len(self._waiting) + len(self._lost)

    async def submit(self, task: TaskT, size_bytes: int) -> ResultT:
        """The stage's result for `task`, within `task.remaining_s` seconds.

        Raises:
            Overloaded: too many tasks wait already.
            DeadlineExceeded: the time ran out, waiting or in the stage.
            StageUnavailable: the stage lost the task twice.
            RollcallError: the stage's own error for this task.
        """
        if self.waiting >= self.limits.max_waiting:
            recording.note_refusal("queue")
            raise Overloaded(waiting=self.waiting)
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        entry = _Entry(task, size_bytes, now, now + task.remaining_s, loop.create_future(), current())
        timer = loop.call_later(task.remaining_s, _expire, entry.future)
        self._waiting[entry] = None
        self._note_waiting()
        self._schedule_departure(loop)
        try:
            result: ResultT = await entry.future
            return result
        finally:
            timer.cancel()
            if entry in self._waiting or entry in self._lost:  # nobody has come for it
                self._waiting.pop(entry, None)
                self._lost.pop(entry, None)
                self._note_waiting()

    def _note_waiting(self) -> None:
        if self._meter is not None:
            self._meter.note_waiting(self.waiting)

    def _schedule_departure(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._departure is not None:
            if len(self._waiting) < self.limits.max_parcel_tasks:
                return
            self._departure.cancel()  # a full parcel has nothing to wait for
            self._departure = None
        if len(self._calls) >= self.limits.max_calls:
            return  # the call that returns next takes what waits
        if self._calls and len(self._waiting) < self.limits.max_parcel_tasks:
            self._departure = loop.call_later(self.limits.linger_s, self._depart, context=self._context)
        else:
            self._departure = loop.call_soon(self._depart, context=self._context)

    def _depart(self) -> None:
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None
        while self.waiting and len(self._calls) < self.limits.max_calls:
            parcel = self._take_parcel()
            if parcel:
                self._send(parcel)

    def _take_parcel(self) -> list[_Entry[TaskT]]:
        """What may travel together now."""
        for entry in self._lost:  # alone, in case it is what kills replicas
            del self._lost[entry]
            return [] if entry.future.done() else [entry]
        parcel: list[_Entry[TaskT]] = []
        parcel_bytes = 0
        for entry in list(self._waiting):
            if parcel and parcel_bytes + entry.size_bytes > self.limits.max_parcel_bytes:
                break
            del self._waiting[entry]
            if entry.future.done():
                continue
            parcel.append(entry)
            parcel_bytes += entry.size_bytes
            if len(parcel) >= self.limits.max_parcel_tasks:
                break
        return parcel

    def _send(self, parcel: list[_Entry[TaskT]]) -> None:
        call = asyncio.create_task(self._run(parcel))
        self._calls.add(call)
        call.add_done_callback(self._finish_call, context=self._context)

        def drop_if_nobody_waits(_: asyncio.Future[Any]) -> None:
            if not call.done() and all(entry.future.done() for entry in parcel):
                call.cancel()

        for entry in parcel:
            entry.future.add_done_callback(drop_if_nobody_waits)

    def _finish_call(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if self._meter is not None:
            self._meter.note_return(len(self._calls))
        if self.waiting and (self._departure is None or not self._calls):
            self._depart()

    async def _run(self, parcel: list[_Entry[TaskT]]) -> None:
        now = time.monotonic()
        for entry in parcel:
            entry.task.remaining_s = max(0.0, entry.deadline - now)
        if self._meter is not None:
            self._meter.note_departure([now - entry.submitted for entry in parcel], len(self._calls))
            self._note_waiting()
        spans = CallSpans("" if self._meter is None else self._meter.stage, parcel)
        code: str | None = None
        try:
            outcomes = await self._call([entry.task for entry in parcel])
            if self._meter is not None:
                self._meter.note_answer(time.monotonic() - now)
            if len(outcomes) != len(parcel):
                raise InternalError("a stage answered a parcel with another number of results")
        except CallLost as lost:
            code = "lost"
            self._send_again(parcel, lost)
        except asyncio.CancelledError:
            # Either nobody waits any more, or Serve cancelled the call: then the work itself may be fine.
            code = "cancelled"
            self._send_again(parcel, CallLost("cancelled"))
        except RollcallError as error:
            code = error.code
            _fail(parcel, error)
        except Exception as error:
            code = InternalError.code
            logger.error("a call to a stage failed: %s", type(error).__name__, exc_info=error)
            _fail(parcel, InternalError(f"a stage failed: {type(error).__name__}"))
        else:
            for entry, outcome in zip(parcel, outcomes, strict=True):
                _settle(entry.future, outcome)
        finally:
            spans.end(code)

    def _send_again(self, parcel: list[_Entry[TaskT]], lost: CallLost) -> None:
        if self._meter is not None and any(not entry.future.done() for entry in parcel):
            self._meter.note_loss()
        for entry in parcel:
            if entry.resent:
                _settle(entry.future, StageUnavailable(str(lost) or None))
            elif not entry.future.done():
                entry.resent = True
                self._lost[entry] = None


def _expire(future: asyncio.Future[Any]) -> None:
    _settle(future, DeadlineExceeded())


def _fail(parcel: Sequence[_Entry[Any]], error: RollcallError) -> None:
    for entry in parcel:
        _settle(entry.future, copy.copy(error))  # each caller its own: it may add to it


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, RollcallError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
