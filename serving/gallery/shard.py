"""What the embedded engine is told: its layout, its filter, its queries, and how its faults come back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
import qdrant_edge as edge

from serving.errors import InternalError
from serving.gallery.grouping import PointQuery, ScoredPoint
from serving.gallery.layout import (
    FULL_SCAN_KIB,
    HNSW_BUILD_EF,
    HNSW_EDGES,
    HNSW_SEARCH_EF,
    QUANTIZED_OVERSAMPLING,
)
from serving.gallery.records import FacePage, FaceRecord, check_key
from serving.gallery.shard_files import FileWatch

T = TypeVar("T")

_NEVER_INDEX_KIB = 2**40
_QUANTILE = 0.99
"""Of the values of all vectors, that the int8 codes span; what lies beyond is cut off."""
_HIT_FIELDS = edge.PayloadSelector.Include(["person", "face"])
_FACE_FIELDS = edge.PayloadSelector.Include(["person", "face", "created_at"])

# One log segment is 32 MiB and the engine keeps the last closed one, so records larger than that push every
# earlier record out of the log in two turns; the rest is for a layout that a later engine may have.
_LOG_RECORD_BYTES = 33 * 2**20
_LOG_TURNS_MOST = 8


def within(event: str, person: str | None = None, ids: Iterable[str] | None = None) -> Any:
    """Build the filter of every query, count and erasure: always one event."""
    check_key("event", event)
    if person is not None:
        check_key("person", person)
    return _match_all(event=event, person=person, ids=ids)


def _match_all(*, event: str, person: str | None = None, ids: Iterable[str] | None = None) -> Any:
    must: list[Any] = [edge.FieldCondition("event", match=edge.MatchValue(event))]
    if person is not None:
        must.append(edge.FieldCondition("person", match=edge.MatchValue(person)))
    if ids is not None:
        must.append(edge.HasIdCondition(set(ids)))
    return edge.Filter(must=must)


def query_points(shard: Any, queries: Sequence[PointQuery]) -> list[list[ScoredPoint]]:
    # Where vectors are not quantised the second half says nothing.
    parameters = edge.SearchParams(
        hnsw_ef=HNSW_SEARCH_EF,
        quantization=edge.QuantizationSearchParams(rescore=True, oversampling=QUANTIZED_OVERSAMPLING),
    )
    requests = [
        edge.QueryRequest(
            limit=query.limit,
            query=edge.Query.Nearest(query.probe.vector.tolist()),
            filter=within(query.probe.event, query.probe.person),
            with_payload=_HIT_FIELDS,
            params=parameters,
        )
        for query in queries
    ]
    answers = call_engine(shard.query_batch, edge.QueryBatchRequest(requests))
    return [[_scored_point(point) for point in points] for points in answers]


def read_points(shard: Any, event: str, person: str | None, after: str | None, limit: int) -> FacePage:
    request = edge.ScrollRequest(
        offset=None if after is None else UUID(after),
        limit=limit,
        filter=within(event, person),
        with_payload=_FACE_FIELDS,
        with_vector=True,
    )
    page, following = call_engine(shard.scroll, request)
    return FacePage(
        tuple(_face_record(event, point) for point in page), None if following is None else str(following)
    )


def _face_record(event: str, point: Any) -> FaceRecord:
    payload = point.payload
    vector = np.array(point.vector, np.float32)
    return FaceRecord(event, payload["person"], payload["face"], vector, float(payload["created_at"]))


def _scored_point(point: Any) -> ScoredPoint:
    return ScoredPoint(point.payload["person"], point.payload["face"], point.score)


def turn_log_over(shard: Any, log_directory: Path) -> None:
    """Push every record out of the write-ahead log, so that no byte of an erased face is left in it.

    The log drops whole files only, and deleting them by hand would make the engine ignore later writes as
    already applied. So write large records that change nothing (an erasure in an event that cannot exist:
    its name is too long) until every file of before is gone.

    Raises:
        InternalError: old files are still there after more turns than it can take.
    """
    nothing = edge.UpdateOperation.delete_points_by_filter(_match_all(event="-" * _LOG_RECORD_BYTES))
    before = FileWatch(log_directory)
    try:
        for _ in range(_LOG_TURNS_MOST):
            call_engine(shard.update, nothing)
            call_engine(shard.flush)
            if before.all_gone():
                return
    finally:
        before.close()
    raise InternalError("the write-ahead log still holds old records after compaction")


def shard_config(dimension: int, hnsw: bool) -> Any:
    return edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Dot),
        hnsw_config=edge.HnswIndexConfig(
            m=0,
            payload_m=HNSW_EDGES,
            ef_construct=HNSW_BUILD_EF,
            full_scan_threshold=FULL_SCAN_KIB,
            max_indexing_threads=1,
        ),
        # Over int8 codes a graph is built and walked in a fifth of the time; cosines are of the full vectors.
        quantization_config=edge.ScalarQuantizationConfig(
            edge.ScalarType.Int8, quantile=_QUANTILE, always_ram=True
        )
        if hnsw
        else None,
        optimizers=edge.EdgeOptimizersConfig(
            # One deleted vector is enough for a segment to be rewritten: erasure depends on it.
            deleted_threshold=0.0,
            vacuum_min_vector_number=1,
            default_segment_number=1,
            max_segment_size=_NEVER_INDEX_KIB,
            indexing_threshold=FULL_SCAN_KIB if hnsw else _NEVER_INDEX_KIB,
        ),
        max_search_threads=1,
        wal_enabled=True,
    )


def call_engine(function: Callable[..., T], *arguments: Any) -> T:
    """Call the engine; whatever it raises becomes an InternalError, a panic an EnginePanic."""
    try:
        return function(*arguments)
    except Exception as error:
        raise InternalError(f"the gallery engine failed: {error}") from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise EnginePanic(f"the gallery engine panicked: {error}") from error
        raise


class EnginePanic(InternalError):
    """The engine gave up inside; its process must be restarted, after which the log is replayed."""
