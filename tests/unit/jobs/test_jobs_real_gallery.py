"""Export and import through a real gallery: the copy of an event answers every search as the original."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serving.api.bulk_enrolment import BulkEnroller
from serving.gallery import FaceRecord, Gallery, Probe
from serving.gallery.embedded import EmbeddedGallery, InProcessGallery
from serving.gallery.records import FacePage
from serving.graph.lines import Lines
from serving.graph.messages import Candidate, Decision
from serving.jobs.records import JobKind, JobState
from serving.packs.configured import find_configured_pack
from tests.unit.jobs.conftest import OPERATOR, Place
from tests.unit.served import serve


class GalleryStages:
    """The part of `Stages` that jobs need, over a gallery in this process."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    async def enrol(self, faces: Sequence[FaceRecord], remaining_s: float) -> None:
        await self._gallery.upsert(faces)

    async def search(
        self, event_key: str, vectors: Any, top_k: int, threshold: float, remaining_s: float
    ) -> list[Decision]:
        hits = await self._gallery.search([Probe(event_key, vector, top_k) for vector in vectors])
        return [
            Decision(
                bool(found) and found[0].cosine >= threshold,
                [Candidate(hit.person, hit.face, hit.cosine, 0.0) for hit in found],
            )
            for found in hits
        ]

    async def read_faces(
        self, event_key: str, after: str | None, limit: int, remaining_s: float, person_id: str | None = None
    ) -> FacePage:
        return await self._gallery.read_faces(event_key, after, limit, person_id)

    async def check(self, remaining_s: float) -> None:
        return None


@pytest.mark.parametrize("people", [60])
async def test_an_imported_export_answers_the_same(place: Place, tmp_path: Path, people: int) -> None:
    pack = find_configured_pack(place.settings)
    gallery = InProcessGallery(EmbeddedGallery(tmp_path / "gallery", pack.id, pack.dimension))
    await gallery.open()
    stages = GalleryStages(gallery)
    line = serve(stages)
    services: Any = SimpleNamespace(
        settings=place.settings,
        lines=Lines([line]),
        line_of=lambda event: line,
        registry=place.registry,
    )
    runner = place.make_runner(stages=stages, enroller=BulkEnroller(services))
    random = np.random.default_rng(3)
    vectors = random.normal(size=(2 * people, pack.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lines = [
        {
            "person_id": f"p{number}",
            "name": f"Person {number}",
            "pack_id": pack.id,
            "faces": [{"vector": vector.tolist()} for vector in vectors[2 * number : 2 * number + 2]],
        }
        for number in range(people)
    ]
    data = "\n".join(map(json.dumps, lines)).encode()
    imported = await place.upload(data, JobKind.import_vectors)
    await runner.run_all()
    assert ((await place.look(imported)).state, (await place.look(imported)).rejected) == (JobState.done, 0)
    export = await place.jobs.create(place.event.key, JobKind.export, OPERATOR)
    await runner.run_all()
    ended = await place.look(export)
    assert (ended.state, ended.total, ended.done) == (JobState.done, people, people)
    assert ended.file is not None
    written = place.jobs.files.path(ended.file).read_bytes()

    copy = await place.registry.create_event("copy", None, pack.id)
    name, file = place.jobs.files.create("c" * 32, "upload")
    with file:
        file.write(written)
    await place.jobs.create(copy.key, JobKind.import_vectors, OPERATOR, id="c" * 32, file=name)
    await runner.run_all()
    assert await place.registry.counts(copy.key) == await place.registry.counts(place.event.key)
    assert (await place.registry.get_person(copy.key, "p7")).name == "Person 7"
    probes = random.normal(size=(20, pack.dimension)).astype(np.float32)
    probes = np.concatenate([probes / np.linalg.norm(probes, axis=1, keepdims=True), vectors[:20]])
    for key in (place.event.key, copy.key):
        assert (await stages.search(key, vectors[:1], 1, 0.5, 1))[0].candidates[0].person_id == "p0"
    answers = [await stages.search(key, probes, 10, 0.5, 1) for key in (place.event.key, copy.key)]
    assert answers[0] == answers[1]
    await gallery.close()
