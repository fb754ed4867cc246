"""What `rollcall serve` looks at before it starts Ray, so that a fault is one message and not a replica's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping

from serving.errors import RollcallError, StoresNotReady
from serving.installation import check_installation
from serving.operations.store_reach import USED, Store, find_unready
from serving.settings import Settings


def check_start(settings: Settings) -> None:
    """Check the environment, and that what shall run the models is on this machine.

    Raises:
        InstallationConflict: packages that exclude each other.
        ProviderUnavailable: what shall run the models is not here.
    """
    check_installation()
    from serving.vision.providers import check_providers  # only now: it needs ONNX Runtime

    check_providers(settings.make_execution())


def check_stores(settings: Settings, stores: Collection[Store] = USED) -> None:
    """See that the servers among the stores answer, and take these settings' secrets.

    Raises:
        StoresNotReady: naming each that does not.
    """
    unready = asyncio.run(find_unready(settings, stores))
    if unready:
        raise StoresNotReady("; ".join(unready))


def find_dormant_events(settings: Settings) -> list[str]:
    """A line for each pack that does not serve and that events need; none where no registry can be asked.

    A registry that cannot be reached is the service's own matter: it says so itself.
    """
    from serving.graph.dormant_events import describe_dormant_events
    from serving.packs.configured import find_served_packs

    if settings.database_url is None and not (settings.data_dir / "registry.sqlite3").exists():
        return []
    found: Mapping[str, list[str]] = {}
    with contextlib.suppress(RollcallError):
        found = asyncio.run(_find_packs(settings.registry_url))
    return list(describe_dormant_events(found, [pack.id for pack in find_served_packs(settings)]))


async def _find_packs(url: str) -> dict[str, list[str]]:
    from serving.database import Database  # only now: it needs SQLAlchemy
    from serving.registry.registry import Registry

    registry = Registry(Database(url))
    await registry.open()
    try:
        return await registry.migrations.packs()
    finally:
        await registry.close()
