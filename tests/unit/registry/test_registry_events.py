from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from serving.errors import EventExists, InvalidRequest, UnknownEvent
from serving.registry import Counts, NewFace, Registry
from serving.registry.records import EventFields


async def enrol(registry: Registry, event_key: str, person_id: str, *face_ids: str) -> None:
    await registry.begin_enrolment(event_key, person_id, None, [NewFace(each, 0.9) for each in face_ids])
    await registry.finish_enrolment(event_key, person_id, face_ids)


async def test_an_event_is_found_as_it_was_created(registry: Registry) -> None:
    created = await registry.create_event("gala-2030", "Gala ✨", "starter", {"threshold": 0.93})
    found = await registry.get_event("gala-2030")
    assert (found.key, found.id, found.name, found.pack_id) == (
        created.key,
        "gala-2030",
        "Gala ✨",
        "starter",
    )
    assert found.threshold == pytest.approx(0.93)
    assert found.created_at == created.created_at
    assert found.created_at.tzinfo == timezone.utc
    assert abs(datetime.now(timezone.utc) - found.created_at) < timedelta(minutes=1)
    assert found.state == "open"


async def test_an_id_is_made_up_when_none_is_given(registry: Registry) -> None:
    first = await registry.create_event(None, None, "starter")
    second = await registry.create_event(None, None, "starter")
    assert first.id != second.id
    assert (await registry.get_event(first.id)).key == first.key


async def test_a_taken_id_is_refused_and_case_counts(registry: Registry) -> None:
    await registry.create_event("gala", None, "starter")
    with pytest.raises(EventExists):
        await registry.create_event("gala", None, "starter")
    await registry.create_event("Gala", None, "starter")


async def test_of_many_creations_at_once_one_succeeds(registry: Registry) -> None:
    outcomes = await asyncio.gather(
        *(registry.create_event("gala", str(n), "starter") for n in range(8)), return_exceptions=True
    )
    assert sum(isinstance(each, EventExists) for each in outcomes) == 7


@pytest.mark.parametrize("threshold", [1.01, -1.01, float("nan"), float("inf")])
async def test_a_threshold_is_a_cosine(registry: Registry, threshold: float) -> None:
    with pytest.raises(InvalidRequest):
        await registry.create_event("gala", None, "starter", {"threshold": threshold})


@pytest.mark.parametrize("event_id", ["nothing", "", "' OR 1=1 --", "a/b", "\x00", "x" * 500])
async def test_an_event_that_is_not_there_is_unknown(registry: Registry, event_id: str) -> None:
    await registry.create_event("gala", None, "starter")
    with pytest.raises(UnknownEvent):
        await registry.get_event(event_id)
    with pytest.raises(UnknownEvent):
        await registry.begin_event_deletion(event_id)


async def test_deletion_hides_the_event_at_once_and_can_be_repeated(registry: Registry) -> None:
    created = await registry.create_event("gala", None, "starter")
    await enrol(registry, created.key, "ada", "f1")
    begun = await registry.begin_event_deletion("gala")
    assert (begun.key, begun.state) == (created.key, "deleting")
    with pytest.raises(UnknownEvent):
        await registry.get_event("gala")
    assert (await registry.list_events()).items == ()
    assert [each.key for each in await registry.deleting_events()] == [created.key]
    assert (await registry.begin_event_deletion("gala")).key == created.key

    await registry.finish_event_deletion(created.key)
    await registry.finish_event_deletion(created.key)
    assert await registry.deleting_events() == []
    assert await registry.counts(created.key) == Counts(0, 0)
    assert await registry.names_of(created.key, ["ada"]) == {}
    with pytest.raises(UnknownEvent):
        await registry.begin_event_deletion("gala")


async def test_an_open_event_is_not_removed_by_finish(registry: Registry) -> None:
    created = await registry.create_event("gala", None, "starter")
    await registry.finish_event_deletion(created.key)
    assert (await registry.get_event("gala")).key == created.key


async def test_a_recreated_event_has_a_new_key_and_nobody_in_it(registry: Registry) -> None:
    old = await registry.create_event("gala", None, "starter")
    await enrol(registry, old.key, "ada", "f1")
    await registry.begin_event_deletion("gala")
    new = await registry.create_event("gala", None, "starter")
    assert new.key != old.key
    assert (await registry.get_event("gala")).key == new.key
    assert await registry.names_of(new.key, ["ada"]) == {}

    # Two halves of a deletion may now be open under one id: the newest is closed first, none is lost.
    assert (await registry.begin_event_deletion("gala")).key == new.key
    assert {each.key for each in await registry.deleting_events()} == {old.key, new.key}
    await registry.finish_event_deletion(new.key)
    assert (await registry.begin_event_deletion("gala")).key == old.key


async def test_lists_count_people_and_faces_of_each_event(registry: Registry) -> None:
    first = await registry.create_event("a", None, "starter")
    await registry.create_event("b", None, "starter")
    await enrol(registry, first.key, "ada", "f1", "f2")
    await enrol(registry, first.key, "bob", "f1")
    await registry.begin_enrolment(first.key, "cyd", None, [NewFace("f1")])
    page = await registry.list_events()
    assert [(each.id, each.people, each.faces) for each in page.items] == [("a", 2, 3), ("b", 0, 0)]
    assert page.next is None
    assert await registry.counts(first.key) == Counts(2, 3)


async def test_lists_can_be_restricted(registry: Registry) -> None:
    for event_id in ("a", "b", "c"):
        await registry.create_event(event_id, None, "starter")
    page = await registry.list_events(only={"c", "a", "zzz"})
    assert [each.id for each in page.items] == ["a", "c"]
    assert (await registry.list_events(only=set())).items == ()


async def test_pages_stay_stable_while_events_come_and_go(registry: Registry) -> None:
    for n in range(20, 40):
        await registry.create_event(f"e{n}", None, "starter")
    seen: list[str] = []
    after = None
    for round_number in range(100):
        page = await registry.list_events(after, 3)
        seen += [each.id for each in page.items]
        await registry.create_event(f"e{round_number:02}-before", None, "starter")
        if round_number == 2:
            await registry.begin_event_deletion(page.items[-1].id)  # the very event the cursor stands behind
        after = page.next
        if after is None:
            break
    original = [each for each in seen if "before" not in each]
    assert original == [f"e{n}" for n in range(20, 40)]
    assert len(seen) == len(set(seen))


async def test_order_is_by_code_point_on_every_engine(registry: Registry) -> None:
    for event_id in ("b", "B", "a-b", "a.b", "a_b", "ab", "A", "1", "aB"):
        await registry.create_event(event_id, None, "starter")
    page = await registry.list_events()
    found = [each.id for each in page.items]
    assert found == sorted(found)
    assert len(found) == 9


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_limits_have_bounds(registry: Registry, limit: int) -> None:
    with pytest.raises(InvalidRequest):
        await registry.list_events(None, limit)
    with pytest.raises(InvalidRequest):
        await registry.list_people("k", None, limit)


FIELDS: EventFields = {
    "name": "Gala ✨",
    "threshold": None,
    "target_false_match_rate": None,
    "strictness": "strict",
    "request_policy": "none",
    "quality_level": "off",
    "retention_days": 3660,
    "consent_required": True,
}


async def test_every_field_is_kept_and_changed_for_itself(registry: Registry) -> None:
    other = await registry.create_event("other", None, "starter")
    plain = await registry.create_event("gala", None, "starter")
    assert plain == replace(plain, request_policy="stricter", retention_days=None, consent_required=False)
    expected = plain
    for name, value in FIELDS.items():
        changed = await registry.update_event(plain.key, {name: value})  # type: ignore[misc]
        expected = replace(expected, **{name: value})
        assert changed == expected == await registry.get_event("gala")
    assert await registry.update_event(plain.key, {}) == expected
    full = await registry.create_event("full", FIELDS["name"], "starter", FIELDS)
    same = {"key": plain.key, "partition": plain.partition, "created_at": plain.created_at}
    assert replace(full, id="gala", **same) == expected
    assert await registry.get_event("other") == other


async def test_a_policy_takes_the_place_of_one_in_another_form(registry: Registry) -> None:
    forms: dict[str, object] = {"threshold": 0.9, "target_false_match_rate": 1e-3, "strictness": "lenient"}
    gala = await registry.create_event("gala", None, "starter", {"strictness": "strict"})
    for name, value in [*forms.items(), ("threshold", 0.8)]:
        changed = await registry.update_event(gala.key, {name: value})  # type: ignore[misc]
        found = {form: getattr(changed, form) for form in forms}
        assert found == pytest.approx({**dict.fromkeys(forms), name: value})
    cleared = await registry.update_event(gala.key, {"threshold": None})
    assert [getattr(cleared, form) for form in forms] == [None] * 3


@pytest.mark.parametrize(
    "fields",
    [
        {"threshold": 0.9, "strictness": "strict"},
        {"threshold": float("nan")},
        {"target_false_match_rate": 0.0},
        {"target_false_match_rate": float("nan")},
        {"target_false_match_rate": 1.5},
        {"strictness": "severe"},
        {"request_policy": None},
        {"quality_level": "high"},
        {"retention_days": 0},
        {"retention_days": 3661},
        {"consent_required": None},
        {"name": " "},
    ],
)
async def test_what_an_event_cannot_have(registry: Registry, fields: Any) -> None:
    gala = await registry.create_event("gala", None, "starter")
    with pytest.raises(InvalidRequest):
        await registry.update_event(gala.key, fields)
    if "name" not in fields:
        with pytest.raises(InvalidRequest):
            await registry.create_event("fair", None, "starter", fields)
    assert [each.id for each in (await registry.list_events()).items] == ["gala"]
    assert await registry.get_event("gala") == gala


async def test_closing_and_reopening_may_be_repeated(registry: Registry) -> None:
    gala = await registry.create_event("gala", None, "starter")
    closed = await registry.close_event(gala.key)
    assert closed.closed_at is not None
    assert abs(closed.closed_at - datetime.now(timezone.utc)) < timedelta(minutes=1)
    again = await asyncio.gather(*(registry.close_event(gala.key) for _ in range(4)))
    assert {each.closed_at for each in again} == {closed.closed_at}
    assert [each.id for each in (await registry.list_events(closed=True)).items] == ["gala"]
    assert (await registry.list_events(closed=False)).items == ()
    for _ in range(2):
        assert await registry.reopen_event(gala.key) == gala
    assert (await registry.list_events(closed=True)).items == ()


async def test_an_event_that_is_being_deleted_cannot_be_changed(registry: Registry) -> None:
    gala = await registry.create_event("gala", None, "starter")
    await registry.begin_event_deletion("gala")
    for attempt in (
        registry.update_event(gala.key, {"name": "x"}),
        registry.update_event(gala.key, {}),
        registry.close_event(gala.key),
        registry.reopen_event(gala.key),
    ):
        with pytest.raises(UnknownEvent):
            await attempt


async def test_changes_at_once_lose_none(registry: Registry) -> None:
    gala = await registry.create_event("gala", None, "starter")
    changes: list[EventFields] = [
        {"name": "Gala"},
        {"retention_days": 5},
        {"quality_level": "strict"},
        {"consent_required": True},
        {"request_policy": "any"},
        {"threshold": 0.5},
    ]
    await asyncio.gather(
        *(registry.update_event(gala.key, each) for each in changes), registry.close_event(gala.key)
    )
    found = await registry.get_event("gala")
    assert found.closed_at is not None
    for each in changes:
        assert {name: getattr(found, name) for name in each} == each
