"""Events whose pack does not serve are named before the service starts."""

from __future__ import annotations

import asyncio
from pathlib import Path

from serving.commands.start_checks import find_dormant_events
from serving.database import Database, sqlite_url
from serving.registry.registry import Registry
from serving.settings import Settings


async def _create(data_dir: Path) -> None:
    registry = Registry(Database(sqlite_url(data_dir / "registry.sqlite3")))
    await registry.open()
    await registry.create_event("here", None, "starter-int8-mirror")
    moving = await registry.create_event("moving", None, "starter-int8-mirror")
    await registry.migrations.begin(moving.key, "pack-to-come")
    for number in range(12):
        await registry.create_event(f"away{number:02}", None, "gone-pack")
    await registry.create_event("deleted", None, "other-pack")
    await registry.begin_event_deletion("deleted")
    await registry.close()


def test_events_of_packs_that_do_not_serve_are_named(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]
    assert find_dormant_events(settings) == []
    asyncio.run(_create(tmp_path))
    gone, to_come = find_dormant_events(settings)
    assert "gone-pack" in gone
    assert "away00, away01" in gone
    assert "away10" not in gone
    assert "pack-to-come" in to_come
    assert "moving" in to_come
