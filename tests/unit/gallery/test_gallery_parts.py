"""Ids, grouping, retries and the factory, without an engine."""

import asyncio
import json
import pickle
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client.models import StrictModeConfig

from serving.errors import ConfigurationError, DeadlineExceeded, InternalError, StageUnavailable
from serving.gallery import FacePage, FaceRecord, Probe, connect_gallery, point_id
from serving.gallery.engines import connect_server
from serving.gallery.grouping import MAX_POINTS_PER_PROBE, ScoredPoint, first_limit, plan_search, rank_people
from serving.gallery.records import (
    MAX_PAGE_FACES,
    Vector,
    check_page,
    check_vectors,
    collection_name,
    stack_vectors,
)
from serving.gallery.retries import Transient, retry_within
from serving.gallery.server_layout import STRICT_MODE
from serving.settings import GallerySettings

parts = st.text(alphabet="ab:1;\x00é", max_size=4)


@given(st.tuples(parts, parts, parts), st.tuples(parts, parts, parts))
def test_two_faces_share_an_id_only_if_they_are_one(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    assert (point_id(*one) == point_id(*other)) == (one == other)


def test_an_id_never_changes() -> None:
    # A stored gallery depends on it.
    assert point_id("event", "person", "face") == "e9cef56f-a6f7-53ec-95ce-892627ab5fb9"
    assert uuid.UUID(point_id("a", "b", "c")).version == 5


def test_collections_are_named_by_pack_and_dimension() -> None:
    assert collection_name("starter", 128) == "faces__starter__128"
    for pack_id in ("", "../up", "a/b", ".hidden", "x" * 64):
        with pytest.raises(ConfigurationError):
            collection_name(pack_id, 128)
    with pytest.raises(ConfigurationError):
        collection_name("starter", 0)


def test_vectors_are_taken_as_unit_float32_rows() -> None:
    rows = check_vectors(np.eye(3)[::-1] * (1 + 9e-4), 3)
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    with pytest.raises(InternalError, match=r"face vector 1 has norm 1\.1"):
        check_vectors(np.diag([1.0, 1.1, 1.0]), 3)
    with pytest.raises(InternalError, match="stacked"):
        stack_vectors([np.ones(1), np.array([1.0, 0.0])], 1)
    assert stack_vectors([], 3).shape == (0, 3)


@pytest.mark.parametrize("dimension", [1, 128, 512, 4096, 65536])
def test_a_page_fits_into_a_message(dimension: int) -> None:
    faces = check_page(None, MAX_PAGE_FACES, dimension)
    assert faces == MAX_PAGE_FACES or dimension > 512
    rows: Vector = np.zeros((faces, dimension), np.float32)
    page = FacePage(
        tuple(FaceRecord("e" * 64, f"{i:0128}", f"{i:064}", row, 1e9 / 7) for i, row in enumerate(rows)),
        point_id("a", "b", "c"),
    )
    assert len(pickle.dumps(page)) < 3 * 2**20  # Serve's calls carry 4 MB
    assert check_page(None, 1, dimension) == 1


def test_a_probe_of_one_person_asks_for_few_points_and_is_settled_by_them() -> None:
    search = plan_search([Probe("e", np.ones(1, np.float32), 100, "a")])
    (query,) = next(search)
    assert query.limit == first_limit(1)
    with pytest.raises(StopIteration) as done:
        search.send([points_of([("a", 0.9 - i / 100) for i in range(query.limit)])])
    assert [(hit.person, hit.cosine) for hit in done.value.value[0]] == [("a", 0.9)]


def points_of(cosines: list[tuple[str, float]]) -> list[ScoredPoint]:
    return [ScoredPoint(person, f"{i}", cosine) for i, (person, cosine) in enumerate(cosines)]


def test_people_are_settled_only_when_no_tie_can_hide() -> None:
    points = points_of([("b", 0.9), ("a", 0.8), ("c", 0.8)])
    hits, settled = rank_people(points, 2, limit=3)
    assert [hit.person for hit in hits] == ["b", "a"]
    assert not settled, "another point of 0.8 may belong to a person before 'a'"
    assert rank_people(points, 2, limit=4)[1], "the engine had no more points"
    assert rank_people(points_of([("b", 0.9), ("a", 0.8), ("c", 0.7)]), 2, limit=3)[1]
    assert not rank_people(points_of([("b", 0.9)] * 3), 2, limit=3)[1], "one person filled the answer"


def test_cosines_are_clipped_and_rounded() -> None:
    (hit,), _ = rank_people(points_of([("a", 1.0000002)]), 1, 9)
    assert hit.cosine == 1.0
    (hit,), _ = rank_people(points_of([("a", 0.12345678)]), 1, 9)
    assert hit.cosine == 0.123457


def test_a_search_grows_for_the_unsettled_alone_and_ends_at_the_limit() -> None:
    probe = Probe("e", np.ones(1, np.float32), 2)
    search = plan_search([probe, probe])
    queries = next(search)
    assert [query.limit for query in queries] == [first_limit(2)] * 2
    limits = []
    answers = [points_of([("a", 0.5), ("b", 0.4)]), points_of([("a", 0.9)] * queries[1].limit)]
    while not limits or limits[-1] < MAX_POINTS_PER_PROBE:
        (query,) = search.send(answers)
        assert query.index == 1
        limits.append(query.limit)
        answers = [points_of([("a", 0.9)] * query.limit)]
    with pytest.raises(StopIteration) as done:
        search.send(answers)
    assert limits[-1] == MAX_POINTS_PER_PROBE
    assert limits == sorted(set(limits))
    first, second = done.value.value
    assert [hit.person for hit in first] == ["a", "b"]
    assert [hit.person for hit in second] == ["a"]


async def test_retries_end_with_success_or_the_last_reason() -> None:
    left = 2

    async def attempt() -> str:
        nonlocal left
        if left:
            left -= 1
            raise Transient(StageUnavailable(f"{left} left"))
        return "answer"

    assert await retry_within(5, attempt, most_attempts=3) == "answer"
    left = 9
    with pytest.raises(StageUnavailable, match="7 left"):
        await retry_within(5, attempt, most_attempts=2)
    assert left == 7


async def test_other_errors_are_not_retried() -> None:
    calls = 0

    async def attempt() -> None:
        nonlocal calls
        calls += 1
        raise InternalError("no")

    with pytest.raises(InternalError):
        await retry_within(5, attempt, most_attempts=3)
    assert calls == 1


async def test_a_hanging_attempt_ends_at_the_deadline() -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await retry_within(0.1, lambda: asyncio.sleep(30), most_attempts=3)
    assert time.monotonic() - started < 15


def test_the_factory_makes_what_the_settings_name(tmp_path: Path) -> None:
    def connect(**settings: object) -> object:
        return connect_gallery(
            GallerySettings(**settings),
            pack_id="test",
            dimension=4,
            directory=tmp_path,  # type: ignore[arg-type]
        )

    assert type(connect(engine="server", url="http://127.0.0.1:9")).__name__ == "ServerGallery"
    assert type(connect()).__name__ == "EmbeddedGalleryClient"
    with pytest.raises(ConfigurationError) as caught:
        connect_server(GallerySettings(), pack_id="test", dimension=4)
    assert caught.value.context["key"] == "gallery.engine"


def test_the_page_has_the_strict_mode_that_a_new_collection_gets(repository: Path) -> None:
    page = (repository / "docs" / "gallery.md").read_text()
    shown, _ = json.JSONDecoder().raw_decode(page[page.index('{"strict_mode_config"') :])
    assert StrictModeConfig(**shown["strict_mode_config"]) == STRICT_MODE
