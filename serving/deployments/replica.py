"""What a replica knows of itself."""

from __future__ import annotations

import math

import ray

from serving.installation import check_installation
from serving.settings import Settings
from serving.vision.execution import Execution


def make_replica_execution(settings: Settings) -> Execution:
    """How this replica runs its model: with as many threads as Serve gave it CPUs, unless settings say.

    Raises:
        InstallationConflict: this node's environment holds packages that exclude each other.
    """
    check_installation()
    return settings.make_execution(threads=count_replica_cpus())


def count_replica_cpus() -> int:
    """num_cpus of this replica rounded up, at least 1; 1 outside of Ray."""
    if not ray.is_initialized():
        return 1
    resources = ray.get_runtime_context().get_assigned_resources()
    return max(1, math.ceil(float(resources.get("CPU", 0))))
