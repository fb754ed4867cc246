"""A command joins the Ray of the service whose data it works on."""

from __future__ import annotations

import socket

from serving.errors import BackupError
from serving.operations.service_note import read_note
from serving.runtime import set_ray_flags
from serving.settings import Settings

CONNECT_TIMEOUT_S = 5.0


def join_ray(settings: Settings, ray_address: str | None) -> bool:
    """Join as a driver, where this process has not; whether it did, and is to leave again.

    Args:
        ray_address: host:port of Ray's control store; None: what `rollcall serve` noted, or this machine's.

    Raises:
        BackupError: it cannot be joined.
    """
    note = read_note(settings.data_dir)
    address = ray_address or (note.ray_address if note is not None else "auto")
    set_ray_flags(own_cluster=note is not None and ray_address is None)
    import ray  # only now: it reads the flags set above

    if ray.is_initialized():
        return False
    try:
        _find_alive(address)
        ray.init(address=address, namespace="rollcall", log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # of many classes
        raise BackupError(
            f"a process owns the gallery in {settings.gallery_dir}, and the Ray at {address} cannot be "
            f"joined ({type(error).__name__}); run this on its head node as its user, name it with "
            "--ray-address, or stop the service"
        ) from None
    return True


def _find_alive(address: str) -> None:
    """Raise OSError where nobody listens: Ray would go on asking for minutes, deaf to signals.

    Args:
        address: host:port, or `auto`.
    """
    from ray._private.services import canonicalize_bootstrap_address  # as `ray.init` does

    host, _, port = str(canonicalize_bootstrap_address(address)).rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
