"""What counts as expired, and that whoever changes in the last moment stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy import Connection, update

from serving.database import Database
from serving.database.metadata import now_utc
from serving.errors import StageUnavailable
from serving.registry import Event, NewFace, Registry, erasures
from serving.registry.retention import ExpiredPerson, Retention
from serving.registry.tables import event, person

PACK = "starter"


def do_nothing(connection: Connection) -> None:
    """Beside what is forgotten."""


@pytest_asyncio.fixture
async def database(database_url: str, registry: Registry) -> AsyncIterator[Database]:
    opened = Database(database_url, migrate_on_open=False)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def retention(database: Database) -> Retention:
    return Retention(database)


async def create(registry: Registry, event_id: str, retention_days: int | None, pack_id: str = PACK) -> Event:
    return await registry.create_event(event_id, None, pack_id, {"retention_days": retention_days})


async def enrol(
    database: Database, registry: Registry, at: Event, person_id: str, age: timedelta = timedelta()
) -> None:
    await registry.begin_enrolment(at.key, person_id, None, [NewFace("f1")])
    await registry.finish_enrolment(at.key, person_id, ["f1"])
    await set_changed(database, at, person_id, now_utc() - age)


async def set_changed(database: Database, at: Event, person_id: str, moment: datetime) -> None:
    changed = update(person).where(person.c.event_key == at.key, person.c.id == person_id)
    await database.write(lambda connection: connection.execute(changed.values(updated_at=moment)))


async def set_closed(database: Database, at: Event, age: timedelta) -> None:
    closed = update(event).where(event.c.key == at.key).values(closed_at=now_utc() - age)
    await database.write(lambda connection: connection.execute(closed))


async def all_expired(retention: Retention, limit: int = 500) -> list[ExpiredPerson]:
    found: list[ExpiredPerson] = []
    for days in await retention.retention_periods():
        after = None
        while page := await retention.expired_people(days, after, limit):
            assert len(page) <= limit
            found += page
            after = page[-1]
    return found


async def test_who_has_not_changed_for_as_long_as_the_event_says(
    database: Database, registry: Registry, retention: Retention
) -> None:
    week, month, ever = [
        await create(registry, name, days) for name, days in (("week", 7), ("month", 30), ("ever", None))
    ]
    other = await create(registry, "other", 7, "another-pack")
    gone = await create(registry, "gone", 7)
    for at in (week, month, ever, other, gone):
        await enrol(database, registry, at, "new")
        await enrol(database, registry, at, "old", timedelta(days=8))
        await enrol(database, registry, at, "ancient", timedelta(days=40))
    await enrol(database, registry, week, "almost", timedelta(days=7) - timedelta(minutes=5))
    await registry.begin_enrolment(week.key, "unfinished", None, [NewFace("f1")])
    await set_changed(database, week, "unfinished", now_utc() - timedelta(days=9))
    await registry.begin_event_deletion("gone")
    assert await retention.retention_periods() == [7, 30]
    found = await all_expired(retention)
    assert {(each.event_id, each.id) for each in found} == {
        ("week", "old"),
        ("week", "ancient"),
        ("month", "ancient"),
        ("other", "old"),
        ("other", "ancient"),
    }
    expected = {(week.key, 7), (month.key, 30), (other.key, 7)}
    assert {(each.event_key, each.retention_days) for each in found} == expected


async def test_pages_are_complete_whether_or_not_anybody_is_forgotten(
    database: Database, registry: Registry, retention: Retention
) -> None:
    ages = [timedelta(days=3), timedelta(days=2)]  # several people of one moment
    moments = [now_utc() - age for age in ages]
    for name in ("a", "b"):
        at = await create(registry, name, 1)
        for place in range(6):
            await enrol(database, registry, at, f"p{place}")
            await set_changed(database, at, f"p{place}", moments[place % 2])
    everybody = {(name, f"p{place}") for name in "ab" for place in range(6)}
    for limit in (1, 4, 500):
        found = [(each.event_id, each.id) for each in await all_expired(retention, limit)]
        assert (set(found), len(found)) == (everybody, 12)
    first = await retention.expired_people(1, None, 4)
    for each in first[:3]:
        assert await retention.forget_person(each, do_nothing)
    second = await retention.expired_people(1, first[-1], 500)
    assert {(each.event_id, each.id) for each in [*first, *second]} == everybody


async def test_of_many_that_forget_a_person_one_does(
    database: Database, registry: Registry, retention: Retention
) -> None:
    at = await create(registry, "gala", 1)
    await enrol(database, registry, at, "ada", timedelta(days=2))
    (expired,) = await all_expired(retention)
    outcomes = await asyncio.gather(*(retention.forget_person(expired, do_nothing) for _ in range(6)))
    assert sorted(outcomes) == [False] * 5 + [True]
    assert await registry.names_of(at.key, ["ada"]) == {}
    assert await registry.erasures.due() == []


async def test_an_erasure_is_left_for_whoever_dies_now(
    database: Database, registry: Registry, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasures, "REVISIT_S", 0.0)
    at = await create(registry, "gala", 1)
    await enrol(database, registry, at, "ada", timedelta(days=2))
    (expired,) = await all_expired(retention)
    await retention.forget_person(expired, do_nothing)
    assert [(each.event_key, each.person_id) for each in await registry.erasures.due()] == [(at.key, "ada")]


async def test_what_fails_beside_it_leaves_the_person(
    database: Database, registry: Registry, retention: Retention
) -> None:
    def fail(connection: Connection) -> None:
        raise StageUnavailable

    at = await create(registry, "gala", 1)
    await enrol(database, registry, at, "ada", timedelta(days=2))
    (expired,) = await all_expired(retention)
    with pytest.raises(StageUnavailable):
        await retention.forget_person(expired, fail)
    assert await all_expired(retention) == [expired]


async def test_whoever_is_not_expired_any_more_stays(
    database: Database, registry: Registry, retention: Retention
) -> None:
    changed, kept_longer, kept_for_ever = [await create(registry, name, 1) for name in "abc"]
    for at in (changed, kept_longer, kept_for_ever):
        await enrol(database, registry, at, "ada", timedelta(days=2))
    found = await all_expired(retention)
    assert len(found) == 3
    await registry.begin_enrolment(changed.key, "ada", None, [NewFace("f2")])
    await registry.finish_enrolment(changed.key, "ada", ["f2"])
    await registry.update_event(kept_longer.key, {"retention_days": 2 * 365})
    await registry.update_event(kept_for_ever.key, {"retention_days": None})
    assert [await retention.forget_person(each, do_nothing) for each in found] == [False] * 3
    for at in (changed, kept_longer, kept_for_ever):
        assert await registry.names_of(at.key, ["ada"]) == {"ada": None}


async def test_events_expire_when_they_have_been_closed_for_so_long(
    database: Database, registry: Registry, retention: Retention
) -> None:
    days = {"closed": 7, "fresh": 7, "open": 7, "for-ever": None, "reopened": 7}
    events = {name: await create(registry, name, each) for name, each in days.items()}
    events["other"] = await create(registry, "other", 7, "another-pack")
    for name, age in (("closed", 8), ("fresh", 6), ("for-ever", 900), ("other", 8), ("reopened", 8)):
        await set_closed(database, events[name], timedelta(days=age))
    found = await retention.expired_events(7)
    assert {each.id for each in found} == {"closed", "other", "reopened"}
    assert len(await retention.expired_events(7, None, 1)) == 1
    assert await retention.expired_events(7, found[-1]) == []
    await registry.reopen_event(events["reopened"].key)
    outcomes = {
        each.id: await asyncio.gather(*(retention.begin_event_deletion(each, do_nothing) for _ in range(3)))
        for each in found
    }
    assert {name: sum(each) for name, each in outcomes.items()} == {"closed": 1, "other": 1, "reopened": 0}
    assert [each.id for each in await registry.deleting_events()] == ["closed", "other"]
