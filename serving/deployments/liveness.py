"""Liveness: crops of faces and what surrounds them in, the probability of being live out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray import serve

from serving.deployments.lane import Arrival, ModelLane, answer_parcel
from serving.deployments.replica import make_replica_execution
from serving.errors import RollcallError
from serving.graph.messages import LivenessTask
from serving.graph.tuning import BatchTuning, read_tuning
from serving.packs.configured_liveness import load_configured_scorer
from serving.settings import Settings

Scores = NDArray[np.float32]


class Liveness:
    """Scores faces for being live, those of many pictures in one run. It is there only where a model is set.

    Scale it by the faces that arrive at events which observe or enforce liveness.
    """

    def __init__(self, settings: Settings) -> None:
        self._scorer = load_configured_scorer(settings, make_replica_execution(settings))
        self._scorer.warm_up()
        self._lane = ModelLane("liveness")

    def reconfigure(self, user_config: Mapping[str, Any] | None) -> None:
        read_tuning(BatchTuning, user_config).apply(self._score)

    async def score(self, parcel: list[LivenessTask]) -> list[Scores | RollcallError]:
        return await answer_parcel(parcel, self._score, self._lane.turnstile)

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
