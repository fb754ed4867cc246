"""Metadata, consent, search by name and single faces."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import (
    ConsentRequired,
    ErasedMeanwhile,
    EventClosed,
    InvalidRequest,
    UnknownFace,
    UnknownPerson,
)
from serving.registry import Event, NewFace, Registry, people
from serving.registry.person_details import check_metadata, fold_name, merge_patch


@pytest.fixture
async def event(registry: Registry) -> Event:
    return await registry.create_event("gala", None, "starter")


async def enrol(
    registry: Registry, event: Event, person_id: str, *face_ids: str, name: str | None = None, **details: Any
) -> None:
    faces = [NewFace(each, 0.9) for each in face_ids]
    await registry.begin_enrolment(event.key, person_id, name, faces, **details)
    await registry.finish_enrolment(event.key, person_id, face_ids, name, **details)


async def test_details_are_kept_and_shown(registry: Registry, event: Event) -> None:
    metadata = {"table": 7, "tags": ["vip", "Ł\u2028"], "seat": {"row": None, "x": 1.5}}
    await enrol(registry, event, "ada", "f1", name="Ada", metadata=metadata, consent_reference="form 1/§")
    person = await registry.get_person(event.key, "ada")
    assert (person.metadata, person.consent_reference) == (metadata, "form 1/§")
    [summary] = (await registry.list_people(event.key)).items
    assert (summary.metadata, summary.consent_reference) == (metadata, "form 1/§")
    await enrol(registry, event, "ada", "f2")
    again = await registry.get_person(event.key, "ada")
    assert (again.name, again.metadata, again.consent_reference) == ("Ada", metadata, "form 1/§")
    await enrol(registry, event, "ada", "f3", metadata={}, consent_reference="form 2")
    last = await registry.get_person(event.key, "ada")
    assert (last.metadata, last.consent_reference) == (None, "form 2")


async def test_details_of_an_enrolment_that_is_not_finished_change_nobody(
    registry: Registry, event: Event
) -> None:
    await enrol(registry, event, "ada", "f1", metadata={"a": 1}, consent_reference="c1")
    before = await registry.get_person(event.key, "ada")
    begun = await registry.begin_enrolment(
        event.key, "ada", None, [NewFace("f2")], metadata={"b": 2}, consent_reference="c2"
    )
    assert (begun.metadata, begun.consent_reference, begun.face_ids) == ({"a": 1}, "c1", ("f1",))
    assert await registry.get_person(event.key, "ada") == before


BAD_METADATA: dict[str, Any] = {
    "too many bytes": {"a": "é" * 2050},
    "too deep": {"a": {"b": {"c": {}}}},
    "too deep in lists": {"a": [[[]]]},
    "not finite": {"a": float("nan")},
    "infinite": {"a": [float("inf")]},
    "a lone surrogate": {"a": "\ud800"},
    "NUL": {"a": "x\0"},
    "NUL in a key": {"x\0": 1},
    "a number that readers round": {"a": 2**53 + 1},
    "not JSON": {"a": {1, 2}},
    "a list": [1],
    "a text": "x",
}


@pytest.mark.parametrize("metadata", BAD_METADATA.values(), ids=BAD_METADATA.keys())
def test_metadata_have_bounds(metadata: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_metadata(metadata)
    assert caught.value.context["field"] == "metadata"


def test_metadata_at_the_very_bounds_are_taken() -> None:
    for metadata in ({"a": "x" * (4096 - 8)}, {"a": {"b": {"c": 1}}}, {"a": [[1]], "b": -(2**53)}, {}):
        assert check_metadata(metadata) == metadata


@pytest.mark.parametrize("reference", ["", "   ", "x" * 201, "a\nb", "a\0", "\ud800"])
async def test_bad_consent_references_are_refused(registry: Registry, event: Event, reference: str) -> None:
    with pytest.raises(InvalidRequest):
        await enrol(registry, event, "ada", "f1", consent_reference=reference)
    with pytest.raises(InvalidRequest):
        await registry.update_person(event.key, "ada", {"consent_reference": reference})


MERGES = [  # the examples of RFC 7396, appendix A, whose target and patch are objects
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), MERGES)
def test_merge_patches(target: Any, patch: Any, result: Any) -> None:
    before = repr(target)
    assert merge_patch(target, patch) == result
    assert repr(target) == before


async def test_a_person_is_changed_by_a_merge_patch(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1", name="Ada", metadata={"a": 1, "b": {"c": 2}})
    before = await registry.get_person(event.key, "ada")
    changed = await registry.update_person(
        event.key, "ada", {"name": "ÅSA", "metadata": {"a": None, "b": {"d": 3}}}
    )
    assert (changed.name, changed.metadata) == ("ÅSA", {"b": {"c": 2, "d": 3}})
    assert changed.updated_at > before.updated_at
    assert changed == await registry.get_person(event.key, "ada")
    assert [each.id for each in (await registry.list_people(event.key, name="åsa")).items] == ["ada"]
    assert (await registry.list_people(event.key, name="ada")).items == ()
    cleared = await registry.update_person(event.key, "ada", {"name": None, "metadata": None})
    assert (cleared.name, cleared.metadata, cleared.face_ids) == (None, None, ("f1",))
    assert (await registry.list_people(event.key, name="åsa")).items == ()
    with pytest.raises(UnknownPerson):
        await registry.update_person(event.key, "bob", {"name": "Bob"})


async def test_metadata_do_not_outgrow_their_bounds_by_merging(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1", metadata={"a": "x" * 3000})
    with pytest.raises(InvalidRequest):
        await registry.update_person(event.key, "ada", {"metadata": {"b": "x" * 3000}})
    assert (await registry.get_person(event.key, "ada")).metadata == {"a": "x" * 3000}


async def test_changes_at_once_are_all_kept(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1")
    changes = [{"metadata": {f"k{n}": n}} for n in range(12)]
    await asyncio.gather(*(registry.update_person(event.key, "ada", each) for each in changes))
    assert (await registry.get_person(event.key, "ada")).metadata == {f"k{n}": n for n in range(12)}


async def test_an_event_may_ask_for_consent(registry: Registry) -> None:
    event = await registry.create_event("gala", None, "starter", {"consent_required": True})
    for person_id in (None, "ada"):
        with pytest.raises(ConsentRequired):
            await registry.begin_enrolment(event.key, person_id, "Ada", [NewFace("f1")])
    await registry.begin_enrolment(event.key, "eve", None, [NewFace("f1")], consent_reference="unfinished")
    with pytest.raises(ConsentRequired):  # what was never finished is no consent
        await registry.begin_enrolment(event.key, "eve", None, [NewFace("f1")])
    await enrol(registry, event, "ada", "f1", consent_reference="c1")
    await enrol(registry, event, "ada", "f2")
    with pytest.raises(ConsentRequired):
        await registry.update_person(event.key, "ada", {"consent_reference": None})
    changed = await registry.update_person(event.key, "ada", {"consent_reference": "c2"})
    assert (changed.consent_reference, len(changed.face_ids)) == ("c2", 2)


async def test_nobody_is_enrolled_at_a_closed_event(registry: Registry, event: Event) -> None:
    await registry.begin_enrolment(event.key, "ada", None, [NewFace("f1")])
    await registry.close_event(event.key)
    with pytest.raises(EventClosed):
        await registry.begin_enrolment(event.key, "ada", None, [NewFace("f2")])
    await registry.finish_enrolment(event.key, "ada", ["f1"])  # what was begun in time is kept


async def test_who_must_be_enrolled_already_is_not_created(registry: Registry, event: Event) -> None:
    begin = registry.begin_enrolment
    with pytest.raises(UnknownPerson):
        await begin(event.key, "ada", None, [NewFace("f1")], must_exist=True)
    await begin(event.key, "ada", None, [NewFace("f1")])
    with pytest.raises(UnknownPerson):  # begun is not enrolled
        await begin(event.key, "ada", None, [NewFace("f2")], must_exist=True)
    await registry.finish_enrolment(event.key, "ada", ["f1"])
    await begin(event.key, "ada", None, [NewFace("f2")], must_exist=True)


async def pages_of(registry: Registry, event: Event, name: str, limit: int) -> tuple[list[str], int]:
    found: list[str] = []
    after, pages = None, 0
    while True:
        page = await registry.list_people(event.key, after, limit, name)
        assert len(page.items) <= limit
        found += [each.id for each in page.items]
        after, pages = page.next, pages + 1
        if after is None:
            return found, pages


NAMES = {
    "p1": "Ada Lovelace", "p2": "ADA LOVELACE", "p3": "Adam", "p4": "100 % sure", "p5": "under_score",
    "p6": "back\\slash", "p7": "Straße", "p8": "ŁUKASZ", "p9": None, "pa": "underXscore", "pb": "1000 sure",
}  # fmt: skip
SEARCHES = {
    "ada": ["p1", "p2", "p3"], "LOVE": ["p1", "p2"], "a l": ["p1", "p2"], "%": ["p4"], "_": ["p5"],
    "\\": ["p6"], "strasse": ["p7"], "ß": ["p7"], "łuk": ["p8"], "nobody": [], "r_s": ["p5"], "0 %": ["p4"],
    "'": [],
}  # fmt: skip


async def test_search_by_name(registry: Registry, event: Event) -> None:
    other = await registry.create_event("other", None, "starter")
    await enrol(registry, other, "p0", "f1", name="Ada elsewhere")
    await registry.begin_enrolment(event.key, "px", "Ada unfinished", [NewFace("f1")])
    for person_id, name in NAMES.items():
        await enrol(registry, event, person_id, "f1", name=name)
    for text, expected in SEARCHES.items():
        for limit in (1, 2, 100):
            assert (await pages_of(registry, event, text, limit))[0] == expected, (text, limit)
    for bad in ("", " ", "x" * 201, "a\0"):
        with pytest.raises(InvalidRequest):
            await registry.list_people(event.key, name=bad)


async def test_a_page_of_a_search_looks_at_so_many_people_and_no_more(
    registry: Registry, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(10):
        await enrol(registry, event, f"p{n}", "f1", name="Ada" if n in (1, 8) else "Bob")
    for scanned, limit, pages in ((3, 5, 4), (3, 1, 4), (5, 1, 3), (10, 5, 2), (11, 5, 1)):
        monkeypatch.setattr(people, "SCANNED_PEOPLE", scanned)
        assert await pages_of(registry, event, "ada", limit) == (["p1", "p8"], pages), (scanned, limit)


async def test_faces_are_listed_in_pages(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", *(f"f{n}" for n in range(5)))
    await enrol(registry, event, "bob", "f1")
    await registry.begin_enrolment(event.key, "ada", None, [NewFace("f7")])
    seen: list[str] = []
    after = None
    while True:
        page = await registry.list_faces(event.key, "ada", after, 2)
        seen += [face.id for face in page.items]
        assert all(face.detection_score == 0.9 for face in page.items)
        after = page.next
        if after is None:
            break
    assert seen == [f"f{n}" for n in range(5)]
    for nobody in ("eve", "a/b"):
        with pytest.raises(UnknownPerson):
            await registry.list_faces(event.key, nobody)


async def test_a_face_is_removed_and_the_person_stays(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1", "f2")
    await enrol(registry, event, "bob", "f1")
    before = await registry.get_person(event.key, "ada")
    assert (await registry.get_face(event.key, "ada", "f1")).detection_score == 0.9
    assert await registry.delete_face(event.key, "ada", "f1")
    assert not await registry.delete_face(event.key, "ada", "f1")
    with pytest.raises(UnknownFace):
        await registry.get_face(event.key, "ada", "f1")
    after = await registry.get_person(event.key, "ada")
    assert after.face_ids == ("f2",)
    assert after.updated_at > before.updated_at
    assert await registry.delete_face(event.key, "ada", "f2")
    assert (await registry.get_person(event.key, "ada")).face_ids == ()
    assert (await registry.get_person(event.key, "bob")).face_ids == ("f1",)
    with pytest.raises(UnknownPerson):
        await registry.get_face(event.key, "eve", "f1")


async def test_removing_a_face_defeats_its_running_enrolment(registry: Registry, event: Event) -> None:
    await enrol(registry, event, "ada", "f1")
    await registry.begin_enrolment(event.key, "ada", None, [NewFace("f1")])
    assert await registry.delete_face(event.key, "ada", "f1")
    with pytest.raises(ErasedMeanwhile):
        await registry.finish_enrolment(event.key, "ada", ["f1"])


@given(st.text(min_size=1, max_size=200))
def test_a_folded_name_fits_its_column(name: str) -> None:
    assert len(fold_name(name)) <= 600
    assert fold_name(name) == name.casefold()
