"""Vectors that are stored after their person or event was forgotten are known to be looked for."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

import serving.database
from serving.database import Database, migrate, sqlite_url
from serving.database.sqlite import create_sqlite_engine, run_write
from serving.errors import InvalidRequest, StageUnavailable
from serving.graph import sweep
from serving.graph.sweep import STALE_S
from serving.registry import Erasure, Event, NewFace, Registry, erasures
from serving.registry.records import Place
from serving.settings import LoadSettings

F1, F2 = NewFace("f1", 0.99), NewFace("f2", 0.98)


@pytest.fixture
async def event(registry: Registry) -> Event:
    return await registry.create_event("gala", None, "starter")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Erasures are due as soon as they are planned."""
    monkeypatch.setattr(erasures, "REVISIT_S", 0.0)


async def enrol(registry: Registry, event: Event, person_id: str, *face_ids: str) -> None:
    await registry.begin_enrolment(event.key, person_id, None, [NewFace(each) for each in face_ids])
    await registry.finish_enrolment(event.key, person_id, face_ids)


def places(found: list[Erasure]) -> list[tuple[str, str | None]]:
    return [(each.event_key, each.person_id) for each in found]


def test_the_visit_is_later_than_any_request_can_be() -> None:
    longest = next(
        each.le
        for each in LoadSettings.model_fields["request_timeout_s"].metadata
        if getattr(each, "le", None) is not None
    )
    assert erasures.REVISIT_S >= STALE_S > 2 * longest


async def test_erasures_of_forgotten_people_and_events_wait(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1")
    assert await registry.delete_person(event.key, "ada")
    await registry.begin_event_deletion(event.id)
    await registry.finish_event_deletion(event.key)
    assert await registry.erasures.due() == []


@pytest.mark.usefixtures("at_once")
async def test_they_are_found_in_the_order_they_became_due(registry: Registry, event: Event) -> None:
    other = await registry.create_event("other", None, "starter")
    for place in (event, other):
        await enrol(registry, place, "ada", "f1")
    await registry.delete_person(other.key, "ada")
    await registry.delete_person(event.key, "ada")
    await registry.begin_event_deletion(event.id)
    assert places(await registry.erasures.due()) == [(other.key, "ada"), (event.key, "ada")]
    await registry.finish_event_deletion(event.key)
    found = await registry.erasures.due()
    assert places(found) == [(other.key, "ada"), (event.key, "ada"), (event.key, None)]
    assert await registry.erasures.due(2) == found[:2]
    await registry.erasures.finish(found[1].id)
    await registry.erasures.finish(found[1].id)
    assert await registry.erasures.due() == [found[0], found[2]]
    with pytest.raises(InvalidRequest):
        await registry.erasures.due(0)


@pytest.mark.usefixtures("at_once")
async def test_where_nothing_was_forgotten_nothing_is_erased(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1")
    assert not await registry.delete_person(event.key, "stranger")
    await registry.finish_event_deletion(event.key)  # it is open
    await registry.finish_event_deletion("0" * 32)
    await registry.abandon_enrolment(event.key, "ada", ["f1"])
    await registry.abandon_enrolment(event.key, "stranger", ["f1"])
    assert await registry.erasures.due() == []


@pytest.mark.usefixtures("at_once")
async def test_of_one_person_there_is_one_erasure(registry: Registry, event: Event) -> None:
    for _ in range(3):
        await enrol(registry, event, "ada", "f1")
        await registry.delete_person(event.key, "ada")
    assert places(await registry.erasures.due()) == [(event.key, "ada")]


@pytest.mark.usefixtures("at_once")
async def test_an_erasure_planned_again_outlives_the_visit_under_way(
    registry: Registry, event: Event
) -> None:
    await enrol(registry, event, "ada", "f1")
    await registry.delete_person(event.key, "ada")
    [visited] = await registry.erasures.due()
    await enrol(registry, event, "ada", "f1")
    await registry.delete_person(event.key, "ada")
    await registry.erasures.finish(visited.id)
    assert places(await registry.erasures.due()) == [(event.key, "ada")]


async def test_the_later_time_is_kept(
    registry: Registry, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enrol(registry, event, "ada", "f1")
    await registry.delete_person(event.key, "ada")
    await registry.begin_enrolment(event.key, "ada", None, [F1])
    await registry.abandon_enrolment(event.key, "ada", ["f1"])  # due at once
    assert await registry.erasures.due() == []
    monkeypatch.setattr(erasures, "REVISIT_S", -1.0)
    await registry.begin_enrolment(event.key, "bob", None, [F1])
    await registry.abandon_enrolment(event.key, "bob", ["f1"])
    monkeypatch.setattr(erasures, "REVISIT_S", 900.0)
    await enrol(registry, event, "bob", "f1")
    await registry.delete_person(event.key, "bob")
    assert await registry.erasures.due() == []


async def test_an_abandoned_enrolment_is_erased_at_once(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1")
    await registry.begin_enrolment(event.key, "ada", None, [F1, F2])
    assert await registry.erasures.known_faces(event.key, "ada", event.key) == {"f1", "f2"}
    await registry.abandon_enrolment(event.key, "ada", ["f1", "f2"])
    assert places(await registry.erasures.due()) == [(event.key, "ada")]
    assert await registry.erasures.known_faces(event.key, "ada", event.key) == {"f1"}
    assert await registry.erasures.known_faces(event.key, "stranger", event.key) == frozenset()
    await registry.delete_person(event.key, "ada")
    assert await registry.erasures.known_faces(event.key, "ada", event.key) == frozenset()


async def test_a_face_that_was_begun_again_is_not_abandoned(registry: Registry, event: Event) -> None:
    await registry.begin_enrolment(event.key, "ada", None, [F1, F2])
    await asyncio.sleep(0.5)
    [stale] = await registry.stale_enrolments(older_than_s=0.4)
    assert stale.face_ids == ("f1", "f2")
    await registry.begin_enrolment(event.key, "ada", None, [F1])
    await registry.abandon_enrolment(event.key, "ada", stale.face_ids, older_than_s=0.4)
    assert await registry.erasures.known_faces(event.key, "ada", event.key) == {"f1"}
    await registry.finish_enrolment(event.key, "ada", ["f1"])
    await registry.abandon_enrolment(event.key, "ada", stale.face_ids, older_than_s=-60)
    assert (await registry.get_person(event.key, "ada")).face_ids == ("f1",)


@pytest.mark.usefixtures("at_once")
async def test_deletions_and_abandonments_at_once(registry: Registry, event: Event) -> None:
    async def come_and_go(n: int) -> None:
        person_id = f"p{n % 3}"
        await registry.begin_enrolment(event.key, person_id, None, [NewFace(f"f{n}")])
        if n % 2:
            await registry.delete_person(event.key, person_id)
        else:
            await registry.abandon_enrolment(event.key, person_id, [f"f{n}"])

    await asyncio.gather(*(come_and_go(n) for n in range(30)))
    found = await registry.erasures.due()
    assert sorted(places(found)) == [(event.key, f"p{n}") for n in range(3)]


async def test_what_cannot_be_erased_keeps_nothing_else_from_its_turn(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of a pack that was removed than one sweep looks at, all of them due for longer."""

    def plan(connection: Connection) -> None:
        for number in range(1001):
            erasures.plan_place_erasure(connection, "k", Place("gone", f"p{number}"), -100.0)
        erasures.plan_place_erasure(connection, "k", Place("here", "p"), -1.0)

    await registry._database.write(plan)
    erased: list[str] = []

    async def erase(_: object, place: Place, timeout_s: float) -> None:
        if place.pack_id == "gone":
            raise StageUnavailable
        erased.append(place.partition)

    monkeypatch.setattr(sweep, "erase_place", erase)
    sweeper = sweep.Sweep(registry, None)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(StageUnavailable):
            await sweeper.sweep_once()
    assert erased == ["p"]
    assert len(await registry.erasures.places("k")) == 1001, "the others wait for their pack"


async def test_a_database_from_before_erasures_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "rollcall.db"
    config = Config()
    config.set_main_option("script_location", str(Path(serving.database.__file__).parent / "migrations"))
    engine = create_sqlite_engine(Database(sqlite_url(path))._parsed, pool_size=1)

    def upgrade_to_accounts(connection: object) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")

    run_write(engine, upgrade_to_accounts)
    engine.dispose()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO event (key, id, pack_id, created_at, state) "
            "VALUES ('k', 'gala', 'starter', '2030-01-01 00:00:00.000000', 'open')"
        )
    connection.close()
    await migrate(sqlite_url(path))
    registry = Registry(Database(sqlite_url(path)))
    await registry.open()
    assert (await registry.get_event("gala")).key == "k"
    await registry.begin_event_deletion("gala")
    await registry.finish_event_deletion("k")
    await registry.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT event_key, person_id FROM erasure").fetchall() == [("k", None)]
    connection.close()
