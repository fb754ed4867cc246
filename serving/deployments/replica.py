"""What a replica knows of itself."""

from __future__ import annotations

import gc
import math

import ray

from serving.installation import check_installation
from serving.settings import Settings
from serving.vision.execution import Execution

YOUNG_OBJECTS = 10_000
"""New objects after which Python looks for cycles among them; its own default is 700. A request makes some
hundreds that outlive a few turns of the event loop, and hardly any cycle."""


def settle_heap() -> None:
    """Call it when all is loaded: garbage collections look at what lives now no more, and come less often.

    A replica holds some hundred thousand objects of libraries and models. Looking at them all takes a tenth
    of a second and more, in which it answers nobody.
    """
    gc.collect()
    gc.freeze()
    _, middle, old = gc.get_threshold()
    gc.set_threshold(YOUNG_OBJECTS, middle, old)


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
