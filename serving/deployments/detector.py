"""Detector: encoded pictures in, faces with aligned crops out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray import serve

from serving.deployments.lane import Arrival, ModelLane, answer_parcel, tune_batches
from serving.deployments.metrics import join_as_stage
from serving.deployments.replica import make_replica_execution, settle_heap
from serving.errors import RollcallError
from serving.graph.messages import DetectTask
from serving.packs.configured import prepare_pack
from serving.packs.configured_liveness import find_configured_liveness
from serving.packs.loading import load_finder
from serving.settings import DeployedSettings
from serving.vision.pipeline import PictureFaces


class Detector:
    """Decodes, finds faces, aligns them. Scale it by the pictures that arrive.

    Args:
        pack_id: of the pack it works for; None: the default one.
    """

    def __init__(self, deployed: DeployedSettings, pack_id: str | None = None) -> None:
        settings = deployed.load()
        execution = make_replica_execution(settings)
        meter = join_as_stage(settings, "detector", pack_id, execution)
        self._lane = ModelLane("detector", meter)
        self._finder = self._lane.load(
            lambda: load_finder(
                prepare_pack(settings, pack_id=pack_id),
                execution=execution,
                max_side_px=settings.picture.detection_side_px,
                scales=settings.picture.detection_scales,
                max_faces=settings.picture.max_faces,
                limits=settings.picture.limits,
            )
        )
        liveness = find_configured_liveness(settings)
        self._finder.liveness_cropper = None if liveness is None else liveness.make_cropper()
        self._lane.load(self._finder.warm_up)
        settle_heap()

    def reconfigure(self, user_config: Mapping[str, Any] | None) -> None:
        tune_batches(user_config, self._find, self._lane.meter)

    async def detect(self, parcel: list[DetectTask]) -> list[PictureFaces | RollcallError]:
        return await answer_parcel(parcel, self._find, self._lane.turnstile, self._lane.meter)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.0)
    async def _find(self, batch: list[Arrival[DetectTask]]) -> list[PictureFaces | RollcallError]:
        # The lane may run a part of the batch only, so the deadlines are looked up by task.
        deadlines = {id(arrival.task): arrival.deadline for arrival in batch}

        def find_faces(tasks: Sequence[DetectTask]) -> Sequence[PictureFaces | RollcallError]:
            outcomes = self._finder.find(
                [task.picture for task in tasks],
                [deadlines[id(task)] for task in tasks],
                [task.wants_liveness for task in tasks],
            )
            if self._lane.meter is not None:
                self._lane.meter.note_pictures(
                    len(outcome.faces) for outcome in outcomes if isinstance(outcome, PictureFaces)
                )
            return outcomes

        return await self._lane.run_batch(batch, find_faces)

    async def check_health(self) -> None:
        """Runs the model on a small fixed picture; raises when its answer is not what it was at the start."""
        await self._lane.run(self._finder.check)
