"""A Ray for a few actors of a unit test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def start_small_ray() -> Iterator[str]:
    """A local Ray of two CPUs; gives the address of its control store, and ends it when the block ends."""
    import ray

    root = str(Path(__file__).parents[1])  # workers import `serving` from here, installed or not
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        object_store_memory=100 * 2**20,
        runtime_env={"env_vars": {"PYTHONPATH": root}},
    )
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()
