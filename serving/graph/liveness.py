"""The liveness stage as the ingress sees it: one for all packs, because a face is live whoever embeds it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.serve.handle import DeploymentHandle

from serving.errors import RollcallError, StageUnavailable
from serving.graph.coalescer import CallLost, Coalescer, CoalescerLimits
from serving.graph.messages import LivenessTask
from serving.graph.stages import make_parcel_call
from serving.graph.tuning import IngressTuning
from serving.packs.liveness import LivenessPack
from serving.telemetry.stage_meters import CallMeter


class LivenessStage:
    """Calls Liveness; faces of concurrent requests are coalesced into parcels.

    Args:
        handle: of the deployment.
        pack: the liveness models that it runs.
        threshold: score from which a face counts as live.
        max_waiting: tasks that may wait for a call; more are refused.
    """

    def __init__(
        self, handle: DeploymentHandle[Any], pack: LivenessPack, *, threshold: float, max_waiting: int
    ) -> None:
        self.pack = pack
        self.threshold = threshold
        self._call = make_parcel_call(handle.score)
        self._score: Coalescer[LivenessTask, NDArray[np.float32]] = Coalescer(
            self._call, CoalescerLimits(max_waiting=max_waiting), CallMeter("liveness", pack.id)
        )

    def tune(self, tuning: IngressTuning) -> None:
        """Take over new limits at once, without losing what waits."""
        limits = dataclasses.replace(self._score.limits, **tuning.liveness.model_dump())
        self._score.limits = limits

    async def score(self, crops: tuple[NDArray[np.uint8], ...], remaining_s: float) -> NDArray[np.float32]:
        """The probability of being live, float32 [n] in 0..1, of the faces in crops; see `LivenessTask`.

        Raises:
            DeadlineExceeded: the time is over.
            Overloaded: a queue is full.
            StageUnavailable: the stage cannot be reached.
        """
        task = LivenessTask(remaining_s, crops)
        return await self._score.submit(task, task.nbytes)

    async def check(self, remaining_s: float) -> None:
        """Raise StageUnavailable unless a replica answers."""
        try:
            await asyncio.wait_for(self._call([]), remaining_s)
        except (CallLost, RollcallError, asyncio.TimeoutError):
            raise StageUnavailable from None
