"""The inside of a batched stage: parcels in, batches through one model thread, outcomes out."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from serving.errors import DeadlineExceeded, InternalError, Overloaded, RollcallError, StageUnavailable
from serving.graph.messages import Task
from serving.graph.tuning import BatchTuning, read_tuning
from serving.telemetry import stage_notes
from serving.telemetry.stage_meters import BatchMeter

logger = logging.getLogger("ray.serve")

OUTAGES = (StageUnavailable, Overloaded, DeadlineExceeded)

MODEL_NICENESS = 10
"""How far threads that run models step back behind the other threads of the service. Those do a millisecond
of work for each request; where models keep every core busy, each would else wait for a core as long as the
scheduler lets a model run."""

TaskT = TypeVar("TaskT", bound=Task)
ResultT = TypeVar("ResultT")
ReturnT = TypeVar("ReturnT")


@dataclass(slots=True)
class Arrival(Generic[TaskT]):
    """A task as it stands in a replica's queue: both times are of this process's monotonic clock."""

    task: TaskT
    deadline: float
    arrived: float = field(default_factory=time.monotonic)


class Turnstile:
    """Holds tasks back while a batch runs, so that all that come meanwhile form the next one together.

    `serve.batch` alone would not: it closes a batch as soon as its waiting time is over, also when the batch
    must then queue for the model, so a short wait gives small batches and a long one delays idle requests.
    """

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    async def pass_through(self) -> None:
        """Return at once when no batch runs, else when it is over."""
        await self._open.wait()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Nobody passes while the block runs."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()


async def answer_parcel(
    parcel: Sequence[TaskT],
    run_one: Callable[[Arrival[TaskT]], Awaitable[ResultT | RollcallError]],
    turnstile: Turnstile,
    meter: BatchMeter | None = None,
) -> list[ResultT | RollcallError]:
    """Put each task of a parcel into the batch queue by `run_one`; its outcome, or its own error."""
    now = time.monotonic()
    await turnstile.pass_through()
    arrivals = [Arrival(task, now + task.remaining_s, now) for task in parcel]
    outcomes = await asyncio.gather(*map(run_one, arrivals), return_exceptions=True)
    if meter is not None and parcel:  # an empty one only asks whether somebody answers
        meter.note_parcel(time.monotonic() - now)
    return [_as_outcome(outcome, task) for outcome, task in zip(outcomes, parcel, strict=True)]


def _as_outcome(outcome: ResultT | BaseException, task: Task) -> ResultT | RollcallError:
    if isinstance(outcome, RollcallError) or not isinstance(outcome, BaseException):
        return outcome
    if isinstance(outcome, Exception):
        whose = {"fields": {"request_ids": stage_notes.list_request_ids([task])}}
        logger.error("unexpected error in a stage: %s", type(outcome).__name__, exc_info=outcome, extra=whose)
        return InternalError(f"unexpected {type(outcome).__name__}")
    raise outcome


def tune_batches(
    user_config: Mapping[str, Any] | None, batched_method: Any, meter: BatchMeter | None
) -> None:
    """Take over the `user_config` of a batched stage, for its method decorated with `serve.batch`.

    Raises:
        ConfigurationError: naming the wrong key.
    """
    tuning = read_tuning(BatchTuning, user_config)
    tuning.apply(batched_method)
    if meter is not None:
        meter.note_limit(tuning.max_batch_size)


def pick_live(arrivals: Sequence[Arrival[TaskT]]) -> list[int]:
    """The places of those whose time is not up."""
    now = time.monotonic()
    return [place for place, arrival in enumerate(arrivals) if arrival.deadline > now]


def place_outcomes(
    arrivals: Sequence[Arrival[TaskT]], live: Sequence[int], outcomes: Sequence[ResultT | RollcallError]
) -> list[ResultT | RollcallError]:
    """One outcome for each arrival: those of the live places, and `DeadlineExceeded` for the others."""
    placed: list[ResultT | RollcallError] = [DeadlineExceeded() for _ in arrivals]
    for place, outcome in zip(live, outcomes, strict=True):
        placed[place] = outcome
    return placed


def note_batch(
    meter: BatchMeter | None,
    arrivals: Sequence[Arrival[TaskT]],
    live: Sequence[int],
    began: float,
    parts: Iterable[stage_notes.Part] = (),
) -> None:
    """Count a batch that has just ended, of which those at `live` ran; `began`: by the monotonic clock."""
    if meter is not None:
        ran = [arrivals[place] for place in live]
        meter.note_batch(
            [began - each.arrived for each in ran], time.monotonic() - began, len(arrivals) - len(live)
        )
        stage_notes.note_batch(meter.stage, meter.pack, ran, began, parts)


async def run_batch(
    arrivals: Sequence[Arrival[TaskT]],
    attempt: Callable[[Sequence[Arrival[TaskT]]], Awaitable[list[ResultT | RollcallError]]],
) -> list[ResultT | RollcallError]:
    """One outcome for each arrival, in order, by `attempt` on all of them.

    When it fails on the batch each task is tried again alone, so that only the task at fault fails; not so
    when what failed is the store behind it, which would fail them one by one.
    """
    try:
        return await attempt(arrivals)
    except OUTAGES as error:
        return [copy.copy(error) for _ in arrivals]
    except Exception as error:
        if len(arrivals) == 1:
            return [_as_outcome(error, arrivals[0].task)]
    return [(await run_batch([arrival], attempt))[0] for arrival in arrivals]


class ModelLane:
    """One thread that runs a model, so that the replica's event loop stays free to gather the next batch.

    Load the model by `load`: threads that it starts for itself then step back as far as the lane's own.

    Args:
        name: of the thread.
        meter: is told of every batch.
    """

    def __init__(self, name: str, meter: BatchMeter | None = None) -> None:
        self.meter = meter
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name, initializer=_step_back)
        self.turnstile = Turnstile()

    def load(self, function: Callable[[], ReturnT]) -> ReturnT:
        """`function()` on the lane's thread; blocks."""
        return self._thread.submit(function).result()

    async def run(self, function: Callable[[], ReturnT]) -> ReturnT:
        """`function()` on the lane's thread, after what is already queued there."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def run_batch(
        self,
        arrivals: Sequence[Arrival[TaskT]],
        run_model: Callable[[list[TaskT]], Sequence[ResultT | RollcallError]],
    ) -> list[ResultT | RollcallError]:
        """One outcome for each arrival; work whose time is up never reaches the model. See `run_batch`."""

        def work(batch: Sequence[Arrival[TaskT]]) -> list[ResultT | RollcallError]:
            began = time.monotonic()
            live = pick_live(batch)
            outcomes = run_model([batch[place].task for place in live]) if live else []
            note_batch(self.meter, batch, live, began)
            return place_outcomes(batch, live, outcomes)

        async def attempt(batch: Sequence[Arrival[TaskT]]) -> list[ResultT | RollcallError]:
            return await self.run(lambda: work(batch))

        with self.turnstile.closed():
            return await run_batch(arrivals, attempt)


def _step_back() -> None:
    if sys.platform == "linux":  # elsewhere niceness is the whole process's
        os.nice(MODEL_NICENESS)
