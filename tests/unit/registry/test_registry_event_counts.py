"""Whatever happens to events and their people, in whatever order and at once: counts fit the rows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest_asyncio
from sqlalchemy import Connection, insert, text

from serving.database import Database
from serving.database.metadata import now_utc
from serving.errors import RollcallError
from serving.operations.registry_counts import mend_counts
from serving.registry import Counts, Registry
from serving.registry.attendance import CheckIns
from serving.registry.bulk_enrolment import NewPerson
from serving.registry.check_ins import Sighting
from serving.registry.event_counts import count_arrived_since, find_miscounted
from serving.registry.person_details import PersonDetails
from serving.registry.records import Event, NewFace
from serving.registry.retention import ExpiredPerson, Retention
from serving.registry.tables import check_in

EVENTS, PEOPLE, FACES = ("gala", "ball"), tuple(f"p{n}" for n in range(6)), ("f0", "f1", "f2")
WORKERS, STEPS = 6, 60

# In one statement, so of one moment; written out, so that a rule wrong in the code is not wrong here too.
_COMPARE = text("""
SELECT event.id,
  (SELECT count(*) FROM person p WHERE p.event_key = event.key AND p.enrolled_at IS NOT NULL)
    - (SELECT coalesce(sum(c.people), 0) FROM event_count c WHERE c.event_key = event.key),
  (SELECT count(*) FROM face f WHERE f.event_key = event.key AND f.state = 'active')
    - (SELECT coalesce(sum(c.faces), 0) FROM event_count c WHERE c.event_key = event.key),
  (SELECT count(*) FROM migrated_face m WHERE m.event_key = event.key AND m.state = 'active')
    - (SELECT coalesce(sum(c.migrated_faces), 0) FROM event_count c WHERE c.event_key = event.key),
  (SELECT count(*) FROM check_in a WHERE a.event_key = event.key)
    - (SELECT coalesce(sum(c.arrivals), 0) FROM event_count c WHERE c.event_key = event.key),
  (SELECT count(*) FROM check_in a WHERE a.event_key = event.key)
    - (SELECT coalesce(sum(c.arrivals), 0) FROM arrival_count c WHERE c.event_key = event.key)
FROM event
""")


class Crowd:
    """Does anything that changes what is counted, at random."""

    def __init__(self, registry: Registry, database: Database, seed: int) -> None:
        self.registry = registry
        self.database = database
        self.check_ins = CheckIns(database)
        self.retention = Retention(database)
        self.chance = random.Random(seed)
        self.done: dict[str, int] = {}

    async def differences(self) -> list[tuple[Any, ...]]:
        """Events whose counts are not those of their rows at this moment."""
        rows = await self.database.read(lambda c: [tuple(row) for row in c.execute(_COMPARE)])
        return [row for row in rows if any(row[1:])]

    async def act(self) -> None:
        """One random thing; that it is refused counts too."""
        acts: list[tuple[int, Callable[[Event], Coroutine[Any, Any, object]]]] = [
            (10, self.enrol),
            (3, self.enrol_many),
            (4, self.abandon),
            (6, self.delete_person),
            (4, self.delete_face),
            (8, self.check_in),
            (3, self.undo_check_in),
            (3, self.expire),
            (3, self.migrate),
            (2, self.delete_event),
        ]
        act = self.chance.choices([each for _, each in acts], [weight for weight, _ in acts])[0]
        try:
            event = await self.find_event()
            await act(event)
            self.done[act.__name__] = self.done.get(act.__name__, 0) + 1
        except RollcallError:
            pass

    async def find_event(self) -> Event:
        id = self.chance.choice(EVENTS)
        try:
            return await self.registry.get_event(id)
        except RollcallError:
            return await self.registry.create_event(id, None, "old", {"retention_days": 1})

    def some_faces(self) -> list[NewFace]:
        return [NewFace(face) for face in self.chance.sample(FACES, self.chance.randint(1, 3))]

    async def enrol(self, event: Event) -> None:
        person, faces = self.chance.choice(PEOPLE), self.some_faces()
        stored_in = [place.partition for place in event.places]
        await self.registry.begin_enrolment(event.key, person, None, faces, partitions=stored_in)
        await asyncio.sleep(self.chance.random() * 0.002)
        ids = [face.id for face in faces]
        await self.registry.finish_enrolment(event.key, person, ids, partitions=stored_in)

    async def enrol_many(self, event: Event) -> None:
        ids = self.chance.sample(PEOPLE, 3)
        people = [NewPerson(id, PersonDetails(None, None, None), tuple(self.some_faces())) for id in ids]
        stored_in = [place.partition for place in event.places]
        await self.registry.bulk.begin(event.key, people, stored_in)
        await self.registry.bulk.finish(event.key, people, stored_in)

    async def abandon(self, event: Event) -> None:
        person, faces = self.chance.choice(PEOPLE), self.some_faces()
        stored_in = [place.partition for place in event.places]
        await self.registry.begin_enrolment(event.key, person, None, faces, partitions=stored_in)
        await self.registry.abandon_enrolment(event.key, person, [face.id for face in faces])

    async def delete_person(self, event: Event) -> None:
        await self.registry.delete_person(event.key, self.chance.choice(PEOPLE))

    async def delete_face(self, event: Event) -> None:
        await self.registry.delete_face(event.key, self.chance.choice(PEOPLE), self.chance.choice(FACES))

    async def check_in(self, event: Event) -> None:
        await self.check_ins.record(event.key, {id: Sighting(0.5) for id in self.chance.sample(PEOPLE, 3)})

    async def undo_check_in(self, event: Event) -> None:
        await self.check_ins.remove(event.key, self.chance.choice(PEOPLE))

    async def expire(self, event: Event) -> None:
        person = self.chance.choice(PEOPLE)
        long_ago = now_utc() - timedelta(days=3)

        def age(connection: Connection) -> None:
            aged = text("UPDATE person SET updated_at = :past WHERE event_key = :key AND id = :id")
            aged = aged.bindparams(past=long_ago).columns()
            connection.execute(aged, {"past": long_ago, "key": event.key, "id": person})

        await self.database.write(age)
        expired = ExpiredPerson(event.key, event.id, 1, person, long_ago)
        await self.retention.forget_person(expired, lambda _: None)

    async def migrate(self, event: Event) -> None:
        if event.migrating_to is None:
            await self.registry.migrations.begin(event.key, "new" if event.pack_id == "old" else "old")
        elif self.chance.random() < 0.5:
            await self.registry.migrations.abort(event.key)
        else:
            await self.registry.migrations.finish(event.key, lambda _: {}, allow_missing=True)

    async def delete_event(self, event: Event) -> None:
        await self.registry.begin_event_deletion(event.id)
        await asyncio.sleep(self.chance.random() * 0.01)  # others may be half through
        await self.registry.finish_event_deletion(event.key)


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    await opened.open()
    yield opened
    await opened.close()


async def test_counts_are_those_of_the_rows_at_every_moment(registry: Registry, database: Database) -> None:
    crowd = Crowd(registry, database, seed=1)

    async def work() -> None:
        for _ in range(STEPS):
            await crowd.act()

    async def look(working: asyncio.Future[Any]) -> int:
        looks = 0
        while not working.done():
            assert await crowd.differences() == []
            looks += 1
            await asyncio.sleep(0.005)
        return looks

    working = asyncio.gather(*(work() for _ in range(WORKERS)))
    looks = await look(working)
    await working
    assert looks > 5
    assert len(crowd.done) == 10, crowd.done  # each of them succeeded now and then
    assert await crowd.differences() == []
    assert await database.read(find_miscounted) == []
    for id in EVENTS:
        try:
            event = await registry.get_event(id)
        except RollcallError:
            continue
        people = (await registry.list_people(event.key)).items
        counts = await registry.counts(event.key)
        assert (counts.people, counts.faces) == (len(people), sum(each.faces for each in people))
        attendance = await crowd.check_ins.count(event.key)
        arrived = (await crowd.check_ins.page(event.key)).items
        assert (attendance.enrolled, attendance.arrived) == (len(people), len(arrived))
        assert attendance.arrived_last_hour == len(arrived)
        listed = {each.key: each for each in (await registry.list_events()).items}[event.key]
        assert (listed.people, listed.faces) == (counts.people, counts.faces)


async def test_what_was_switched_off_is_found_and_mended(database_url: str) -> None:
    """And while it is mended nobody enrols unseen."""
    database = Database(database_url)
    registry = Registry(database)
    await registry.open()
    try:
        key = (await registry.create_event("gala", None, "old")).key

        async def enrol(person: str) -> None:
            await registry.begin_enrolment(key, person, None, [NewFace("f0")])
            await registry.finish_enrolment(key, person, ["f0"])

        await enrol("ada")
        await CheckIns(database).record(key, {"ada": Sighting(0.5)})
        spoil = ("UPDATE event_count SET faces = 7", "UPDATE arrival_count SET arrivals = 2")
        for statement in spoil:
            await database.write(lambda c, statement=statement: c.exec_driver_sql(statement).rowcount)
            assert await database.read(find_miscounted) == [key]
            _, mended, _ = await asyncio.gather(enrol("bob"), mend_counts(database_url), enrol("eve"))
            assert mended == 1
            assert await database.read(find_miscounted) == []
        assert await registry.counts(key) == Counts(3, 3)
        assert await mend_counts(database_url) == 0
        await registry.delete_person(key, "bob")
        assert await registry.counts(key) == Counts(2, 2)
    finally:
        await registry.close()


async def test_arrivals_of_the_last_hour_are_counted_to_the_microsecond(
    registry: Registry, database: Database
) -> None:
    key = (await registry.create_event("gala", None, "old")).key
    now = now_utc()
    minutes = (0.5, 3, 59.4, 59.99, 60.01, 60.6, 61, 300)
    for minute in minutes:
        await registry.begin_enrolment(key, f"p{minute}", None, [NewFace("f0")])
        await registry.finish_enrolment(key, f"p{minute}", ["f0"])

    def arrive(connection: Connection) -> None:
        for minute in minutes:
            at = now - timedelta(minutes=minute)
            row = {"event_key": key, "person_id": f"p{minute}", "first_at": at, "last_at": at}
            connection.execute(insert(check_in), {**row, "times": 1, "best_cosine": 0.5})

    await database.write(arrive)
    for ago in (0.7, 59.99, 60, 60.5, 60.61, 299, 301):
        since = now - timedelta(minutes=ago)
        counted = await database.read(count_arrived_since, key, since)
        assert counted == sum(minute < ago for minute in minutes), ago
