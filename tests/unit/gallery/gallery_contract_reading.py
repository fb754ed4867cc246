"""What every engine must do when stored faces are read back: the part of GalleryContract about pages."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import pytest

from serving.errors import InternalError, InvalidRequest
from serving.gallery import FacePage, FaceRecord, Gallery, point_id
from tests.unit.gallery.gallery_faces import face, grid_vector, new_event, random_vectors

DIMENSION = 4


@dataclass
class World:
    """An open gallery of 4-D vectors, and how to open the same stored data anew."""

    gallery: Gallery
    reopen: Callable[[], Awaitable[Gallery]]


async def read_all(
    gallery: Gallery, event: str, limit: int, person: str | None = None, after: str | None = None
) -> list[FaceRecord]:
    """Follow the pages to the last, each as full as asked for."""
    faces: list[FaceRecord] = []
    while True:
        page = await gallery.read_faces(event, after, limit, person)
        faces += page.faces
        after = page.next
        if after is None:
            return faces
        assert len(page.faces) == limit


def ids_of(faces: list[FaceRecord]) -> list[str]:
    return [point_id(each.event, each.person, each.face) for each in faces]


class ReadingContract:
    async def test_faces_come_back_as_they_were_stored(self, world: World) -> None:
        event, other = new_event(), new_event()
        # As far from unit length as a gallery accepts: an engine that normalised would show.
        lengths = np.random.default_rng(3).uniform(1 - 9e-4, 1 + 9e-4, size=(300, 1)).astype(np.float32)
        vectors = random_vectors(300, DIMENSION, seed=8)
        stored = {
            (person, f"{i}"): FaceRecord(event, person, f"{i}", row, 1.7e9 + i)
            for i, row in enumerate(np.concatenate([vectors, vectors * lengths]))
            for person in ("ann", "bob")[i % 2 :][:1]
        }
        await world.gallery.upsert([*stored.values(), face(other, "ann", "0", grid_vector(0))])
        for person in (None, "ann", "bob", "nobody"):
            faces = await read_all(world.gallery, event, 250, person)
            expected = {key for key in stored if person in (None, key[0])}
            assert {(each.person, each.face) for each in faces} == expected
            assert ids_of(faces) == sorted(set(ids_of(faces)))
            for each in faces:
                was = stored[each.person, each.face]
                assert each.event == event
                assert each.created_at == was.created_at
                assert each.vector.dtype == np.float32
                assert each.vector.shape == (DIMENSION,)
                np.testing.assert_allclose(each.vector, was.vector, rtol=0, atol=1e-6)
                if int(each.face) < 300:
                    assert np.linalg.norm(each.vector.astype(np.float64)) == pytest.approx(1, abs=1e-6)

    async def test_a_read_face_may_be_stored_again(self, world: World) -> None:
        event, copied = new_event(), new_event()
        await world.gallery.upsert([face(event, "ann", f"{i}", grid_vector(i)) for i in range(5)])
        first = await read_all(world.gallery, event, 2)
        for each in first:
            each.vector[:] = each.vector[::-1].copy()  # the caller's own
        await world.gallery.upsert([FaceRecord(copied, "ann", e.face, e.vector, e.created_at) for e in first])
        again = {each.face: each.vector.tolist() for each in await read_all(world.gallery, copied, 5)}
        assert again == {f"{i}": grid_vector(i)[::-1].tolist() for i in range(5)}

    async def test_times_come_back_to_the_last_bit(self, world: World) -> None:
        event, order = new_event(), random.Random(4)
        times = [order.uniform(1.6e9, 1.9e9) for _ in range(400)]
        times += [0.0, -1.5, 5e-324, 1.7976931348623157e308, 1_767_225_600.0, 0.1, 2.0**53 + 2]
        await world.gallery.upsert(
            [FaceRecord(event, "ann", f"{i}", grid_vector(0), at) for i, at in enumerate(times)]
        )
        gallery = await world.reopen()
        faces = await read_all(gallery, event, 100)
        assert {int(each.face): each.created_at for each in faces} == dict(enumerate(times))
        assert {type(each.created_at) for each in faces} == {float}

    async def test_pages_neither_repeat_nor_skip_while_others_write(self, world: World) -> None:
        """Between any two pages faces are stored, stored again and erased, also the one to go on from."""
        event, order = new_event(), random.Random(6)
        staying = [face(event, "ann", f"stays-{i}", grid_vector(i % 10)) for i in range(60)]
        leaving = {f"leaves-{i}" for i in range(20)}
        await world.gallery.upsert(
            [*staying, *(face(event, "bob", name, grid_vector(0)) for name in leaving)]
        )
        seen: list[FaceRecord] = []
        after = None
        for turn in range(200):
            page = await world.gallery.read_faces(event, after, 7)
            seen += page.faces
            after = page.next
            if after is None:
                break
            doomed = {name for name in leaving if point_id(event, "bob", name) == after}
            doomed |= set(order.sample(sorted(leaving), min(2, len(leaving))))
            leaving -= doomed
            await world.gallery.erase_faces(event, [("bob", name) for name in sorted(doomed)])
            fresh = [face(event, "cem", f"{turn}-{i}", grid_vector(1)) for i in range(3)]
            await world.gallery.upsert([*fresh, *order.sample(staying, 5)])
        assert after is None
        assert ids_of(seen) == sorted(set(ids_of(seen)))
        assert {each.face for each in seen if each.person == "ann"} == {each.face for each in staying}

    async def test_pages_while_a_writer_never_stops(self, world: World) -> None:
        event = new_event()
        await world.gallery.upsert([face(event, "ann", f"{i}", grid_vector(0)) for i in range(50)])
        read = asyncio.Event()

        async def write() -> int:
            written = 0
            while not read.is_set():
                await world.gallery.upsert([face(event, "bob", f"{written}", grid_vector(1))])
                written += 1
                await asyncio.sleep(0)
            return written

        writer = asyncio.create_task(write())
        await asyncio.sleep(0)
        of_ann = await read_all(world.gallery, event, 3, "ann")
        read.set()
        assert await writer > 0
        assert sorted(int(each.face) for each in of_ann) == list(range(50))
        assert len(await read_all(world.gallery, event, 1000)) == await world.gallery.count(event)

    async def test_the_last_page_says_so(self, world: World) -> None:
        event = new_event()
        assert await world.gallery.read_faces(event, None, 10) == FacePage((), None)
        await world.gallery.upsert([face(event, "ann", f"{i}", grid_vector(0)) for i in range(6)])
        full = await world.gallery.read_faces(event, None, 6)
        assert (len(full.faces), full.next) == (6, None)
        half = await world.gallery.read_faces(event, None, 3)
        assert half.next is not None
        rest = await world.gallery.read_faces(event, half.next, 3)
        assert (len(rest.faces), rest.next) == (3, None)
        again = await world.gallery.read_faces(event, half.next, 3)
        assert ids_of(list(again.faces)) == ids_of(list(rest.faces))
        await world.gallery.erase_event(event)
        assert await world.gallery.read_faces(event, half.next, 3) == FacePage((), None)

    async def test_a_place_in_one_event_gives_nothing_of_another(self, world: World) -> None:
        event, other = new_event(), new_event()
        await world.gallery.upsert([face(event, "ann", f"{i}", grid_vector(0)) for i in range(20)])
        await world.gallery.upsert([face(other, "bob", f"{i}", grid_vector(0)) for i in range(20)])
        page = await world.gallery.read_faces(event, None, 1)
        faces = await read_all(world.gallery, other, 20, after=page.next)
        assert {each.event for each in faces} <= {other}
        assert {each.person for each in faces} <= {"bob"}

    async def test_what_cannot_be_read_is_refused(self, world: World) -> None:
        event = new_event()
        for limit in (0, -1, 1001):
            with pytest.raises(InternalError, match="limit"):
                await world.gallery.read_faces(event, None, limit)
        for after in ("", "7", "x" * 36, point_id("e", "p", "f").upper(), point_id("e", "p", "f") + "\n"):
            with pytest.raises(InvalidRequest):
                await world.gallery.read_faces(event, after, 10)
        with pytest.raises(InternalError, match="event"):
            await world.gallery.read_faces("", None, 10)
        with pytest.raises(InternalError, match="person"):
            await world.gallery.read_faces(event, None, 10, "")
