from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from serving.errors import ErasedMeanwhile, InvalidRequest, UnknownEvent, UnknownPerson
from serving.registry import Counts, Event, NewFace, Registry, StaleEnrolment

F1, F2 = NewFace("f1", 0.99), NewFace("f2", 0.98)


@pytest.fixture
async def event(registry: Registry) -> Event:
    return await registry.create_event("gala", None, "starter")


async def enrol(
    registry: Registry, event: Event, person_id: str, *face_ids: str, name: str | None = None
) -> None:
    await registry.begin_enrolment(event.key, person_id, name, [NewFace(each) for each in face_ids])
    await registry.finish_enrolment(event.key, person_id, face_ids, name)


@asynccontextmanager
async def uncommitted(url: str, statement: str) -> AsyncIterator[None]:
    """Another client's transaction, which commits at the end of the block."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.execute(statement)
        yield
        connection.commit()
        connection.close()
    else:
        server = await asyncpg.connect(url)
        async with server.transaction():
            await server.execute(statement)
            yield
        await server.close()


async def test_enrolment_in_two_steps(registry: Registry, event: Event) -> None:
    begun = await registry.begin_enrolment(event.key, "ada@example.org", "Ada", [F1, F2])
    assert (begun.id, begun.name, begun.face_ids) == ("ada@example.org", "Ada", ())
    finished = await registry.finish_enrolment(event.key, begun.id, ["f2", "f1"])
    assert finished.face_ids == ("f1", "f2")
    assert await registry.get_person(event.key, begun.id) == finished
    assert await registry.counts(event.key) == Counts(1, 2)


async def test_nobody_is_seen_before_the_enrolment_is_finished(registry: Registry, event: Event) -> None:
    begun = await registry.begin_enrolment(event.key, None, "Ada", [F1])
    assert await registry.names_of(event.key, [begun.id]) == {}
    assert (await registry.list_people(event.key)).items == ()
    with pytest.raises(UnknownPerson):
        await registry.get_person(event.key, begun.id)
    await registry.finish_enrolment(event.key, begun.id, ["f1"])
    assert await registry.names_of(event.key, [begun.id]) == {begun.id: "Ada"}


async def test_a_repeated_enrolment_doubles_nothing(registry: Registry, event: Event) -> None:
    for _ in range(3):
        await registry.begin_enrolment(event.key, "ada", "Ada", [F1, F2, F1])
        person = await registry.finish_enrolment(event.key, "ada", ["f1", "f2", "f1"])
    assert person.face_ids == ("f1", "f2")
    assert await registry.counts(event.key) == Counts(1, 2)


async def test_nobody_of_an_event_that_is_closed_is_named(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1", name="Ada")
    await registry.begin_event_deletion(event.id)
    again = await registry.create_event(event.id, None, "starter")
    await enrol(registry, again, "ada", "f1", name="Ada again")
    assert await registry.names_of(event.key, ["ada"]) == {}
    assert await registry.names_of(event.key, [f"p{n}" for n in range(2500)] + ["ada"]) == {}
    assert await registry.names_of(again.key, ["ada"]) == {"ada": "Ada again"}


async def test_a_face_stays_enrolled_while_it_is_enrolled_again(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1")
    begun = await registry.begin_enrolment(event.key, "ada", None, [F1, F2])
    assert begun.face_ids == ("f1",)
    await registry.abandon_enrolment(event.key, "ada", ["f1", "f2"])
    assert (await registry.get_person(event.key, "ada")).face_ids == ("f1",)


async def test_a_name_changes_only_when_one_is_given(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1", name="Ada")
    first = await registry.get_person(event.key, "ada")
    await enrol(registry, event, "ada", "f2")
    assert (await registry.get_person(event.key, "ada")).name == "Ada"
    await enrol(registry, event, "ada", "f3", name="Ada L.")
    last = await registry.get_person(event.key, "ada")
    assert last.name == "Ada L."
    assert last.created_at == first.created_at
    assert last.updated_at > first.updated_at


async def test_an_enrolment_that_is_not_finished_renames_nobody(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1", name="Ada")
    before = await registry.get_person(event.key, "ada")
    begun = await registry.begin_enrolment(event.key, "ada", "Eve", [F2])
    assert begun.name == "Ada"
    assert await registry.get_person(event.key, "ada") == before
    with pytest.raises(InvalidRequest):
        await registry.finish_enrolment(event.key, "ada", ["f2"], "E\nve")
    with pytest.raises(ErasedMeanwhile):
        await registry.finish_enrolment(event.key, "ada", ["f2", "gone"], "Eve")
    await registry.abandon_enrolment(event.key, "ada", ["f2"])
    assert await registry.get_person(event.key, "ada") == before


async def test_an_abandoned_enrolment_leaves_nothing(registry: Registry, event: Event) -> None:
    begun = await registry.begin_enrolment(event.key, None, "Ada", [F1, F2])
    await registry.abandon_enrolment(event.key, begun.id, ["f1"])
    assert await registry.delete_person(event.key, begun.id)  # f2 still kept the person
    begun = await registry.begin_enrolment(event.key, None, "Ada", [F1, F2])
    await registry.abandon_enrolment(event.key, begun.id, ["f1", "f2"])
    await registry.abandon_enrolment(event.key, begun.id, ["f1", "f2"])
    assert not await registry.delete_person(event.key, begun.id)


@pytest.mark.parametrize("faces", [[], [NewFace("../x")], [NewFace(f"f{n}") for n in range(1001)]])
async def test_enrolments_have_bounds(registry: Registry, event: Event, faces: list[NewFace]) -> None:
    with pytest.raises(InvalidRequest):
        await registry.begin_enrolment(event.key, "ada", None, faces)
    with pytest.raises(InvalidRequest):
        await registry.finish_enrolment(event.key, "ada", [face.id for face in faces])


async def test_bad_people_are_refused(registry: Registry, event: Event) -> None:
    with pytest.raises(InvalidRequest):
        await registry.begin_enrolment(event.key, "a/b", None, [F1])
    with pytest.raises(InvalidRequest):
        await registry.begin_enrolment(event.key, "ada", "A\nB", [F1])
    assert await registry.counts(event.key) == Counts(0, 0)


async def test_enrolment_needs_an_open_event(registry: Registry, event: Event) -> None:
    with pytest.raises(UnknownEvent):
        await registry.begin_enrolment("0" * 32, "ada", None, [F1])
    await registry.begin_event_deletion(event.id)
    with pytest.raises(UnknownEvent):
        await registry.begin_enrolment(event.key, "ada", None, [F1])


async def test_deleting_the_person_defeats_a_running_enrolment(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1")
    await registry.begin_enrolment(event.key, "ada", None, [F2])
    assert await registry.delete_person(event.key, "ada")
    with pytest.raises(ErasedMeanwhile):
        await registry.finish_enrolment(event.key, "ada", ["f2"])
    assert await registry.names_of(event.key, ["ada"]) == {}
    assert not await registry.delete_person(event.key, "ada")


async def test_deleting_the_event_defeats_a_running_enrolment(registry: Registry, event: Event) -> None:
    await registry.begin_enrolment(event.key, "ada", None, [F1])
    await registry.begin_event_deletion(event.id)
    with pytest.raises(ErasedMeanwhile):
        await registry.finish_enrolment(event.key, "ada", ["f1"])
    await registry.finish_event_deletion(event.key)
    with pytest.raises(ErasedMeanwhile):
        await registry.finish_enrolment(event.key, "ada", ["f1"])


async def test_enrolment_waits_for_a_deletion_that_has_not_committed(
    registry: Registry, event: Event, database_url: str
) -> None:
    await registry.begin_enrolment(event.key, "ada", None, [F1])
    async with uncommitted(database_url, "UPDATE event SET state = 'deleting'"):
        finishing = asyncio.create_task(registry.finish_enrolment(event.key, "ada", ["f1"]))
        beginning = asyncio.create_task(registry.begin_enrolment(event.key, "bob", None, [F1]))
        done, _ = await asyncio.wait([finishing, beginning], timeout=0.3)
        assert not done
    with pytest.raises(ErasedMeanwhile):
        await finishing
    with pytest.raises(UnknownEvent):
        await beginning


async def test_a_vanished_face_leaves_the_others_pending(registry: Registry, event: Event) -> None:
    await registry.begin_enrolment(event.key, "ada", None, [F1, F2])
    await registry.abandon_enrolment(event.key, "ada", ["f2"])
    with pytest.raises(ErasedMeanwhile):
        await registry.finish_enrolment(event.key, "ada", ["f1", "f2"])
    assert await registry.counts(event.key) == Counts(0, 0)


async def test_people_of_other_events_are_not_touched(registry: Registry, event: Event) -> None:
    other = await registry.create_event("other", None, "starter")
    await enrol(registry, event, "ada", "f1", name="Here")
    await enrol(registry, other, "ada", "f1", name="There")
    assert await registry.names_of(event.key, ["ada"]) == {"ada": "Here"}
    await registry.delete_person(event.key, "ada")
    assert await registry.names_of(other.key, ["ada"]) == {"ada": "There"}
    assert (await registry.get_person(other.key, "ada")).face_ids == ("f1",)


async def test_names_of_many_and_of_strangers(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1", name="Ada")
    await enrol(registry, event, "bob", "f1")
    strangers = [f"stranger{n}" for n in range(2500)]
    assert await registry.names_of(event.key, ["ada", "x", "bob"]) == {"ada": "Ada", "bob": None}
    assert await registry.names_of(event.key, [*strangers, "ada", "bob"]) == {"ada": "Ada", "bob": None}
    assert await registry.names_of(event.key, []) == {}


async def test_pages_stay_stable_while_people_come(registry: Registry, event: Event) -> None:
    for n in range(30, 50):
        await enrol(registry, event, f"p{n}", "f1", "f2", name=f"N{n}")
    seen: list[str] = []
    after = None
    for round_number in range(100):
        page = await registry.list_people(event.key, after, 7)
        assert all(each.faces == 2 for each in page.items if len(each.id) == 3)
        seen += [each.id for each in page.items]
        await enrol(registry, event, f"p{round_number:02}-early", "f1")
        after = page.next
        if after is None:
            break
    assert seen == [f"p{n}" for n in range(30, 50)]


async def test_what_a_crash_left_is_found_and_cleared(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "bob", "f1")
    await registry.begin_enrolment(event.key, "ada", None, [F1, F2])
    assert await registry.stale_enrolments(older_than_s=60) == []
    stale = await registry.stale_enrolments(older_than_s=-60)
    assert stale == [StaleEnrolment(event.key, "ada", ("f1", "f2"))]
    await registry.abandon_enrolment(
        stale[0].event_key, stale[0].person_id, stale[0].face_ids, older_than_s=-60
    )
    assert await registry.stale_enrolments(older_than_s=-60) == []
    assert not await registry.delete_person(event.key, "ada")


async def test_enrolments_and_deletions_at_once_end_in_a_known_state(
    registry: Registry, event: Event
) -> None:
    order = random.Random(7)
    some_enrolled = asyncio.Event()

    async def enrol_one(n: int) -> bool:
        person_id, face_ids = f"p{n % 4}", [f"f{n}", f"g{n % 3}"]
        await asyncio.sleep(order.random() * 0.05)
        try:
            await registry.begin_enrolment(
                event.key, person_id, f"N{n}", [NewFace(each) for each in face_ids]
            )
            await registry.finish_enrolment(event.key, person_id, face_ids)
        except (ErasedMeanwhile, UnknownEvent):
            return False
        some_enrolled.set()
        return True

    async def delete_one(n: int) -> bool:
        await asyncio.sleep(order.random() * 0.05)
        return await registry.delete_person(event.key, f"p{n % 4}")

    async def delete_event() -> None:
        # Not after a fixed time: a slow disk would have begun every enrolment by then and finished none.
        await asyncio.wait_for(some_enrolled.wait(), 60)
        await registry.begin_event_deletion(event.id)

    work = [enrol_one(n) for n in range(60)] + [delete_one(n) for n in range(20)]
    outcomes = await asyncio.gather(*work, delete_event())
    assert any(outcomes[:60])
    with pytest.raises(UnknownEvent):
        await registry.begin_enrolment(event.key, "p0", None, [F1])
    await registry.finish_event_deletion(event.key)
    assert await registry.counts(event.key) == Counts(0, 0)
    assert await registry.stale_enrolments(older_than_s=-60) == []
