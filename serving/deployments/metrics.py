"""A replica joins the metrics of its node."""

from __future__ import annotations

import ray
from ray import serve

from serving.settings import Settings
from serving.telemetry.node import join_node


def join_metrics(settings: Settings) -> None:
    """Count under the name of this replica's deployment, with all others of the node."""
    deployment = serve.get_replica_context().deployment
    join_node(settings.metrics, deployment, ray.get_runtime_context().get_session_name())
