"""The ledger against what lies on disk, when no service runs: no need to start one to look."""

from __future__ import annotations

import asyncio
from contextlib import closing

from serving.database import Database
from serving.errors import UnknownPerson
from serving.gallery.embedded import EmbeddedGallery
from serving.packs.configured import find_configured_pack
from serving.registry import Registry
from serving.settings import Settings
from tests.chaos.harness import Target


def find_lost_at_rest(target: Target) -> list[str]:
    """As `Target.find_lost`, in the SQLite registry and the embedded gallery of a service that has ended."""
    return asyncio.run(_compare(target))


async def _compare(target: Target) -> list[str]:
    settings, ledger = Settings(data_dir=target.data_dir), target.ledger
    pack = find_configured_pack(settings)
    gallery = EmbeddedGallery(settings.gallery_dir, pack.id, pack.dimension)
    registry = Registry(Database(settings.registry_url))
    await registry.open()
    gallery.open()
    lost = [f"{person}: enrolled, and unknown when it was erased" for person in ledger.vanished]
    with closing(gallery):
        event = await registry.get_event(target.scene.enrol_event)
        for person in [*ledger.enrolled, *ledger.erased]:
            try:
                known = len((await registry.get_person(event.key, person)).face_ids)
            except UnknownPerson:
                known = 0
            stored = gallery.faces_of(event.partition, person)
            if person in ledger.erased and (known or stored):
                lost.append(f"{person}: erased; registry {known} faces, gallery {stored}")
            if person in ledger.enrolled and not (known and stored):
                lost.append(f"{person}: enrolled; registry {known} faces, gallery {stored}")
    await registry.close()
    return lost
