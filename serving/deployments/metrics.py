"""A replica joins the metrics and the log of its node, and the traces."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import ray
from ray import serve
from ray.serve.exceptions import RayServeException

from serving.packs.configured import find_configured_pack
from serving.settings import DeployedSettings, Settings
from serving.telemetry.logs import Process
from serving.telemetry.node import join_node
from serving.telemetry.process import join_process
from serving.telemetry.stage_meters import BatchMeter
from serving.vision.execution import Execution


def join_metrics(settings: Settings) -> None:
    """Count, log and trace under the name of this replica's deployment, with all others of the node.

    Outside of Serve nothing is joined: this process then counts for itself.
    """
    try:
        context = serve.get_replica_context()
    except RayServeException:
        return
    deployment = context.deployment
    join_process(settings, Process(deployment, context.replica_id.unique_id), find_log_directory())
    join_node(settings.metrics, deployment, ray.get_runtime_context().get_session_name())


def make_joiner(deployed: DeployedSettings, name: str) -> Callable[[], None]:
    """What makes another process of this Ray cluster count and log under a name; it answers no scrapes."""
    return partial(_join_as, deployed, name)


def _join_as(deployed: DeployedSettings, name: str) -> None:
    settings = deployed.load()
    join_process(settings, Process(name), find_log_directory())
    join_node(
        settings.metrics.model_copy(update={"port": None}), name, ray.get_runtime_context().get_session_name()
    )


def find_log_directory() -> Path:
    """Where Ray keeps the logs of this node."""
    from ray._private.worker import _global_node  # Ray has no other way to ask

    return Path(_global_node.get_logs_dir_path())


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
