"""The embedded gallery's owner outlives `serve shutdown`; where nobody can ask it any more, it is ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from serving.errors import BackupError, RestoreRefused, RollcallError
from serving.operations.ray_joining import join_ray
from serving.settings import Settings

IDLE_S = 5.0
"""For how long nobody may have asked an owner: a command that reads a gallery asks several times a second."""
IDLE_WAIT_S = 15.0
"""How long to wait for that."""
_SERVE_NAMESPACE = "serve"
"""Of all that Serve starts: its controller, proxies and replicas are actors with names in it."""


async def end_idle_owners(settings: Settings, locks: Sequence[Path], ray_address: str | None) -> list[str]:
    """Let the owners of these collections write all out and end; the names of the collections.

    What they acknowledged is in the files. An owner is left alone while Serve runs anything on its Ray, and
    while somebody asks it, such as a backup.

    Args:
        locks: files that the owners hold, in one gallery directory.

    Raises:
        RestoreRefused: one is at work, or is none of this Ray.
    """
    try:
        has_joined = await asyncio.to_thread(join_ray, settings, ray_address)
    except BackupError as error:
        raise RestoreRefused(f"{error.detail} (ray stop, on the head node)") from None
    try:
        return [await _end(lock) for lock in locks]
    finally:
        if has_joined:
            import ray

            await asyncio.to_thread(ray.shutdown)


async def _end(lock: Path) -> str:
    import ray

    from serving.gallery.owner_client import find_silence_s, stop_owner

    give_up_at = time.monotonic() + IDLE_WAIT_S
    while True:
        names = await asyncio.to_thread(ray.util.list_named_actors, True)
        if any(each["namespace"] == _SERVE_NAMESPACE for each in names):
            raise RestoreRefused(
                "Serve runs on this Ray: `serve shutdown -y`, wait until `serve status` shows nothing, then "
                "repeat this"
            )
        try:
            silence_s = await find_silence_s(lock.parent, lock.stem)
        except RollcallError as error:
            raise RestoreRefused(
                f"a process has the gallery {lock.with_suffix('')} open, and cannot be asked to end "
                f"({error.detail}): end it, or its Ray (ray stop, on the head node), then repeat this"
            ) from None
        if silence_s >= IDLE_S:
            await stop_owner(lock.parent, lock.stem)
            return lock.stem
        if time.monotonic() >= give_up_at:
            raise RestoreRefused(f"somebody is asking the gallery {lock.with_suffix('')}: let that end first")
        await asyncio.sleep(IDLE_S - silence_s)
