"""Everything that may happen to an event while it moves, at random moments.

What `serving.registry.pack_migration` promises: no search is ever made with vectors of two packs, whoever has
been confirmed is found from then on, after a switch no vector of the old pack remains, and after giving up
none of the new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from serving.registry import Registry
from tests.unit.api.api_sweep import sweep_later
from tests.unit.registry.migrating_world import DIMENSIONS, EVENT, NEW, OLD, MigratingWorld

STAYING = ["s0", "s1"]
COMING = [f"c{number}" for number in range(12)]
GOING = [f"g{number}" for number in range(3)]


@pytest_asyncio.fixture
async def world(
    request: pytest.FixtureRequest, registry: Registry, tmp_path: Path
) -> AsyncIterator[MigratingWorld]:
    made = MigratingWorld(registry, tmp_path / "gallery", request.param)
    await registry.create_event(EVENT, None, OLD)
    yield made
    made.close()


async def look_all_along(world: MigratingWorld, done: asyncio.Event) -> None:
    """Those who stay are found at every moment, by the one pack or the other."""
    while not done.is_set():
        for person in STAYING:
            found, pack_id = await world.search(person)
            assert found == person, f"{person} was not found by {pack_id}"


async def come(world: MigratingWorld) -> None:
    async def one(person: str) -> None:
        await world.pause()
        await world.enrol(person)
        assert (await world.search(person))[0] == person, "confirmed, and not found"

    for start in range(0, len(COMING), 4):
        await asyncio.gather(*map(one, COMING[start : start + 4]))


async def come_and_go(world: MigratingWorld) -> None:
    for person in GOING:
        await asyncio.gather(world.enrol(person), _later(world, person), world.enrol(person))


async def _later(world: MigratingWorld, person: str) -> None:
    await world.pause()
    await world.erase(person)


async def move_about(world: MigratingWorld, moves: list[bool]) -> None:
    for finish in moves:
        await world.pause()
        await world.migrate(finish=finish)


@pytest.mark.parametrize("world", range(2), indirect=True)
async def test_whatever_happens_while_an_event_moves(world: MigratingWorld) -> None:
    await asyncio.gather(*(world.enrol(person) for person in STAYING))
    done = asyncio.Event()
    moves = [world.chance.random() < 0.6 for _ in range(8)]
    looking = asyncio.create_task(look_all_along(world, done))
    try:
        await asyncio.gather(come(world), come_and_go(world), move_about(world, moves))
    finally:
        done.set()
        await looking
    assert world.searches > len(STAYING)

    await sweep_later(world.registry, world.lines)
    event = await world.find_event()
    assert event.pack_id == (NEW if sum(moves) % 2 else OLD)
    assert event.migrating_to is None
    other = OLD if event.pack_id == NEW else NEW
    assert world.stages[other].count == 0, "vectors of a pack that the event does not have"
    assert world.stages[OLD].partitions.isdisjoint(world.stages[NEW].partitions)
    people = (await world.registry.list_people(event.key, None, 1000)).items
    known = {each.id: list((await world.registry.get_person(event.key, each.id)).face_ids) for each in people}
    stored = (await world.stored())[event.pack_id]
    assert stored == {person: faces for person, faces in known.items() if faces}
    assert world.stages[event.pack_id].count == sum(map(len, stored.values()))
    assert {*STAYING, *COMING} <= stored.keys()
    for person in (*STAYING, *COMING):
        assert (await world.search(person))[0] == person
    assert await world.registry.erasures.due() == []


def test_the_packs_differ_in_dimension() -> None:
    """So that a vector of one in the gallery of the other is refused there, and fails the test above."""
    assert len(set(DIMENSIONS.values())) == len(DIMENSIONS)
