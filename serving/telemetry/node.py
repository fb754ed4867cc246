"""This process's place among those of its node: joins once, and then counts and answers with them."""

from __future__ import annotations

import logging
import platform
from importlib.metadata import PackageNotFoundError, version

import serving
from serving.settings import MetricsSettings
from serving.telemetry import catalogue, recording
from serving.telemetry.counting import counter, gauge
from serving.telemetry.exporter import Exporter
from serving.telemetry.exposition import CONTENT_TYPE, Exposition
from serving.telemetry.node_directory import NodeDirectory

logger = logging.getLogger("ray.serve")


class _Place:
    """What this process has joined; nothing until `join_node`."""

    is_taken = False
    exposition = Exposition(None)
    exporter: Exporter | None = None


def join_node(settings: MetricsSettings, deployment: str, session: str) -> None:
    """Count where the node's other replicas count, from now on; a second call does nothing.

    A node whose folder for temporary files cannot be written serves all the same: each replica then counts
    for itself, and the log says so.

    Args:
        deployment: whose replica this process is, as the serve config calls it.
        session: names the service among all that run on this node, or ever have.
    """
    if _Place.is_taken or not settings.enabled:
        return
    _Place.is_taken = True
    try:
        directory = NodeDirectory.of_session(session)
        directory.join(deployment)
    except OSError as error:
        logger.warning("metrics: %s; this replica counts for itself alone", error)
    else:
        _Place.exposition = Exposition(directory)
    counter(catalogue.REPLICA_STARTS).of(deployment).add()
    onnxruntime = _find_version("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
    labels = serving.__version__, platform.python_version(), _find_version("ray"), onnxruntime
    gauge(catalogue.BUILD_INFO).of(*labels).set(1)
    if settings.event_label:
        recording.label_events(settings.max_event_labels)
    if settings.port is not None:
        token = None if settings.token is None else settings.token.get_secret_value()
        render = _Place.exposition.render
        _Place.exporter = Exporter(settings.host, settings.port, token, render, CONTENT_TYPE)
        _Place.exporter.start()


def render_node() -> bytes:
    """All counts of this node; those of this process where it has not joined. It blocks for milliseconds."""
    return _Place.exposition.render()


def _find_version(*packages: str) -> str:
    """Of the first of these that is installed."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "none"
