"""What the metrics are told of the stores: counts over all events, on each engine."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from sqlalchemy import Connection, insert, update

from serving.database import Database
from serving.database.metadata import now_utc
from serving.graph.store_gauges import MAX_SHARE, StoreGauges
from serving.registry import Registry
from serving.registry.records import NewFace
from serving.registry.tables import event, migrated_face
from serving.registry.totals import Totals, count_totals
from serving.telemetry import counting
from serving.telemetry.exposition import read_this_process


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def fresh_counts() -> Iterator[None]:
    counting.let_go()
    yield
    counting.let_go()


def read_gauges() -> dict[tuple[str, ...], float]:
    return {
        (name.removeprefix("rollcall_"), *labels): values[0][0]
        for key, values in read_this_process().gauges.items()
        for name, labels, _ in [counting.read_key(key)]
    }


async def enrol(registry: Registry, event_key: str, person: str, *faces: str) -> None:
    await registry.begin_enrolment(event_key, person, None, [NewFace(face) for face in faces])
    await registry.finish_enrolment(event_key, person, list(faces))


async def test_faces_go_by_pack_and_only_those_enrolled_count(registry: Registry, database: Database) -> None:
    assert await database.read(count_totals) == Totals({}, 0, 0, {})
    events = [(await registry.create_event(f"event-{n}", None, f"pack-{n % 2}")).key for n in range(3)]
    await enrol(registry, events[0], "ada", "f1", "f2")
    await enrol(registry, events[2], "ada", "f1")
    await registry.begin_enrolment(events[1], "bob", None, [NewFace("f1")])
    totals = await database.read(count_totals)
    assert totals.faces == {"pack-0": 3, "pack-1": 0}
    assert totals.events == 3
    await registry.delete_person(events[0], "ada")
    totals = await database.read(count_totals)
    assert totals.faces["pack-0"] == 1
    assert totals.erasures == 1


async def test_faces_of_an_event_that_moves_count_for_both_packs(
    registry: Registry, database: Database
) -> None:
    key = (await registry.create_event("gala", None, "old")).key
    await enrol(registry, key, "ada", "f1", "f2")

    def move(connection: Connection) -> None:
        connection.execute(update(event).values(migrating_to="new", next_partition="p"))
        moved = {"event_key": key, "person_id": "ada", "created_at": now_utc()}
        states = [{"id": "f1", "state": "active"}, {"id": "f2", "state": "pending"}]
        connection.execute(insert(migrated_face), [{**moved, **state} for state in states])

    await database.write(move)
    assert (await database.read(count_totals)).faces == {"old": 2, "new": 1}


@pytest.mark.usefixtures("fresh_counts")
async def test_the_gauges_follow_what_there_is(registry: Registry, database: Database) -> None:
    gauges = StoreGauges(database, ["pack-0", "pack-1"])
    gala = await registry.create_event("gala", None, "pack-0")
    await enrol(registry, gala.key, "ada", "f1")
    await gauges.count_once()
    assert read_gauges() == {
        ("gallery_faces", "pack-0"): 1,
        ("gallery_faces", "pack-1"): 0,
        ("events",): 1,
        ("erasures_due",): 0,
        ("last_backup_timestamp_seconds",): 0,
        ("last_erasure_list_timestamp_seconds",): 0,
    }
    other = await registry.create_event("other", None, "pack-2")
    await enrol(registry, other.key, "ada", "f1")
    await gauges.count_once()
    assert read_gauges()["gallery_faces", "pack-2"] == 1
    for event_id in ("gala", "other"):
        await registry.finish_event_deletion((await registry.begin_event_deletion(event_id)).key)
    await gauges.count_once()
    assert read_gauges()["events",] == 0
    assert read_gauges()["gallery_faces", "pack-2"] == 0, "a pack that no event has any more"


@pytest.mark.usefixtures("fresh_counts")
async def test_what_takes_long_to_count_is_counted_less_often(
    registry: Registry, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, spent_s = 1000.0, 2.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    gauges = StoreGauges(database, [])
    counted = 0

    async def count_slowly() -> None:
        nonlocal counted, now
        counted += 1
        now += spent_s

    monkeypatch.setattr(gauges, "count_once", count_slowly)
    for later_s in (0, 30, spent_s / MAX_SHARE - 1 - 30 - spent_s, 1):
        now += later_s
        await gauges._count_when_due()
    assert counted == 2
