"""Whether a service works on the data that a restore is about to replace."""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import Connection, text

from serving.database.location import parse_url
from serving.errors import RestoreRefused
from serving.operations.galleries import find_owned
from serving.operations.idle_owners import end_idle_owners
from serving.operations.registry_session import open_snapshot
from serving.operations.service_note import is_served
from serving.settings import Settings

END_WAIT_S = 3.0
"""How long what was just stopped may take to let go of files and sessions."""
POLL_S = 0.1

_SESSIONS = text(
    "SELECT host(client_addr), count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name = 'rollcall' AND pid <> pg_backend_pid() GROUP BY client_addr ORDER BY 1"
)


async def refuse_while_serving(settings: Settings, ray_address: str | None = None) -> list[str]:
    """Raise RestoreRefused while a service holds data_dir, its embedded gallery, or PostgreSQL sessions.

    A service on another machine shows by its PostgreSQL sessions alone. An owner of the gallery that a
    service on a cluster left behind is ended.

    Args:
        ray_address: of the cluster that served; None: this machine's.

    Returns:
        The collections whose owners were ended.

    Raises:
        BackupError: PostgreSQL cannot be reached.
    """
    give_up_at = time.monotonic() + END_WAIT_S
    while (sign := await _find_sign(settings)) is not None:
        if time.monotonic() >= give_up_at:
            raise RestoreRefused(
                f"{sign}: stop the service first, on every machine (Ctrl-C ends rollcall serve, serve "
                "shutdown -y a cluster's; docs/backup.md has the commands for containers), then repeat this"
            )
        await asyncio.sleep(POLL_S)
    if settings.gallery.engine != "embedded":
        return []
    while owned := find_owned(settings.gallery_dir):
        if time.monotonic() >= give_up_at:
            return await end_idle_owners(settings, owned, ray_address)
        await asyncio.sleep(POLL_S)
    return []


async def _find_sign(settings: Settings) -> str | None:
    if is_served(settings.data_dir):
        return f"a service runs on {settings.data_dir}"
    if parse_url(settings.registry_url).get_backend_name() != "sqlite":
        async with open_snapshot(settings.registry_url, check_tables=False) as session:
            found = await session.run(_list_sessions)
        if found:
            return f"services have sessions in the registry, from {', '.join(found)}"
    return None


def _list_sessions(connection: Connection) -> list[str]:
    return [f"{host or 'this machine'} ({count})" for host, count in connection.execute(_SESSIONS)]
