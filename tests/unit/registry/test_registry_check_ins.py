"""Arrivals: counted once, by however many, and gone with the person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta, timezone

import pytest
import pytest_asyncio

from serving.database import Database
from serving.errors import InvalidRequest, UnknownPerson
from serving.registry import Registry, check_ins
from serving.registry.attendance import CheckIns, check_place
from serving.registry.check_ins import MIN_INTERVAL_S, Attendance, Sighting
from serving.registry.paging import write_cursor
from serving.registry.records import NewFace

START = datetime(2026, 5, 1, 18, tzinfo=timezone.utc)


@pytest_asyncio.fixture
async def book(database_url: str) -> AsyncIterator[tuple[Registry, CheckIns]]:
    database = Database(database_url)
    registry = Registry(database)
    await registry.open()
    yield registry, CheckIns(database)
    await registry.close()


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock to so many seconds after the start."""

    def set_clock(seconds: float) -> None:
        monkeypatch.setattr(check_ins, "now_utc", lambda: START + timedelta(seconds=seconds))

    set_clock(0)
    return set_clock


async def enrol(registry: Registry, event_key: str, *people: str) -> None:
    for id in people:
        await registry.begin_enrolment(event_key, id, id.title(), [NewFace("f")])
        await registry.finish_enrolment(event_key, id, ["f"])


async def open_event(registry: Registry, *people: str, id: str = "gala") -> str:
    key = (await registry.create_event(id, None, "starter")).key
    await enrol(registry, key, *people)
    return key


async def test_a_person_arrives_once_and_comes_again_only_after_a_while(
    book: tuple[Registry, CheckIns], at: Callable[[float], None]
) -> None:
    registry, arrivals = book
    key = await open_event(registry, "ada")
    # (seconds, cosine, place) of a sighting, and what is known then: times, best cosine, place, last seen
    table = [
        (0, 0.95, "north door", (1, 0.95, "north door", 0)),
        (1, 0.97, None, (1, 0.97, "north door", 1)),
        (1 + MIN_INTERVAL_S - 0.001, 0.96, None, (1, 0.97, "north door", 1 + MIN_INTERVAL_S - 0.001)),
        (11, 0.9, None, (1, 0.97, "north door", 11)),  # stood there all the time
        (11 + MIN_INTERVAL_S, 0.9, "bar", (2, 0.97, "bar", 11 + MIN_INTERVAL_S)),
        (15, 0.99, None, (2, 0.99, "bar", 11 + MIN_INTERVAL_S)),  # a replica whose clock is behind
    ]
    for place, (seconds, cosine, door, expected) in enumerate(table):
        at(seconds)
        arrival = (await arrivals.record(key, {"ada": Sighting(cosine, door)}))["ada"]
        last_s = (arrival.last_at - START).total_seconds()
        assert (arrival.times, arrival.best_cosine, arrival.place, last_s) == expected, place
        assert (arrival.name, arrival.first_at, arrival.is_new) == ("Ada", START, place == 0)


async def test_one_of_many_replicas_makes_a_person_arrive(database_url: str) -> None:
    registries = [Registry(Database(database_url)) for _ in range(3)]
    for registry in registries:
        await registry.open()
    books = [CheckIns(registry._database) for registry in registries]
    key = await open_event(registries[0], "ada", "bob", "cleo")
    people = ["ada", "bob", "cleo"]
    answers = await asyncio.gather(
        *(
            each.record(key, {id: Sighting(0.9 + n / 1000) for id in (people if n % 2 else people[::-1])})
            for n in range(8)
            for each in books
        )
    )
    for id in people:
        assert sum(answer[id].is_new for answer in answers) == 1
    page = await books[0].page(key)
    assert [(each.times, each.best_cosine) for each in page.items] == [(1, pytest.approx(0.907))] * 3
    for registry in registries:
        await registry.close()


async def test_only_enrolled_people_of_this_very_event_arrive(book: tuple[Registry, CheckIns]) -> None:
    registry, arrivals = book
    gala = await open_event(registry, "ada")
    fair = await open_event(registry, "bob", id="fair")
    await registry.begin_enrolment(gala, "pending", None, [NewFace("f")])
    seen = {id: Sighting(0.9) for id in ("ada", "bob", "pending", "nobody")}
    assert set(await arrivals.record(gala, seen)) == {"ada"}
    assert await arrivals.record(gala, {}) == {}
    assert await arrivals.count(gala) == Attendance(1, 1, 1)
    assert await arrivals.count(fair) == Attendance(1, 0, 0)
    assert (await arrivals.page(fair)).items == ()
    await registry.begin_event_deletion("gala")
    assert await arrivals.record(gala, {"ada": Sighting(0.9)}) == {}
    await registry.finish_event_deletion(gala)
    assert await arrivals.count(gala) == Attendance(0, 0, 0)


async def test_erasing_a_person_erases_the_arrival(book: tuple[Registry, CheckIns]) -> None:
    registry, arrivals = book
    key = await open_event(registry, "ada", "bob")
    await arrivals.record(key, {"ada": Sighting(0.9), "bob": Sighting(0.9)})
    await registry.delete_person(key, "ada")
    assert [each.person_id for each in (await arrivals.page(key)).items] == ["bob"]
    await enrol(registry, key, "ada")
    assert await arrivals.count(key) == Attendance(2, 1, 1)
    assert (await arrivals.record(key, {"ada": Sighting(0.9)}))["ada"].is_new


async def test_the_latest_come_first_page_by_page(
    book: tuple[Registry, CheckIns], at: Callable[[float], None]
) -> None:
    registry, arrivals = book
    people = [f"p{n}" for n in range(7)]
    key = await open_event(registry, *people)
    moments = [5, 1, 3, 3, 3, 9, 0]
    for id, seconds in zip(people, moments, strict=True):
        at(seconds + 0.000001)
        await arrivals.record(key, {id: Sighting(0.9)})
    expected = [id for _, id in sorted(zip(moments, people, strict=True), reverse=True)]
    for limit in (1, 2, 3, 7, 8):
        found: list[str] = []
        cursor = None
        while True:
            page = await arrivals.page(key, cursor, limit)
            found += [each.person_id for each in page.items]
            cursor = page.next
            if cursor is None:
                break
            assert len(page.items) == limit
        assert found == expected
    since = START + timedelta(seconds=3, microseconds=1)
    assert [each.person_id for each in (await arrivals.page(key, since=since)).items] == expected[:5]
    later = since + timedelta(microseconds=1)
    assert [each.person_id for each in (await arrivals.page(key, since=later)).items] == expected[:2]


@pytest.mark.parametrize("inside", ["", "5", "x/ada", "-1/ada", "9" * 30 + "/ada", "٣/ada"])
async def test_cursors_of_nothing(book: tuple[Registry, CheckIns], inside: str) -> None:
    with pytest.raises(InvalidRequest):
        await book[1].page("key", write_cursor(check_ins.CURSOR_KIND, inside))
    with pytest.raises(InvalidRequest):
        await book[1].page("key", write_cursor("person", "5/ada"))


async def test_counting_the_last_hour(book: tuple[Registry, CheckIns], at: Callable[[float], None]) -> None:
    registry, arrivals = book
    key = await open_event(registry, "ada", "bob", "cleo")
    await arrivals.record(key, {"ada": Sighting(0.9)})
    at(3599)
    await arrivals.record(key, {"bob": Sighting(0.9)})
    assert await arrivals.count(key) == Attendance(3, 2, 2)
    at(3600)
    assert await arrivals.count(key) == Attendance(3, 2, 1)


async def test_an_arrival_can_be_undone(book: tuple[Registry, CheckIns]) -> None:
    registry, arrivals = book
    key = await open_event(registry, "ada")
    assert not await arrivals.remove(key, "ada")
    await arrivals.record(key, {"ada": Sighting(0.9)})
    assert await arrivals.remove(key, "ada")
    assert (await arrivals.page(key)).items == ()
    assert (await arrivals.record(key, {"ada": Sighting(0.9)}))["ada"].is_new
    for unknown in ("nobody", "no\x00body", ""):
        with pytest.raises(UnknownPerson):
            await arrivals.remove(key, unknown)


@pytest.mark.parametrize("place", ["", " ", "x" * 101, "a\nb", "a\x00b", "\ud800", "a\u2028b"])
async def test_places_are_printable(book: tuple[Registry, CheckIns], place: str) -> None:
    with pytest.raises(InvalidRequest):
        await book[1].record("key", {"ada": Sighting(0.9, place)})


@pytest.mark.parametrize("place", [None, "x", "x" * 100, "Tür 2 — Nord 🚪"])
def test_places_that_will_do(place: str | None) -> None:
    assert check_place(place) == place
