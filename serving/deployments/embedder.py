"""Embedder: aligned crops in, unit-length face vectors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray import serve

from serving.deployments.lane import Arrival, ModelLane, answer_parcel, tune_batches
from serving.deployments.metrics import join_as_stage
from serving.deployments.replica import make_replica_execution, settle_heap
from serving.errors import RollcallError
from serving.graph.messages import EmbedTask
from serving.packs.configured import prepare_pack
from serving.packs.loading import load_embedder
from serving.settings import DeployedSettings

Vectors = NDArray[np.float32]


class Embedder:
    """Turns crops into vectors, those of many pictures in one run. Scale it by the faces that arrive.

    Args:
        pack_id: of the pack it works for; None: the default one.
    """

    def __init__(self, deployed: DeployedSettings, pack_id: str | None = None) -> None:
        settings = deployed.load()
        execution = make_replica_execution(settings)
        meter = join_as_stage(settings, "embedder", pack_id, execution)
        self._lane = ModelLane("embedder", meter)
        self._embedder = self._lane.load(
            lambda: load_embedder(prepare_pack(settings, pack_id=pack_id), execution=execution)
        )
        self._lane.load(self._embedder.warm_up)
        settle_heap()

    def reconfigure(self, user_config: Mapping[str, Any] | None) -> None:
        tune_batches(user_config, self._embed, self._lane.meter)

    async def embed(self, parcel: list[EmbedTask]) -> list[Vectors | RollcallError]:
        return await answer_parcel(parcel, self._embed, self._lane.turnstile, self._lane.meter)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.0)
    async def _embed(self, batch: list[Arrival[EmbedTask]]) -> list[Vectors | RollcallError]:
        return await self._lane.run_batch(batch, self._embed_crops)

    def _embed_crops(self, tasks: Sequence[EmbedTask]) -> Sequence[Vectors]:
        vectors = self._embedder.embed(np.concatenate([task.crops for task in tasks]))
        ends = np.cumsum([len(task.crops) for task in tasks])
        return np.split(vectors, ends[:-1])

    async def check_health(self) -> None:
        """Runs the model on fixed crops; raises when its answer is not what it was at the start."""
        await self._lane.run(self._embedder.check)
