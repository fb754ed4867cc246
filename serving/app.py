"""The whole service on one page.

    client -> Ingress -> Detector -> (Liveness) -> Embedder -> Matcher -> Qdrant

Each box is one Serve deployment with its own replicas; how many, and how they batch, stands in the serve
config (`serve_config.yaml`, `config/`), not here. Every pack in `pack.also` has a line of boxes of its own
beside the default pack's: `Detector-<pack id>` and so on. Liveness is there when `liveness.model` names one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import serve

from serving.deployments.detector import Detector
from serving.deployments.embedder import Embedder
from serving.deployments.ingress import Ingress, LineHandles
from serving.deployments.liveness import Liveness
from serving.deployments.matcher import Matcher
from serving.packs.configured import find_served_packs, prepare_pack
from serving.packs.configured_liveness import prepare_liveness
from serving.settings import Settings, load_settings

FURTHER_LINE: dict[str, dict[str, Any]] = {
    "Detector": {
        "autoscaling_config": {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 2},
        "max_ongoing_requests": 4,
        "max_queued_requests": 16,
        "health_check_period_s": 10,
        "health_check_timeout_s": 30,
        "ray_actor_options": {"num_cpus": 0.3},
        "user_config": {"max_batch_size": 8, "batch_wait_timeout_s": 0.0},
    },
    "Embedder": {
        "autoscaling_config": {"min_replicas": 1, "max_replicas": 1, "target_ongoing_requests": 2},
        "max_ongoing_requests": 4,
        "max_queued_requests": 16,
        "health_check_period_s": 10,
        "health_check_timeout_s": 30,
        "ray_actor_options": {"num_cpus": 0.2},
        "user_config": {"max_batch_size": 16, "batch_wait_timeout_s": 0.0},
    },
    "Matcher": {
        "autoscaling_config": {"min_replicas": 1, "max_replicas": 1, "target_ongoing_requests": 4},
        "max_ongoing_requests": 8,
        "max_queued_requests": 32,
        "health_check_period_s": 10,
        "health_check_timeout_s": 20,
        "ray_actor_options": {"num_cpus": 0.1},
        "user_config": {"max_batch_size": 32, "batch_wait_timeout_s": 0.0},
    },
}
"""What the boxes of a further pack get where the serve config does not name them: the numbers of
`config/laptop.yaml`, but for one detector until there is work for two. Serve refuses a config that names a
deployment which is not there, so a config cannot hold them for packs that may or may not serve."""


LIVENESS: dict[str, Any] = {
    "autoscaling_config": {"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 2},
    "max_ongoing_requests": 4,
    "max_queued_requests": 16,
    "health_check_period_s": 10,
    "health_check_timeout_s": 30,
    "ray_actor_options": {"num_cpus": 0.2},
    "user_config": {"max_batch_size": 16, "batch_wait_timeout_s": 0.0},
}
"""What Liveness gets where the serve config does not name it, for the same reason."""


def build(args: Mapping[str, Any] | None = None) -> serve.Application:
    """The graph, ready for `serve run`.

    Args:
        args: settings, as under `args` in a serve config.

    Raises:
        ConfigurationError: naming the wrong key.
        PackError: a model pack cannot be prepared.
    """
    settings = load_settings(args)
    default, *further = [pack.id for pack in find_served_packs(settings)]
    for pack_id in (None, *further):
        prepare_pack(settings, pack_id=pack_id)

    detector = serve.deployment(Detector).bind(settings)
    embedder = serve.deployment(Embedder).bind(settings)
    matcher = serve.deployment(Matcher).bind(settings)
    lines: list[LineHandles] = [(default, detector, embedder, matcher)]
    lines += [_bind_further(settings, pack_id) for pack_id in further]
    if settings.liveness.model is None:
        return serve.deployment(Ingress).bind(settings, lines)
    prepare_liveness(settings)
    liveness = serve.deployment(Liveness).options(**LIVENESS).bind(settings)
    return serve.deployment(Ingress).bind(settings, lines, liveness)


def deployment_name(kind: str, pack_id: str) -> str:
    """What a box of a further pack is called in the serve config."""
    return f"{kind}-{pack_id}"


def _bind_further(settings: Settings, pack_id: str) -> LineHandles:
    detector, embedder, matcher = (
        serve.deployment(kind)
        .options(name=deployment_name(kind.__name__, pack_id), **FURTHER_LINE[kind.__name__])
        .bind(settings, pack_id)
        for kind in (Detector, Embedder, Matcher)
    )
    return pack_id, detector, embedder, matcher
