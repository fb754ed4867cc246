"""The job that erases what has expired, over a real registry and a gallery that is a set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import Update, update

from serving.audit.records import AuditEntry, AuditFilters
from serving.audit.trail import AuditTrail
from serving.database import Database, sqlite_url
from serving.database.metadata import now_utc
from serving.errors import StageUnavailable, UnknownEvent
from serving.graph import retention
from serving.graph.retention import RetentionJob
from serving.registry import NewFace, Registry
from serving.registry.retention import Retention
from serving.registry.tables import event, person
from serving.settings import AuditSettings
from tests.unit.graph.virtual_time import in_virtual_time
from tests.unit.served import serve_alone

PACK = "starter"


class Gallery:
    """The stages' methods that erase."""

    def __init__(self) -> None:
        self.faces: set[tuple[str, str, str]] = set()
        self.failures: list[Exception] = []
        self.calls = 0

    def _enter(self) -> None:
        self.calls += 1
        if self.failures:
            raise self.failures.pop()

    async def faces_of(self, event_key: str, person_id: str, remaining_s: float) -> list[str]:
        self._enter()
        return [face for key, person, face in self.faces if (key, person) == (event_key, person_id)]

    async def erase_faces(self, event_key: str, faces: Sequence[tuple[str, str]], remaining_s: float) -> None:
        self.faces -= {(event_key, *each) for each in faces}

    async def erase_event(self, event_key: str, remaining_s: float) -> None:
        self._enter()
        self.faces = {each for each in self.faces if each[0] != event_key}


class World:
    """A registry with its gallery and audit trail, and jobs that look after them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.registry = Registry(database)
        self.gallery = Gallery()
        self.audit = AuditTrail(database, AuditSettings())

    def make_job(self, **changes: Any) -> RetentionJob:
        settings = {"idempotency_s": 60.0, "period_s": 3600.0, **changes}
        return RetentionJob(
            self.registry, Retention(self.database), serve_alone(self.gallery, PACK), self.audit, **settings
        )

    async def create(self, id: str, retention_days: int | None = 7) -> str:
        """The event's key."""
        return (await self.registry.create_event(id, None, PACK, {"retention_days": retention_days})).key

    async def close(self, key: str, days_ago: int) -> None:
        closed_at = now_utc() - timedelta(days=days_ago)
        await self._execute(update(event).where(event.c.key == key).values(closed_at=closed_at))

    async def enrol(self, key: str, *people: str, days_ago: int = 0) -> None:
        for each in people:
            await self.registry.begin_enrolment(key, each, None, [NewFace("f1")])
            self.gallery.faces.add((key, each, "f1"))
            await self.registry.finish_enrolment(key, each, ["f1"])
            statement = update(person).where(person.c.event_key == key, person.c.id == each)
            await self._execute(statement.values(updated_at=now_utc() - timedelta(days=days_ago)))

    async def _execute(self, statement: Update) -> None:
        await self.database.write(lambda connection: connection.execute(statement))

    async def people(self, key: str) -> list[str]:
        return [each.id for each in (await self.registry.list_people(key)).items]

    async def entries(self) -> list[AuditEntry]:
        return list((await self.audit.page(AuditFilters(), None, 1000)).items)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = Database(sqlite_url(tmp_path / "registry.sqlite3"))
    await database.open()
    made = World(database)
    yield made
    await made.audit.stop()
    await database.close()


async def test_people_go_with_their_faces_and_the_trail_says_so(world: World) -> None:
    gala, fair = await world.create("gala"), await world.create("fair", None)
    for key in (gala, fair):
        await world.enrol(key, "ada", "bob", days_ago=8)
        await world.enrol(key, "cyd", days_ago=6)
    await world.make_job().look_once()
    assert await world.people(gala) == ["cyd"]
    assert await world.people(fair) == ["ada", "bob", "cyd"]
    assert {each for each in world.gallery.faces if each[0] == gala} == {(gala, "cyd", "f1")}
    assert sum(each[0] == fair for each in world.gallery.faces) == 3
    found = await world.entries()
    assert {(each.action, each.event_id, each.event_key, each.person_id) for each in found} == {
        ("people.delete", "gala", gala, "ada"),
        ("people.delete", "gala", gala, "bob"),
    }
    assert {(each.actor_kind, each.actor, each.outcome) for each in found} == {("service", "retention", "ok")}
    assert all(each.details == {"retention_days": 7} for each in found)


async def test_events_go_with_everyone_and_the_trail_says_so_once(world: World) -> None:
    closed, fresh = await world.create("gala"), await world.create("fair")
    await world.enrol(closed, "ada", days_ago=9)
    await world.enrol(fresh, "ada")
    await world.close(closed, days_ago=8)
    await world.close(fresh, days_ago=6)
    await world.make_job().look_once()
    with pytest.raises(UnknownEvent):
        await world.registry.get_event("gala")
    assert await world.registry.deleting_events() == []
    assert await world.people(fresh) == ["ada"]
    assert world.gallery.faces == {(fresh, "ada", "f1")}
    assert [(each.action, each.event_id, each.person_id) for each in await world.entries()] == [
        ("events.delete", "gala", None)
    ]


async def test_replicas_that_look_at_once_erase_everybody_and_each_is_recorded_once(world: World) -> None:
    gala = await world.create("gala")
    everybody = [f"p{place:02}" for place in range(12)]
    await world.enrol(gala, *everybody, days_ago=30)
    await world.close(await world.create("fair"), days_ago=30)
    await asyncio.gather(*(world.make_job().look_once() for _ in range(4)))
    assert await world.people(gala) == []
    assert world.gallery.faces == set()
    found = sorted((each.action, each.person_id) for each in await world.entries())
    assert found == [("events.delete", None), *(("people.delete", each) for each in everybody)]


async def test_who_is_enrolled_anew_at_that_moment_keeps_the_new_face(world: World) -> None:
    gala = await world.create("gala")
    await world.enrol(gala, "ada", days_ago=8)
    faces_of = world.gallery.faces_of

    async def enrol_first(*args: Any) -> list[str]:
        world.gallery.faces_of = faces_of  # type: ignore[method-assign]
        world.gallery.faces.add((gala, "ada", "f2"))
        return await faces_of(*args)

    world.gallery.faces_of = enrol_first  # type: ignore[method-assign, assignment]
    forget = Retention.forget_person

    async def forget_and_enrol(self: Retention, *args: Any) -> bool:
        hit = await forget(self, *args)
        await world.registry.begin_enrolment(gala, "ada", None, [NewFace("f2")])
        return hit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Retention, "forget_person", forget_and_enrol)
        await world.make_job().look_once()
    assert world.gallery.faces == {(gala, "ada", "f2")}


async def test_one_failure_holds_nobody_up_and_many_end_the_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_FAILURES", 3)
    monkeypatch.setattr(retention, "PAGE", 2)
    gala = await world.create("gala")
    await world.enrol(gala, *(f"p{place}" for place in range(6)), days_ago=8)
    world.gallery.failures = [StageUnavailable()] * 2
    with pytest.raises(StageUnavailable):
        await world.make_job().look_once()
    assert await world.people(gala) == []
    assert len(world.gallery.faces) == 2, "the sweep erases what the gallery did not"
    assert len(await world.entries()) == 6

    fair = await world.create("fair")
    await world.enrol(fair, *(f"p{place}" for place in range(6)), days_ago=8)
    world.gallery.failures = [StageUnavailable()] * 10
    with pytest.raises(StageUnavailable):
        await world.make_job().look_once()
    assert len(await world.people(fair)) == 3
    assert len(await world.entries()) == 6 + 3


async def test_an_event_whose_faces_could_not_be_erased_is_left_to_the_sweep(world: World) -> None:
    key = await world.create("gala")
    await world.enrol(key, "ada")
    await world.close(key, days_ago=8)
    world.gallery.failures = [StageUnavailable()]
    with pytest.raises(StageUnavailable):
        await world.make_job().look_once()
    assert [each.key for each in await world.registry.deleting_events()] == [key]
    assert [each.action for each in await world.entries()] == ["events.delete"]


async def test_old_entries_of_the_trail_are_forgotten(world: World) -> None:
    for days in (1, 364, 366):
        await world.audit.record(AuditEntry("service", "x", at=now_utc() - timedelta(days=days)))
    await world.make_job().look_once()
    assert len(await world.entries()) == 2


class Looking(RetentionJob):
    def __init__(self, period_s: float, *failures: Exception) -> None:
        super().__init__(
            None, None, None, None, idempotency_s=60, period_s=period_s  # type: ignore[arg-type]
        )  # fmt: skip
        self._left = list(failures)
        self.looks: list[float] = []

    async def look_once(self) -> None:
        self.looks.append(asyncio.get_running_loop().time())
        if self._left:
            raise self._left.pop()


@in_virtual_time
async def test_it_looks_soon_and_then_once_in_a_period_whatever_fails() -> None:
    job = Looking(3600, StageUnavailable(), RuntimeError("a bug"))
    began = asyncio.get_running_loop().time()
    job.start()
    await asyncio.sleep(10 * 3600)
    job.stop()
    assert job.looks[0] - began <= retention.FIRST_WITHIN_S
    assert 6 <= len(job.looks) <= 21
