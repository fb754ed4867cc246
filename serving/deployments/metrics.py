"""A replica joins the metrics of its node."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import ray
from ray import serve
from ray.serve.exceptions import RayServeException

from serving.packs.configured import find_configured_pack
from serving.settings import Settings
from serving.telemetry.node import join_node
from serving.telemetry.stage_meters import BatchMeter
from serving.vision.execution import Execution


def join_metrics(settings: Settings) -> None:
    """Count under the name of this replica's deployment, with all others of the node.

    Outside of Serve nothing is joined: this process then counts for itself.
    """
    try:
        deployment = serve.get_replica_context().deployment
    except RayServeException:
        return
    join_node(settings.metrics, deployment, ray.get_runtime_context().get_session_name())


def make_joiner(settings: Settings, name: str) -> Callable[[], None]:
    """What makes another process of this Ray cluster count under a name; it never answers scrapes itself."""
    metrics = settings.metrics.model_copy(update={"port": None})
    return partial(join_node, metrics, name, ray.get_runtime_context().get_session_name())


def join_as_stage(
    settings: Settings, stage: str, pack_id: str | None, execution: Execution | None = None
) -> BatchMeter:
    """As `join_metrics`; what the stage tells of its batches.

    Args:
        pack_id: of the pack that the stage works for; None: the default one.
        execution: where its model runs; None: it has none.
    """
    join_metrics(settings)
    meter = BatchMeter(stage, find_configured_pack(settings, pack_id).id)
    if execution is not None:
        meter.note_provider(execution.provider)
    return meter
