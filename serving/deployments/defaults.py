"""Numbers of the boxes that a serve config need not name.

Serve refuses a config that names a deployment which is not there, so a config cannot hold them for packs and
for a liveness model that may or may not serve.
"""

from __future__ import annotations

from typing import Any


def _describe(*, max_replicas: int, max_batch_size: int, num_cpus: float, **others: Any) -> dict[str, Any]:
    """Options of a deployment, as a serve config gives them; others take the place of what stands here."""
    return {
        "autoscaling_config": {"min_replicas": 1, "max_replicas": max_replicas, "target_ongoing_requests": 2},
        "max_ongoing_requests": max_batch_size,
        "max_queued_requests": 16,
        "health_check_period_s": 10,
        "health_check_timeout_s": 30,
        "ray_actor_options": {"num_cpus": num_cpus},
        "user_config": {"max_batch_size": max_batch_size, "batch_wait_timeout_s": 0.0},
        **others,
    }


FURTHER_LINE: dict[str, dict[str, Any]] = {
    "Detector": _describe(max_replicas=2, max_batch_size=8, num_cpus=0.3),
    "Embedder": _describe(max_replicas=1, max_batch_size=16, num_cpus=0.2),
    "Matcher": _describe(
        max_replicas=1,
        max_batch_size=32,
        num_cpus=0.1,
        autoscaling_config={"min_replicas": 1, "max_replicas": 1, "target_ongoing_requests": 4},
        max_queued_requests=32,
        health_check_timeout_s=20,
    ),
}
"""Of the boxes of a pack beside the default one: the numbers of `config/laptop.yaml`, but for one detector
until there is work for two."""

LIVENESS: dict[str, Any] = _describe(max_replicas=4, max_batch_size=16, num_cpus=0.2)
"""Of Liveness."""
