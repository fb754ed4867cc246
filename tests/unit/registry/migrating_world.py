"""An event that moves between two packs of different dimensions: real registry and galleries, fake models."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.api.deadlines import Deadline
from serving.api.enrolment import NewPictures, enrol_person
from serving.api.erasure import erase_person
from serving.api.services import Services
from serving.errors import ErasedMeanwhile, MigrationIncomplete, PackChanged, StageUnavailable
from serving.gallery.embedded import EmbeddedGallery, InProcessGallery
from serving.gallery.records import FacePage, FaceRecord, Probe
from serving.graph.lines import Lines, ServedPack
from serving.graph.messages import Candidate, Decision
from serving.registry import Event, Registry
from serving.registry.records import EventFields
from serving.settings import Settings
from tests.unit.api.api_fakes import FakeStages, picture
from tests.unit.served import serve

EVENT, OLD, NEW = "gala", "old-pack", "new-pack"
DIMENSIONS = {OLD: 128, NEW: 192}
TIMEOUT_S = 60.0


class PackStages(FakeStages):
    """Fake models of one pack over a real gallery; each call comes at a random moment."""

    def __init__(self, pack_id: str, directory: Path, chance: random.Random) -> None:
        super().__init__(serve(None).calibration)
        self.pack_id = pack_id
        self.core = EmbeddedGallery(directory, pack_id, DIMENSIONS[pack_id])
        self.core.open()
        self._inner = InProcessGallery(self.core)
        self._chance = chance
        self.partitions: set[str] = set()

    async def _enter(self, method: str, *args: Any) -> None:
        # Some so slow that an event may move in the meantime, from the beginning to the end.
        slow = 0.1 if method in ("enrol", "enrolled") else 0.02
        await asyncio.sleep(self._chance.choice((0, 0, 0.001, 0.004, slow)))

    async def embed(self, crops: NDArray[np.uint8], remaining_s: float) -> NDArray[np.float32]:
        vectors = await super().embed(crops, remaining_s)
        return np.pad(vectors, ((0, 0), (0, DIMENSIONS[self.pack_id] - vectors.shape[1])))

    async def search(  # type: ignore[override]
        self, event_key: str, vectors: NDArray[np.float32], top_k: int, threshold: float, *_: Any
    ) -> list[Decision]:
        await self._enter("search")
        self.partitions.add(event_key)
        hits = await self._inner.search([Probe(event_key, vector, top_k) for vector in vectors])
        await self._enter("answer")
        return [
            Decision(
                bool(found) and found[0].cosine >= threshold,
                [Candidate(hit.person, hit.face, hit.cosine, 0.0) for hit in found],
            )
            for found in hits
        ]

    async def enrol(self, faces: Sequence[FaceRecord], remaining_s: float) -> None:
        await self._enter("enrol")
        self.partitions |= {face.event for face in faces}
        await self._inner.upsert(faces)
        await self._enter("enrolled")

    async def read_faces(
        self, event_key: str, after: str | None, limit: int, remaining_s: float, person_id: str | None = None
    ) -> FacePage:
        return await self._inner.read_faces(event_key, after, limit, person_id)

    async def faces_of(self, event_key: str, person_id: str, remaining_s: float, **_: Any) -> list[str]:
        await self._enter("faces_of")
        return await self._inner.faces_of(event_key, person_id)

    async def erase_faces(self, event_key: str, faces: Any, remaining_s: float, **_: Any) -> None:
        await self._enter("erase_faces")
        await self._inner.erase_faces(event_key, faces)

    async def erase_person(self, event_key: str, person_id: str, remaining_s: float, **_: Any) -> None:
        await self._enter("erase_person")
        await self._inner.erase_person(event_key, person_id)

    async def erase_event(self, event_key: str, remaining_s: float, **_: Any) -> None:
        await self._enter("erase_event")
        await self._inner.erase_event(event_key)

    @property
    def count(self) -> int:
        """Faces in the whole collection."""
        return int(self.core.check().faces or 0)


@dataclass
class MigratingWorld:
    """The event `gala` and everyone who does something with it at the same time.

    Attributes:
        acknowledged: whom an enrolment was confirmed for.
        searches: how many were made.
    """

    registry: Registry
    directory: Path
    seed: int
    acknowledged: set[str] = field(default_factory=set)
    searches: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.stages = {id: PackStages(id, self.directory, self.chance) for id in DIMENSIONS}
        self.lines = Lines([self._serve(pack_id) for pack_id in DIMENSIONS])
        others = dict.fromkeys(
            ("accounts", "verifier", "gate", "statistics", "audit", "rate_limiter", "check_ins", "jobs")
        )
        settings = Settings(_env_file=None, data_dir=self.directory)  # type: ignore[call-arg]
        self.services = Services(settings=settings, lines=self.lines, registry=self.registry, **others)  # type: ignore[arg-type]

    def _serve(self, pack_id: str) -> ServedPack:
        line = serve(self.stages[pack_id], pack_id)
        return replace(line, pack=replace(line.pack, dimension=DIMENSIONS[pack_id]))

    async def find_event(self) -> Event:
        return await self.registry.get_event(EVENT)

    async def pause(self) -> None:
        await asyncio.sleep(self.chance.choice((0, 0, 0.002, 0.01)))

    async def enrol(self, person: str) -> None:
        """Until it is confirmed, unless the person is erased meanwhile."""
        while True:
            new = NewPictures([picture(person)], person_id=person)
            try:
                await enrol_person(self.services, await self.find_event(), new, Deadline(TIMEOUT_S))
            except ErasedMeanwhile:
                return
            except (StageUnavailable, PackChanged):  # held off by an erasure; too many moves
                await self.pause()
            else:
                self.acknowledged.add(person)
                return

    async def erase(self, person: str) -> None:
        await erase_person(self.services, (await self.find_event()).key, person, Deadline(TIMEOUT_S))

    async def search(self, person: str) -> tuple[str | None, str]:
        """Who matches the person's picture, and the pack that said so."""
        event = await self.find_event()
        line = self.services.line_of(event)
        found = await line.stages.detect(picture(person), TIMEOUT_S)
        vectors = await line.stages.embed(np.stack([found.faces[0].crop]), TIMEOUT_S)
        [decision] = await line.stages.search(event.partition, vectors, 1, 0.9, TIMEOUT_S)
        self.searches += 1
        return (decision.candidates[0].person_id if decision.matched else None), line.pack.id

    async def migrate(self, *, finish: bool) -> None:
        """Begin, wait, and finish with everybody, or give up."""
        event = await self.find_event()
        target = NEW if event.pack_id == OLD else OLD
        migrations = self.registry.migrations
        await migrations.begin(event.key, target)
        await self.pause()
        while finish:
            try:
                await migrations.finish(event.key, _keep_policy, allow_missing=False)
            except MigrationIncomplete:
                page = await migrations.missing(event.key)
                await asyncio.gather(*(self.enrol(each.id) for each in page.items))
            else:
                return
        await self.pause()
        await migrations.abort(event.key)

    async def stored(self) -> dict[str, dict[str, list[str]]]:
        """By pack and person the faces in the partitions of the event."""
        event = await self.find_event()
        found: dict[str, dict[str, list[str]]] = {pack_id: {} for pack_id in DIMENSIONS}
        page = await self.registry.list_people(event.key, None, 1000)
        for person in page.items:
            for pack_id, stages in self.stages.items():
                faces = stages.core.faces_of(event.partition, person.id)
                if faces:
                    found[pack_id][person.id] = faces
        return found

    def close(self) -> None:
        for stages in self.stages.values():
            stages.core.close()


def _keep_policy(event: Event) -> EventFields:
    return {}
