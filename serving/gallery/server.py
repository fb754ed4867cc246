"""The server engine: faces in a Qdrant server or cluster."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Literal, TypeVar

import numpy as np
from qdrant_client import AsyncQdrantClient, models

from serving.errors import ConfigurationError, Overloaded, RollcallError, StageUnavailable
from serving.gallery.grouping import PointQuery, ScoredPoint, plan_search
from serving.gallery.layout import HNSW_SEARCH_EF, OVERSAMPLING, POINTS_PER_PAGE, POINTS_PER_WRITE
from serving.gallery.protocol import GalleryHealth
from serving.gallery.records import (
    FacePage,
    FaceRecord,
    Hit,
    Probe,
    check_faces,
    check_key,
    check_page,
    check_probes,
    collection_name,
    created_at_text,
    point_id,
)
from serving.gallery.retries import Transient, retry_within
from serving.gallery.server_connection import ServerAddress
from serving.gallery.server_faults import translate_fault
from serving.gallery.server_layout import SHARED_KEY, ServerLayout, ensure_collection
from serving.gallery.server_tiers import promote_event, shards_of

T = TypeVar("T")
ShardKey = str | int | models.ShardKeyWithFallback | None

HEALTH_TIMEOUT_S = 2.0

_log = logging.getLogger(__name__)


class ServerGallery:
    """`Gallery` over a Qdrant server; safe for any number of concurrent calls and replicas.

    Args:
        address: of the server; a string is its URL.
        pack_id, dimension: name the collection.
        timeout_s: deadline of each request, its retries included.
        most_attempts: how often a request is made before it counts as failed.
        layout: what counts if the collection has yet to be created.
        read_consistency: on a cluster, how many replicas must agree on what is read.
        search_ef: HNSW's ef of a search.
        oversampling: candidates per result that quantized codes propose before the full vectors decide.
        client: an AsyncQdrantClient to use instead of connecting to `address`.
    """

    def __init__(
        self,
        address: ServerAddress | str,
        pack_id: str,
        dimension: int,
        *,
        timeout_s: float = 5.0,
        most_attempts: int = 4,
        layout: ServerLayout | None = None,
        read_consistency: Literal["majority", "quorum", "all"] | None = None,
        search_ef: int = HNSW_SEARCH_EF,
        oversampling: float = OVERSAMPLING,
        client: AsyncQdrantClient | None = None,
    ) -> None:
        self.collection = collection_name(pack_id, dimension)
        self.dimension = dimension
        self.address = ServerAddress(address) if isinstance(address, str) else address
        self._timeout_s = timeout_s
        self._server_timeout_s = max(1, math.ceil(timeout_s))
        self._most_attempts = most_attempts
        self._layout = layout or ServerLayout()
        self._consistency = models.ReadConsistencyType(read_consistency) if read_consistency else None
        quantization = models.QuantizationSearchParams(rescore=True, oversampling=oversampling)
        self._search_params = models.SearchParams(
            hnsw_ef=search_ef, quantization=quantization if self._layout.quantized else None
        )
        self._connection = client

    async def open(self) -> None:
        """Connect, create what is missing and check the rest; see `Gallery.open`."""
        if self._connection is None:
            self._connection = self.address.connect(self._timeout_s)
        await self._retry(
            lambda client: ensure_collection(
                client, self.collection, self.dimension, self._layout, self._server_timeout_s
            ),
            self._timeout_s,
            self._most_attempts,
        )

    async def upsert(self, faces: Sequence[FaceRecord]) -> None:
        """Store faces; the server has applied them on return. The deadline counts per 500 faces."""
        points: dict[str, list[models.PointStruct]] = {}
        for face in check_faces(faces, self.dimension):
            points.setdefault(face.event if self._layout.promote_events else "", []).append(_point(face))
        for event, of_event in points.items():
            for start in range(0, len(of_event), POINTS_PER_WRITE):
                some = of_event[start : start + POINTS_PER_WRITE]
                await self._upsert_points(self._shard_key_of(event), some)

    async def search(self, probes: Sequence[Probe]) -> list[list[Hit]]:
        """Answer a batch of probes with one request, rarely more; see `Gallery.search`."""
        give_up_at = time.monotonic() + self._timeout_s
        search = plan_search(check_probes(probes, self.dimension))
        try:
            queries = next(search)
            while True:
                points = await self._query_points(queries, give_up_at - time.monotonic())
                queries = search.send(points)
        except StopIteration as done:
            hits: list[list[Hit]] = done.value
            return hits

    async def erase_faces(self, event: str, faces: Sequence[tuple[str, str]]) -> None:
        """Erase single pictures, given as (person, face)."""
        if faces:
            ids = [point_id(event, person, face) for person, face in faces]
            await self._erase(event, _within(event, ids=ids))

    async def erase_person(self, event: str, person: str) -> None:
        """Erase all pictures of one person at one event."""
        await self._erase(event, _within(event, person))

    async def erase_event(self, event: str) -> None:
        """Erase everything that was stored for an event."""
        await self._erase(event, _within(event))

    async def count(self, event: str, person: str | None = None) -> int:
        """Return how many faces an event, or one person of it, has."""
        answer = await self._ask(
            lambda client: client.count(
                self.collection,
                count_filter=_within(event, person),
                exact=True,
                shard_key_selector=self._shard_key_of(event),
                timeout=self._server_timeout_s,
            )
        )
        return answer.count

    async def faces_of(self, event: str, person: str) -> list[str]:
        """Return the face ids of one person, sorted."""
        faces: list[str] = []
        offset: models.ExtendedPointId | None = None
        while True:
            page, offset = await self._ask(
                lambda client, start=offset: client.scroll(  # type: ignore[misc]
                    self.collection,
                    scroll_filter=_within(event, person),
                    limit=POINTS_PER_PAGE,
                    offset=start,
                    with_payload=["face"],
                    consistency=self._consistency,
                    shard_key_selector=self._shard_key_of(event),
                    timeout=self._server_timeout_s,
                )
            )
            faces += [record.payload["face"] for record in page]
            if offset is None:
                return sorted(faces)

    async def read_faces(
        self, event: str, after: str | None, limit: int, person: str | None = None
    ) -> FacePage:
        """Return a page of stored faces with one request; see `Gallery.read_faces`."""
        most = check_page(after, limit, self.dimension)
        page, following = await self._ask(
            lambda client: client.scroll(
                self.collection,
                scroll_filter=_within(event, person),
                limit=most,
                offset=after,
                with_payload=["person", "face", "created_at"],
                with_vectors=True,
                consistency=self._consistency,
                shard_key_selector=self._shard_key_of(event),
                timeout=self._server_timeout_s,
            )
        )
        faces = tuple(_face_record(event, point) for point in page)
        return FacePage(faces, None if following is None else str(following))

    async def check(self) -> GalleryHealth:
        """Make the server answer about this collection, once, without retries; see `Gallery.check`."""
        try:
            info = await self._ask(
                lambda client: client.get_collection(self.collection),
                timeout_s=min(HEALTH_TIMEOUT_S, self._timeout_s),
                most_attempts=1,
            )
        except Overloaded as error:
            return GalleryHealth("busy", detail=error.detail)
        except RollcallError as error:
            raise StageUnavailable(error.detail) from error
        return GalleryHealth("ready", info.points_count, self.collection)

    async def flush(self) -> None:
        """Nothing to do: the server writes its log to the disk by itself."""

    async def promote(self, event: str, timeout_s: float) -> bool:
        """Give a large event shards of its own; see `server_tiers.promote_event`.

        Raises:
            ConfigurationError: the collection was not created with `promote_events`.
        """
        if not self._layout.promote_events:
            raise ConfigurationError(
                "events can only be promoted in a collection created with gallery.promote_events: true",
                key="gallery.promote_events",
            )
        return await self._ask(
            lambda client: promote_event(
                client, self.collection, event, _within(event), self._layout, timeout_s
            ),
            timeout_s=timeout_s + self._timeout_s,
            most_attempts=1,
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _upsert_points(self, shard_key: ShardKey, points: list[models.PointStruct]) -> None:
        await self._ask(
            lambda client: client.upsert(
                self.collection,
                points=points,
                wait=True,
                shard_key_selector=shard_key,
                timeout=self._server_timeout_s,
            )
        )

    async def _query_points(self, queries: Sequence[PointQuery], timeout_s: float) -> list[list[ScoredPoint]]:
        requests = [
            models.QueryRequest(
                query=query.probe.vector.tolist(),
                filter=_within(query.probe.event, query.probe.person),
                limit=query.limit,
                params=self._search_params,
                with_payload=["person", "face"],
                shard_key=self._shard_key_of(query.probe.event),
            )
            for query in queries
        ]
        answers = await self._ask(
            lambda client: client.query_batch_points(
                self.collection, requests, consistency=self._consistency, timeout=self._server_timeout_s
            ),
            timeout_s=timeout_s,
        )
        return [[_scored_point(point) for point in answer.points] for answer in answers]

    async def _erase(self, event: str, where: models.Filter) -> None:
        shard_keys = [self._shard_key_of(event)]
        if self._layout.promote_events:
            # A promotion that was cut short leaves a copy in the shared shards.
            shard_keys.append(SHARED_KEY)
        for shard_key in shard_keys:
            await self._ask(partial(self._delete_points, shard_key=shard_key, where=where))

    async def _delete_points(
        self, client: AsyncQdrantClient, shard_key: ShardKey, where: models.Filter
    ) -> None:
        await client.delete(
            self.collection,
            points_selector=models.FilterSelector(filter=where),
            wait=True,
            shard_key_selector=shard_key,
            timeout=self._server_timeout_s,
        )

    def _shard_key_of(self, event: str) -> ShardKey:
        return shards_of(event) if self._layout.promote_events else None

    async def _ask(
        self,
        request: Callable[[AsyncQdrantClient], Awaitable[T]],
        timeout_s: float | None = None,
        most_attempts: int | None = None,
    ) -> T:
        try:
            return await self._retry(
                request,
                self._timeout_s if timeout_s is None else timeout_s,
                most_attempts or self._most_attempts,
            )
        except ConfigurationError as error:
            # It was right at the start: a key or a certificate has changed, and no caller can help it.
            _log.error("the Qdrant server is not usable: %s", error.detail)
            raise StageUnavailable(error.detail) from error

    async def _retry(
        self, request: Callable[[AsyncQdrantClient], Awaitable[T]], timeout_s: float, most_attempts: int
    ) -> T:
        client = self._connection
        if client is None:
            raise StageUnavailable("the gallery is not connected to its Qdrant server")

        async def attempt() -> T:
            try:
                return await request(client)
            except (RollcallError, Transient):
                raise
            except Exception as error:
                raise translate_fault(error) from error

        return await retry_within(timeout_s, attempt, most_attempts)


def _within(
    event: str, person: str | None = None, ids: Iterable[models.ExtendedPointId] | None = None
) -> models.Filter:
    """Build the filter of every query, count and erasure: always one event."""
    must: list[models.Condition] = [_equals("event", check_key("event", event))]
    if person is not None:
        must.append(_equals("person", check_key("person", person)))
    if ids is not None:
        must.append(models.HasIdCondition(has_id=list(ids)))
    return models.Filter(must=must)


def _equals(field: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


def _point(face: FaceRecord) -> models.PointStruct:
    payload = {
        "event": face.event,
        "person": face.person,
        "face": face.face,
        "created_at": created_at_text(face.created_at),
    }
    return models.PointStruct(
        id=point_id(face.event, face.person, face.face), vector=face.vector.tolist(), payload=payload
    )


def _face_record(event: str, point: models.Record) -> FaceRecord:
    payload = point.payload or {}
    vector = np.asarray(point.vector, np.float32)
    return FaceRecord(event, payload["person"], payload["face"], vector, float(payload["created_at"]))


def _scored_point(point: models.ScoredPoint) -> ScoredPoint:
    payload = point.payload or {}
    return ScoredPoint(payload["person"], payload["face"], point.score)
