"""What every engine must do: a module per engine subclasses GalleryContract and provides its `world`."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.errors import InternalError
from serving.gallery import FaceRecord, Gallery, Probe
from tests.unit.gallery.gallery_contract_reading import DIMENSION, ReadingContract, World, read_all
from tests.unit.gallery.gallery_faces import (
    CREATED_AT,
    GRID,
    GridGallery,
    face,
    grid_vector,
    new_event,
    random_vectors,
)

PEOPLE = ("ann", "bob", "a", "ab")
FACES = ("1", "2", "b1")

rows = st.integers(0, len(GRID) - 1)
events = st.integers(0, 2)
people = st.sampled_from(PEOPLE)
names = st.sampled_from(FACES)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.lists(st.tuples(events, people, names, rows), max_size=12)),
        st.tuples(st.just("faces"), st.tuples(events, st.lists(st.tuples(people, names), max_size=3))),
        st.tuples(st.just("person"), st.tuples(events, people)),
        st.tuples(st.just("event"), events),
    ),
    min_size=1,
    max_size=6,
)


class GalleryContract(ReadingContract):
    async def test_is_a_gallery(self, world: World) -> None:
        assert isinstance(world.gallery, Gallery)
        health = await world.gallery.check()
        assert health.state == "ready"
        assert isinstance(health.faces, int)

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        work=operations,
        probes=st.lists(
            st.tuples(events, rows, st.integers(1, 6), st.sampled_from([None, "nobody", *PEOPLE])),
            min_size=1,
            max_size=6,
        ),
        page=st.integers(1, 5),
    )
    async def test_agrees_with_the_model(self, world: World, work: list, probes: list, page: int) -> None:
        """Any sequence of writes and erasures over three events that share people, faces and vectors."""
        gallery, model = world.gallery, GridGallery()
        partition = [new_event() for _ in range(3)]
        for kind, what in work:
            if kind == "upsert":
                await gallery.upsert([face(partition[e], p, n, grid_vector(r)) for e, p, n, r in what])
                model.faces.update({(partition[e], p, n): r for e, p, n, r in what})
            elif kind == "faces":
                await gallery.erase_faces(partition[what[0]], what[1])
                for person, name in what[1]:
                    model.erase(partition[what[0]], person, name)
            elif kind == "person":
                await gallery.erase_person(partition[what[0]], what[1])
                model.erase(partition[what[0]], what[1])
            else:
                await gallery.erase_event(partition[what])
                model.erase(partition[what])
        found = await gallery.search([model.probe(partition[e], *wanted) for e, *wanted in probes])
        assert found == [model.search(partition[e], *wanted) for e, *wanted in probes]
        for event in partition:
            assert await gallery.count(event) == model.count(event)
        assert await gallery.count(partition[0], "ann") == model.count(partition[0], "ann")
        assert await gallery.faces_of(partition[0], "ann") == model.faces_of(partition[0], "ann")
        for person in (None, "ann"):
            faces = await read_all(gallery, partition[0], page, person)
            stored = sorted((face.person, face.face, face.vector.tolist()) for face in faces)
            assert stored == model.stored(partition[0], person)

    @pytest.mark.parametrize("faces_each", [[1, 1, 1], [200, 1, 3], [200, 150, 1, 1]])
    async def test_people_with_many_faces_do_not_crowd_others_out(
        self, world: World, faces_each: list[int]
    ) -> None:
        event, near, far = new_event(), grid_vector(0), grid_vector(1)
        stored = []
        for rank, n in enumerate(faces_each):
            # Everybody's faces are nearer to the probe than any face of the next person.
            for i in range(n):
                angle = 0.1 + 0.3 * rank + 0.2 * i / n
                vector = np.cos(angle) * near + np.sin(angle) * far
                stored.append(face(event, f"p{rank}", f"{i:03}", vector.astype(np.float32)))
        await world.gallery.upsert(stored[::-1])
        (hits,) = await world.gallery.search([Probe(event, near, len(faces_each))])
        assert [(hit.person, hit.face) for hit in hits] == [(f"p{i}", "000") for i in range(len(faces_each))]
        assert [hit.cosine for hit in hits] == pytest.approx(
            [np.cos(0.1 + 0.3 * i) for i in range(len(faces_each))], abs=2e-6
        )

    async def test_one_person_is_compared_alone_however_many_faces_they_have(self, world: World) -> None:
        event, other = new_event(), new_event()
        near, far = grid_vector(0), grid_vector(1)
        await world.gallery.upsert([face(event, "near", f"{i:03}", near) for i in range(200)])
        await world.gallery.upsert([face(event, "far", f"{i:03}", far) for i in range(200)])
        await world.gallery.upsert([face(other, "elsewhere", "1", near)])
        probes = [Probe(event, near, 5, person) for person in ("far", "near", "elsewhere", None)]
        found = await world.gallery.search([*probes, Probe(event, near, 1, "far")])
        far_hit, near_hit = ("far", "000", 0.0), ("near", "000", 1.0)
        assert [[(hit.person, hit.face, hit.cosine) for hit in hits] for hits in found] == [
            [far_hit],
            [near_hit],
            [],
            [near_hit, far_hit],
            [far_hit],
        ]

    async def test_ties_over_many_points_are_ordered_by_person(self, world: World) -> None:
        event, vector = new_event(), grid_vector(3)
        await world.gallery.upsert([face(event, f"p{i:02}", "only", vector) for i in reversed(range(60))])
        (hits,) = await world.gallery.search([Probe(event, vector, 5)])
        assert [hit.person for hit in hits] == ["p00", "p01", "p02", "p03", "p04"]

    async def test_random_vectors_rank_as_numpy_ranks_them(self, world: World) -> None:
        event, vectors = new_event(), random_vectors(300, DIMENSION, seed=5)
        await world.gallery.upsert([face(event, f"p{i}", "f", row) for i, row in enumerate(vectors)])
        probes = random_vectors(8, DIMENSION, seed=6)
        found = await world.gallery.search([Probe(event, probe, 10) for probe in probes])
        for probe, hits in zip(probes, found, strict=True):
            cosines = vectors.astype(np.float64) @ probe.astype(np.float64)
            assert [hit.cosine for hit in hits] == pytest.approx(sorted(cosines)[:-11:-1], abs=2e-6)
            for hit in hits:
                assert hit.cosine == pytest.approx(cosines[int(hit.person[1:])], abs=2e-6)

    async def test_upsert_twice_is_upsert_once_and_the_last_vector_counts(self, world: World) -> None:
        event = new_event()
        await world.gallery.upsert([face(event, "ann", "1", grid_vector(0))])
        again = [face(event, "ann", "1", grid_vector(2)), face(event, "ann", "1", grid_vector(1))]
        await world.gallery.upsert(again)
        await world.gallery.upsert(again)
        assert await world.gallery.count(event) == 1
        (hits,) = await world.gallery.search([Probe(event, grid_vector(1), 3)])
        assert [hit.cosine for hit in hits] == [1.0]

    async def test_nothing_is_found_where_nothing_is(self, world: World) -> None:
        event, emptied = new_event(), new_event()
        await world.gallery.upsert([face(emptied, "ann", "1", grid_vector(0))])
        await world.gallery.erase_faces(emptied, [("ann", "1"), ("ann", "never was")])
        probes = [Probe(event, grid_vector(0), 5), Probe(emptied, grid_vector(0), 5)]
        assert await world.gallery.search(probes) == [[], []]
        assert await world.gallery.search([]) == []
        assert await world.gallery.count(event) == 0
        assert await world.gallery.faces_of(event, "ann") == []
        await world.gallery.erase_person(event, "ann")
        await world.gallery.erase_event(event)

    async def test_top_k_may_exceed_the_people(self, world: World) -> None:
        event = new_event()
        await world.gallery.upsert([face(event, p, f, grid_vector(0)) for p in PEOPLE for f in FACES])
        (hits,) = await world.gallery.search([Probe(event, grid_vector(0), 1000)])
        assert [hit.person for hit in hits] == sorted(PEOPLE)

    async def test_more_faces_than_a_page_and_a_write(self, world: World) -> None:
        event, vectors = new_event(), random_vectors(1203, DIMENSION, seed=1)
        await world.gallery.upsert([face(event, "ann", f"{i:04}", row) for i, row in enumerate(vectors)])
        assert await world.gallery.count(event) == 1203
        assert await world.gallery.faces_of(event, "ann") == [f"{i:04}" for i in range(1203)]

    async def test_stored_faces_are_there_after_reopening(self, world: World) -> None:
        event = new_event()
        await world.gallery.upsert(
            [face(event, "ann", "1", grid_vector(0)), face(event, "bob", "1", grid_vector(1))]
        )
        await world.gallery.erase_person(event, "bob")
        gallery = await world.reopen()
        (hits,) = await gallery.search([Probe(event, grid_vector(1), 5)])
        assert [(hit.person, hit.cosine) for hit in hits] == [("ann", 0.0)]

    async def test_concurrent_callers_do_not_mix(self, world: World) -> None:
        partition = [new_event() for _ in range(12)]

        async def enrol_and_find(i: int) -> str:
            await world.gallery.upsert([face(partition[i], f"p{i}", "1", grid_vector(0))])
            (hits,) = await world.gallery.search([Probe(partition[i], grid_vector(0), 5)])
            return ",".join(hit.person for hit in hits)

        assert await asyncio.gather(*map(enrol_and_find, range(12))) == [f"p{i}" for i in range(12)]

    @pytest.mark.parametrize(
        "vector",
        [
            np.array([np.nan, 0, 0, 1], np.float32),
            np.array([np.inf, 0, 0, 0], np.float32),
            np.zeros(DIMENSION, np.float32),
            np.array([1.01, 0, 0, 0], np.float32),
            np.array([1, 0, 0], np.float32),
            np.eye(DIMENSION, dtype=np.float32),
        ],
        ids=["nan", "infinite", "zero", "not unit", "short", "matrix"],
    )
    async def test_bad_vectors_are_refused_and_nothing_is_stored(
        self, world: World, vector: np.ndarray
    ) -> None:
        event = new_event()
        with pytest.raises(InternalError):
            await world.gallery.upsert(
                [face(event, "ann", "1", grid_vector(0)), face(event, "ann", "2", vector)]
            )
        assert await world.gallery.count(event) == 0
        with pytest.raises(InternalError):
            await world.gallery.search([Probe(event, vector, 1)])

    async def test_bad_keys_are_refused(self, world: World) -> None:
        for keys in (("", "ann", "1"), ("e", "", "1"), ("e", "ann", "x" * 513)):
            with pytest.raises(InternalError, match="key"):
                await world.gallery.upsert([FaceRecord(*keys, grid_vector(0), CREATED_AT)])
        for top_k in (0, 1001):
            with pytest.raises(InternalError, match="top_k"):
                await world.gallery.search([Probe(new_event(), grid_vector(0), top_k)])
        with pytest.raises(InternalError, match="event"):
            await world.gallery.erase_event("")
        with pytest.raises(InternalError, match="person"):
            await world.gallery.search([Probe(new_event(), grid_vector(0), 1, "")])
