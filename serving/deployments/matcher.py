"""Matcher: vectors in, people of that event out; the only stage that knows the gallery."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ray import serve

from serving.deployments.lane import (
    Arrival,
    Turnstile,
    answer_parcel,
    note_batch,
    pick_live,
    place_outcomes,
    run_batch,
    tune_batches,
)
from serving.deployments.metrics import join_as_stage, make_joiner
from serving.deployments.replica import settle_heap
from serving.deployments.store_wait import wait_for_store
from serving.errors import PackError, RollcallError, StageUnavailable
from serving.gallery.engines import connect_gallery
from serving.gallery.protocol import Gallery
from serving.gallery.records import FacePage, FaceRecord, Hit, Probe
from serving.graph.messages import Candidate, Decision, SearchTask
from serving.packs.configured import find_configured_pack, load_pack_calibration
from serving.packs.manifest import Pack
from serving.settings import DeployedSettings, Settings

OWNER_NAME = "GalleryOwner"
"""Under which the process that owns an embedded gallery counts."""


def connect(deployed: DeployedSettings, settings: Settings, pack: Pack) -> Gallery:
    """The vectors of a pack, in the gallery that the settings name; not opened yet.

    Args:
        settings: `deployed`, loaded.
    """
    return connect_gallery(
        settings.gallery,
        pack_id=pack.id,
        dimension=pack.dimension,
        directory=settings.gallery_dir,
        on_owner_start=make_joiner(deployed, OWNER_NAME) if settings.gallery.engine == "embedded" else None,
    )


class Matcher:
    """Searches, decides, stores and erases. Every call names one event and never leaves it.

    Args:
        pack_id: of the pack whose vectors it holds; None: the default one.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, deployed: DeployedSettings, pack_id: str | None = None
    ) -> None:
        settings = deployed.load()
        self._meter = join_as_stage(settings, "matcher", pack_id)
        pack = find_configured_pack(settings, pack_id)
        self._calibration = load_pack_calibration(settings, pack)
        self._deployed, self._settings = deployed, settings
        self._gallery = connect(deployed, settings, pack)
        await wait_for_store("gallery", self._gallery.open)
        self._galleries = {pack.id: self._gallery}
        self._turnstile = Turnstile()
        settle_heap()

    def reconfigure(self, user_config: Mapping[str, Any] | None) -> None:
        tune_batches(user_config, self._search, self._meter)

    async def search(self, parcel: list[SearchTask]) -> list[list[Decision] | RollcallError]:
        return await answer_parcel(parcel, self._search, self._turnstile, self._meter)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.0)
    async def _search(self, batch: list[Arrival[SearchTask]]) -> list[list[Decision] | RollcallError]:
        with self._turnstile.closed():
            return await run_batch(batch, self._search_live)

    async def _search_live(
        self, batch: Sequence[Arrival[SearchTask]]
    ) -> list[list[Decision] | RollcallError]:
        began = time.monotonic()
        live = pick_live(batch)
        tasks = [batch[place].task for place in live]
        probes = [
            Probe(task.event_key, vector, task.top_k, task.person_id)
            for task in tasks
            for vector in task.vectors
        ]
        asked = time.monotonic()
        hits = iter(await self._gallery.search(probes) if probes else [])
        search = ("gallery search", asked, time.monotonic())
        decided = [[self._decide(next(hits), task.threshold) for _ in task.vectors] for task in tasks]
        note_batch(self._meter, batch, live, began, (search,))
        return place_outcomes(batch, live, decided)

    def _decide(self, hits: Sequence[Hit], threshold: float) -> Decision:
        candidates = [
            Candidate(hit.person, hit.face, hit.cosine, self._calibration.false_match_rate(hit.cosine))
            for hit in hits
        ]
        return Decision(bool(candidates) and candidates[0].cosine >= threshold, candidates)

    async def enrol(self, faces: list[FaceRecord]) -> None:
        """Durable and searchable when it returns; again with the same faces changes nothing."""
        await self._gallery.upsert(faces)

    async def faces_of(self, event_key: str, person_id: str, pack_id: str | None = None) -> list[str]:
        """The ids of a person's faces in the gallery."""
        return await (await self._find_gallery(pack_id)).faces_of(event_key, person_id)

    async def read_faces(
        self, event_key: str, after: str | None, limit: int, person_id: str | None
    ) -> FacePage:
        """A page of the stored faces; see `Gallery.read_faces`."""
        return await self._gallery.read_faces(event_key, after, limit, person_id)

    async def erase_faces(
        self, event_key: str, faces: list[tuple[str, str]], pack_id: str | None = None
    ) -> None:
        """Erase (person, face) pairs."""
        await (await self._find_gallery(pack_id)).erase_faces(event_key, faces)

    async def erase_person(self, event_key: str, person_id: str, pack_id: str | None = None) -> None:
        await (await self._find_gallery(pack_id)).erase_person(event_key, person_id)

    async def erase_event(self, event_key: str, pack_id: str | None = None) -> None:
        await (await self._find_gallery(pack_id)).erase_event(event_key)

    async def _find_gallery(self, pack_id: str | None) -> Gallery:
        """The gallery of a pack, serving or not, which is opened when first asked for; None: the own one.

        Raises:
            StageUnavailable: nobody knows the pack any more; what it stored can be reached once it is added
                again.
        """
        if pack_id is None:
            return self._gallery
        if pack_id not in self._galleries:
            try:
                pack = find_configured_pack(self._settings, pack_id)
            except PackError as error:
                raise StageUnavailable(
                    f"vectors of the pack {pack_id} cannot be reached, since it was removed: {error.detail}"
                ) from error
            gallery = connect(self._deployed, self._settings, pack)
            await gallery.open()
            self._galleries[pack_id] = gallery
        return self._galleries[pack_id]

    async def check_health(self) -> None:
        """Asks the gallery; raises when it does not answer."""
        await self._gallery.check()
