"""The audit trail: nothing written is lost, what is read is newest first and no more than asked for."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from serving.audit import store
from serving.audit import trail as trail_module
from serving.audit.records import AuditEntry, AuditFilters, clean_details
from serving.audit.refusals import ANY_ACTION, Refusals
from serving.audit.trail import AuditTrail
from serving.database import Database
from serving.errors import InvalidRequest, StageUnavailable
from serving.registry.tables import OPEN, event
from serving.settings import AuditSettings

START = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
EVERYTHING = AuditFilters()


def entry(action: str = "people.enrol", **fields: Any) -> AuditEntry:
    return AuditEntry("account", action, actor="ada", actor_id="a1", **fields)


async def read_all(trail: AuditTrail, filters: AuditFilters = EVERYTHING, limit: int = 7) -> list[AuditEntry]:
    found: list[AuditEntry] = []
    cursor: str | None = None
    while True:
        page = await trail.page(filters, cursor, limit)
        assert len(page.items) <= limit
        found += page.items
        cursor = page.next
        if cursor is None:
            return found


async def wait_until_written(trail: AuditTrail) -> None:
    await asyncio.wait_for(trail.flush(), 30)


async def test_what_is_recorded_comes_back_whole(trail: AuditTrail) -> None:
    full = AuditEntry(
        actor_kind="api_key",
        actor_id="k1",
        actor="ada",
        action="people.enrol",
        event_key="key",
        event_id="gala",
        person_id="guest",
        outcome="duplicate_person",
        status=409,
        address="2001:db8::1",
        request_id="r-1",
        details={"faces": 2, "ids": ["a", "b"]},
        at=START,
    )
    assert await trail.record(full)
    (found,) = (await trail.page(EVERYTHING)).items
    assert dataclasses.replace(found, id=None) == full


async def test_concurrent_records_share_transactions(
    database: Database, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    write = database.write

    async def count(work: Any, entries: Any) -> Any:
        sizes.append(len(entries))
        return await write(work, entries)

    monkeypatch.setattr(database, "write", count)
    assert all(await asyncio.gather(*(trail.record(entry(person_id=str(n))) for n in range(200))))
    assert sum(sizes) == 200
    assert len(sizes) <= 3
    assert len(await read_all(trail)) == 200


async def test_an_entry_is_on_disk_when_record_returns(database: Database, trail: AuditTrail) -> None:
    await trail.record(entry())
    other = AuditTrail(database, AuditSettings())
    assert len((await other.page(EVERYTHING)).items) == 1


async def test_noted_entries_follow_soon_and_at_the_end(database: Database, trail: AuditTrail) -> None:
    await trail.note(entry("recognition.recognise"))
    await wait_until_written(trail)
    assert len(await read_all(trail)) == 1
    last = AuditTrail(database, AuditSettings())
    for _ in range(3):
        await last.note(entry("recognition.recognise"))
    await last.stop()
    assert len(await read_all(trail)) == 4


async def test_a_caller_that_leaves_takes_no_entry_along(trail: AuditTrail) -> None:
    recording = asyncio.create_task(trail.record(entry()))
    await asyncio.sleep(0)
    recording.cancel()
    await wait_until_written(trail)
    assert len(await read_all(trail)) == 1


async def test_while_the_database_is_away_entries_wait_and_the_service_is_not_ready(
    database: Database, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_module, "RETRY_DELAY_S", 0.01)
    write = database.write

    async def fail(*args: Any) -> Any:
        raise StageUnavailable

    trail.check()
    monkeypatch.setattr(database, "write", fail)
    assert not await trail.record(entry(person_id="one"))
    with pytest.raises(StageUnavailable):
        trail.check()
    await trail.note(entry(person_id="two"))
    monkeypatch.setattr(database, "write", write)
    await wait_until_written(trail)
    trail.check()
    assert [each.person_id for each in await read_all(trail)] == ["two", "one"]


async def test_when_memory_is_full_the_caller_is_held_up_and_what_is_lost_is_counted(
    database: Database, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RETRY_DELAY_S", 0.01), ("MAX_WAITING", 3), ("NOTE_TIMEOUT_S", 0.05)):
        monkeypatch.setattr(trail_module, name, value)
    write = database.write
    away = asyncio.Event()

    async def hang(*args: Any) -> Any:
        await away.wait()
        return await write(*args)

    monkeypatch.setattr(database, "write", hang)
    monkeypatch.setattr(trail_module, "MAX_WRITTEN", 1)
    for _ in range(3):
        await trail.note(entry())
    await asyncio.sleep(0.3)  # one of them has left for the database
    await trail.note(entry())
    for _ in range(2):
        await trail.note(entry("too.many"))
    held = asyncio.create_task(trail.note(entry("held.up")))
    await asyncio.sleep(0)
    away.set()
    await held
    await wait_until_written(trail)
    found = await read_all(trail)
    assert {each.action for each in found} == {"people.enrol", "audit.lost", "held.up"}
    assert [each.details for each in found if each.action == "audit.lost"] == [{"entries": 2}]


EVENTS = {"gala": ("g2", START + timedelta(seconds=8)), "expo": ("e1", START - timedelta(seconds=1))}
"""Key and time of those that are open; another `gala` was deleted."""


def insert_events(connection: Connection) -> None:
    rows = [
        {"key": key, "id": id, "pack_id": "p", "created_at": created_at, "state": OPEN}
        for id, (key, created_at) in EVENTS.items()
    ]
    connection.execute(insert(event), rows)


async def test_pages_and_filters_agree_with_a_list_in_memory(
    database: Database, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.write(insert_events)
    monkeypatch.setattr(store, "SCANNED_ROWS", 9)
    rng = random.Random(5)
    made = [
        AuditEntry(
            "account",
            rng.choice(["people.enrol", "people.delete"]),
            rng.choice(["ok", "no_face"]),
            actor=rng.choice(["ada", "bob"]),
            event_key=event_key,
            event_id=rng.choice(
                {"g1": ["gala"], "g2": ["gala"], "e1": ["expo"]}.get(event_key, [*EVENTS, None])
            ),
            person_id=rng.choice(["x", "y", None]),
            at=START + timedelta(seconds=rng.randrange(20)),
        )
        for event_key in rng.choices(["g1", "g2", "e1", None], k=60)
    ]
    for each in made:
        await trail.record(each)
    newest_first = sorted(await read_all(trail), key=lambda each: (each.at, each.id), reverse=True)
    assert await read_all(trail) == newest_first
    assert len(newest_first) == 60
    names = {"event": "event_id", "person": "person_id", "actor": "actor", "action": "action"}
    for _ in range(40):
        asked: dict[str, Any] = {
            name: rng.choice([getattr(each, field) for each in made])
            for name, field in {**names, "outcome": "outcome"}.items()
            if rng.random() < 0.3
        }
        if rng.random() < 0.5:
            asked["since"] = START + timedelta(seconds=rng.randrange(20))
        if rng.random() < 0.5:
            asked["until"] = START + timedelta(seconds=rng.randrange(20))
        if rng.random() < 0.5:
            asked["events"] = frozenset(rng.sample(["gala", "expo", "none"], rng.randrange(3)))
        filters = AuditFilters(**asked)
        expected = [each for each in newest_first if wanted(filters, each)]
        assert await read_all(trail, filters, rng.randrange(1, 12)) == expected, filters
        assert [each async for each in trail.export(filters)] == expected


def wanted(filters: AuditFilters, each: AuditEntry) -> bool:
    pairs = [
        (filters.event, each.event_id),
        (filters.person, each.person_id),
        (filters.actor, each.actor),
        (filters.action, each.action),
        (filters.outcome, each.outcome),
    ]
    return (
        all(asked in (None, value) for asked, value in pairs)
        and (filters.since is None or each.at >= filters.since)
        and (filters.until is None or each.at < filters.until)
        and (filters.events is None or (each.event_id in filters.events and is_of_event_now(each)))
    )


def is_of_event_now(each: AuditEntry) -> bool:
    key, created_at = EVENTS.get(each.event_id or "", ("", START))
    return each.event_key == key if each.event_key else bool(key) and each.at >= created_at


@pytest.mark.parametrize(
    "cursor",
    ["!", "YXVkaXQveA", "YXVkaXQvMjAyNnx4", "ZXZlbnQvYQ", "x" * 500,
     "YXVkaXQvMDAwMS0wMS0wMVQwMDowMDowMCsxNDowMHwx"],  # no moment in UTC
)  # fmt: skip
async def test_cursors_of_nothing(trail: AuditTrail, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        await trail.page(EVERYTHING, cursor)


async def test_what_is_old_is_purged(trail: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PURGED_ROWS", 2)
    now = datetime.now(timezone.utc)
    for days in (1, 364, 366, 400, 500, 900, 1000):
        await trail.record(entry(person_id=str(days), at=now - timedelta(days=days)))
    assert await trail.purge() == 5
    assert [each.person_id for each in await read_all(trail)] == ["1", "364"]
    assert await trail.purge(timedelta(days=2)) == 1
    assert await trail.purge() == 0


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"faces": 2, "all": True, "kind": "archive"}, None),
        ({"ids": ["a", "b"]}, None),
        ({"vector": [0.1, 0.2], "faces": 1}, {"faces": 1}),
        ({"vector": [1, 2]}, {}),
        ({"score": 0.5}, {}),
        ({"picture": b"\xff\xd8"}, {}),
        ({"picture": "A" * 129}, {}),
        ({"ids": ["x"] * 30}, {"ids": ["x"] * 20}),
        ({"ids": ["x" * 200]}, {}),
        ({"text": "a\nb"}, {}),
        ({"inner": {"a": 1}}, {}),
        ({str(n): n for n in range(40)}, {str(n): n for n in range(16)}),
    ],
)
def test_details_hold_counts_and_ids(given: dict[str, Any], kept: dict[str, Any] | None) -> None:
    assert clean_details(given) == (given if kept is None else kept or None)


async def test_a_thousand_refusals_are_two_entries_per_origin_and_minute() -> None:
    written: list[AuditEntry] = []
    refusals = Refusals(written.append)
    stranger = AuditEntry("anonymous", "people.enrol", "token_missing", event_id="gala", status=401)
    known = entry("people.delete", outcome="forbidden")
    first = [
        refusals.is_first(each, origin) for origin in ("a", "b") for each in [stranger] * 500 + [known] * 3
    ]
    assert sum(first) == 4
    refusals.end_window()
    counts = {(each.action, each.outcome): each.details for each in written}
    assert counts == {
        (ANY_ACTION, "token_missing"): {"repeated": 499},
        ("people.delete", "forbidden"): {"repeated": 2},
    }
    assert len(written) == 4
    assert refusals.is_first(stranger, "a")


async def test_refusals_from_everywhere_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.audit.refusals.MAX_CALLERS", 10)
    written: list[AuditEntry] = []
    refusals = Refusals(written.append)
    stranger = AuditEntry("anonymous", "people.enrol", "token_missing")
    assert sum(refusals.is_first(stranger, str(n)) for n in range(1000)) == 10
    assert len(refusals._repeated) == 11
    refusals.end_window()
    assert [each.details for each in written] == [{"repeated": 990}]
