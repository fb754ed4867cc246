"""The whole service on one page.

    client -> Ingress -> Detector -> Embedder -> Matcher -> Qdrant

Each box is one Serve deployment with its own replicas; how many, and how they batch, stands in the serve
config (`serve_config.yaml`, `config/`), not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import serve

from serving.deployments.detector import Detector
from serving.deployments.embedder import Embedder
from serving.deployments.ingress import Ingress
from serving.deployments.matcher import Matcher
from serving.packs.configured import prepare_pack
from serving.settings import load_settings


def build(args: Mapping[str, Any] | None = None) -> serve.Application:
    """The graph, ready for `serve run`.

    Args:
        args: settings, as under `args` in a serve config.

    Raises:
        ConfigurationError: naming the wrong key.
        PackError: the model pack cannot be prepared.
    """
    settings = load_settings(args)
    prepare_pack(settings)

    detector = serve.deployment(Detector).bind(settings)
    embedder = serve.deployment(Embedder).bind(settings)
    matcher = serve.deployment(Matcher).bind(settings)
    return serve.deployment(Ingress).bind(settings, detector, embedder, matcher)
