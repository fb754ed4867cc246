"""What the registry keeps apart while an event moves, one unit of work after another, on each engine."""

from __future__ import annotations

import pytest
import pytest_asyncio
from sqlalchemy import Connection, func, insert, select, text

from serving.database.metadata import now_utc
from serving.errors import PackChanged
from serving.registry import Event, Registry, pack_migration
from serving.registry.records import EventFields, NewFace
from serving.registry.tables import face, migrated_face, person

FACE = [NewFace("f1")]


@pytest_asyncio.fixture
async def gala(registry: Registry) -> Event:
    return await registry.create_event("gala", None, "old")


def keep(_: Event) -> EventFields:
    return {}


def partitions(event: Event) -> list[str]:
    return [place.partition for place in event.places]


async def count_rows(registry: Registry) -> tuple[int, int]:
    """People and faces, those announced included."""
    counted = select(*(select(func.count()).select_from(each).scalar_subquery() for each in (person, face)))
    row = (await registry._database.read(lambda connection: connection.execute(counted).all()))[0]
    return row[0], row[1]


@pytest.mark.parametrize("to_the_end", [False, True])
async def test_who_was_planned_for_another_pack_is_neither_announced_nor_confirmed(
    registry: Registry, gala: Event, to_the_end: bool
) -> None:
    await registry.begin_enrolment(gala.key, "ada", None, FACE)
    await registry.migrations.begin(gala.key, "new")
    if to_the_end:
        await registry.migrations.finish(gala.key, keep, allow_missing=False)
    with pytest.raises(PackChanged):
        await registry.finish_enrolment(gala.key, "ada", ["f1"])
    with pytest.raises(PackChanged):
        await registry.begin_enrolment(gala.key, "bob", None, FACE)
    assert (await registry.list_people(gala.key)).items == ()
    stored_in = partitions(await registry.get_event("gala"))
    assert len(stored_in) == (1 if to_the_end else 2)
    await registry.begin_enrolment(gala.key, "ada", None, FACE, partitions=stored_in)
    await registry.finish_enrolment(gala.key, "ada", ["f1"], partitions=stored_in)
    assert (await registry.get_person(gala.key, "ada")).face_ids == ("f1",)


@pytest.mark.parametrize("ending", ["finish", "abort"])
async def test_who_is_announced_in_both_packs_is_confirmed_in_what_remains(
    registry: Registry, gala: Event, ending: str
) -> None:
    stored_in = partitions(await registry.migrations.begin(gala.key, "new"))
    await registry.begin_enrolment(gala.key, "ada", None, FACE, partitions=stored_in)
    if ending == "finish":
        await registry.migrations.finish(gala.key, keep, allow_missing=False)
    else:
        await registry.migrations.abort(gala.key)
    await registry.finish_enrolment(gala.key, "ada", ["f1"], partitions=stored_in)
    assert (await registry.get_person(gala.key, "ada")).face_ids == ("f1",)


async def test_a_second_move_to_the_same_pack_is_another_place(registry: Registry, gala: Event) -> None:
    stored_in = partitions(await registry.migrations.begin(gala.key, "new"))
    await registry.begin_enrolment(gala.key, "ada", None, FACE, partitions=stored_in)
    await registry.migrations.abort(gala.key)
    await registry.migrations.begin(gala.key, "new")
    with pytest.raises(PackChanged):
        await registry.finish_enrolment(gala.key, "ada", ["f1"], partitions=stored_in)


@pytest.mark.parametrize("person_id", ["ada", None])
async def test_nothing_is_remembered_of_who_was_announced_in_vain(
    registry: Registry, gala: Event, person_id: str | None
) -> None:
    """The request begins anew, under another id where it gave none, or has died."""
    await registry.begin_enrolment(gala.key, "bob", None, FACE)
    await registry.finish_enrolment(gala.key, "bob", ["f1"])
    await registry.begin_enrolment(gala.key, person_id, "Ada", FACE, metadata={"table": 4})
    stored_in = partitions(await registry.migrations.begin(gala.key, "new"))
    await registry.begin_enrolment(gala.key, "cy", "Cy", FACE, partitions=stored_in)
    assert await count_rows(registry) == (3, 3)
    await registry.migrations.finish(gala.key, keep, allow_missing=True)
    assert await count_rows(registry) == (2, 1), "bob stays, and cy is under way"
    for stale in await registry.stale_enrolments(0.0):
        await registry.abandon_enrolment(stale.event_key, stale.person_id, stale.face_ids)
    assert await count_rows(registry) == (1, 0)


async def test_a_large_event_is_not_compared_with_itself(registry: Registry, gala: Event) -> None:
    """Right after the rows were written, when the database knows nothing of them yet."""
    people = [{"event_key": gala.key, "id": f"p{number}"} for number in range(2000)]
    at = now_utc()
    faces = [
        {"event_key": gala.key, "person_id": each["id"], "id": "f1", "created_at": at, "state": "active"}
        for each in people
    ]
    times = {"created_at": at, "updated_at": at, "enrolled_at": at}

    def explain(connection: Connection) -> str:
        connection.execute(insert(person), [{**each, **times} for each in people])
        connection.execute(insert(face), faces)
        connection.execute(insert(migrated_face), faces)
        missing = select(person.c.id).where(
            pack_migration._ENROLLED, pack_migration._HAS_FACE, ~pack_migration._HAS_MIGRATED
        )
        sql = missing.params(key=gala.key).compile(connection, compile_kwargs={"literal_binds": True})
        how = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        statement = f"{how} {sql}".replace("LIMIT ?", "LIMIT -1")
        return "\n".join(str(row[-1]) for row in connection.execute(text(statement)))

    plan = await registry._database.write(explain)
    if "SEARCH" in plan:  # SQLite
        assert "SEARCH migrated_face USING PRIMARY KEY (event_key=? AND person_id=?)" in plan
    else:
        assert "pk_migrated_face" in plan, plan
        assert "Join" not in plan, plan
