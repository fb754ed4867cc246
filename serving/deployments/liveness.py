"""Liveness: crops of faces and what surrounds them in, the probability of being live out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray import serve

from serving.deployments.lane import Arrival, ModelLane, answer_parcel, tune_batches
from serving.deployments.metrics import join_metrics
from serving.deployments.replica import make_replica_execution, settle_heap
from serving.errors import RollcallError
from serving.graph.messages import LivenessTask
from serving.packs.configured_liveness import load_configured_scorer, require_configured_liveness
from serving.settings import DeployedSettings
from serving.telemetry.stage_meters import BatchMeter

Scores = NDArray[np.float32]


class Liveness:
    """Scores faces for being live, those of many pictures in one run. It is there only where a model is set.

    Scale it by the faces that arrive at events which observe or enforce liveness.
    """

    def __init__(self, deployed: DeployedSettings) -> None:
        settings = deployed.load()
        execution = make_replica_execution(settings)
        pack_id = require_configured_liveness(settings).id
        join_metrics(settings)
        self._meter = BatchMeter("liveness", pack_id)
        self._meter.note_provider(execution.provider)
        self._lane = ModelLane("liveness", self._meter)
        self._scorer = self._lane.load(lambda: load_configured_scorer(settings, execution))
        self._lane.load(self._scorer.warm_up)
        settle_heap()

    def reconfigure(self, user_config: Mapping[str, Any] | None) -> None:
        tune_batches(user_config, self._score, self._meter)

    async def score(self, parcel: list[LivenessTask]) -> list[Scores | RollcallError]:
        return await answer_parcel(parcel, self._score, self._lane.turnstile, self._meter)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.0)
    async def _score(self, batch: list[Arrival[LivenessTask]]) -> list[Scores | RollcallError]:
        return await self._lane.run_batch(batch, self._score_crops)

    def _score_crops(self, tasks: Sequence[LivenessTask]) -> Sequence[Scores]:
        together = [np.concatenate(each) for each in zip(*(task.crops for task in tasks), strict=True)]
        scores = self._scorer.score(together)
        ends = np.cumsum([len(task.crops[0]) for task in tasks])
        return np.split(scores, ends[:-1])

    async def check_health(self) -> None:
        """Runs the models on fixed crops; raises when their answer is not what it was at the start."""
        await self._lane.run(self._scorer.check)
