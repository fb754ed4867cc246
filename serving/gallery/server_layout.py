"""How a collection lies on a Qdrant server: created once by whoever comes first, checked by all others."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from qdrant_client import AsyncQdrantClient, models

from serving.errors import ConfigurationError
from serving.gallery.grouping import MAX_POINTS_PER_PROBE
from serving.gallery.layout import FULL_SCAN_KIB, HNSW_BUILD_EF, HNSW_EDGES, POINTS_PER_WRITE
from serving.gallery.server_faults import is_conflict

DISTANCE = models.Distance.DOT
INDEXES = {
    "event": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    "person": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD),
}
MOST_TIMEOUT_S = 60
"""gallery.timeout_s goes no higher."""
# A filter that forgets its index is a full scan of everybody's faces: refuse it.
# The other bounds are what this service itself never exceeds.
STRICT_MODE = models.StrictModeConfig(
    enabled=True,
    unindexed_filtering_retrieve=False,
    unindexed_filtering_update=False,
    max_query_limit=MAX_POINTS_PER_PROBE,
    upsert_max_batchsize=POINTS_PER_WRITE,
    max_timeout=MOST_TIMEOUT_S,
)
SHARED_KEY = "shared"
"""Shard key of all events that have no shards of their own. No event's: those are 32 characters."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerLayout:
    """What counts when a collection is created; an existing one keeps what it has.

    Attributes:
        replication_factor: copies of each shard; None for the server's default. A cluster wants 3.
        write_consistency_factor: copies that must accept a write. A cluster of three wants 2.
        shard_number: shards of the collection.
        promote_events: shard by keys of our own, so that events can be promoted to shards of their own
            (`server_tiers`).
        quantized: keep 4-bit TurboQuant codes for the graph search and rescore with the full vectors; for
            512-D vectors in events above the exact-search size.
        exact_search_kib: up to so much vector data of an event a search is exact.
        graph_edges, graph_build_ef: HNSW's m and ef_construct of an event's graph.
    """

    replication_factor: int | None = None
    write_consistency_factor: int | None = None
    shard_number: int | None = None
    promote_events: bool = False
    quantized: bool = False
    exact_search_kib: int = FULL_SCAN_KIB
    graph_edges: int = HNSW_EDGES
    graph_build_ef: int = HNSW_BUILD_EF


async def ensure_collection(
    client: AsyncQdrantClient, collection: str, dimension: int, layout: ServerLayout, timeout_s: int
) -> None:
    """Create the collection and its payload indexes where they are missing; any number of replicas may race.

    Raises:
        ConfigurationError: it exists with another dimension, distance or several named vectors.
        Exception: whatever qdrant-client raises.
    """
    if not await client.collection_exists(collection):
        try:
            await _create(client, collection, dimension, layout, timeout_s)
        except Exception as error:
            if not is_conflict(error):
                raise
    info = await client.get_collection(collection)
    check_vectors_config(collection, info.config.params.vectors, dimension)
    _check_sharding(collection, info, layout)
    for line in find_differences(info, layout):
        _log.warning("the collection %s on the Qdrant server is not as configured: %s", collection, line)
    if layout.promote_events:
        await _create_shared_shards(client, collection, layout, timeout_s)
    # Always looked at, not only after a creation: the creator may have died half way.
    for field, schema in INDEXES.items():
        if field not in info.payload_schema:
            await client.create_payload_index(collection, field, schema, wait=True, timeout=timeout_s)


def check_vectors_config(
    collection: str, found: models.VectorParams | dict[str, models.VectorParams] | None, dimension: int
) -> None:
    """Check the vectors a stored collection was made for.

    Raises:
        ConfigurationError: naming each thing that differs.
    """
    if not isinstance(found, models.VectorParams):
        differs = ["it has named vectors, not one unnamed vector"]
    else:
        wanted = {"dimension": (found.size, dimension), "distance": (found.distance.value, DISTANCE.value)}
        differs = [f"{name} is {has}, not {wants}" for name, (has, wants) in wanted.items() if has != wants]
    if differs:
        raise ConfigurationError(
            f"the collection {collection} on the Qdrant server does not fit: {'; '.join(differs)}",
            collection=collection,
        )


def find_differences(info: models.CollectionInfo, layout: ServerLayout) -> Iterator[str]:
    """Say how a stored collection differs from what was configured since; the collection's own counts."""
    parameters, hnsw, strict = info.config.params, info.config.hnsw_config, info.config.strict_mode_config
    wanted = {
        "replication_factor": (parameters.replication_factor, layout.replication_factor),
        "write_consistency_factor": (parameters.write_consistency_factor, layout.write_consistency_factor),
        "shard_number": (parameters.shard_number, layout.shard_number),
        "graph_edges": (hnsw.payload_m, layout.graph_edges),
        "graph_build_ef": (hnsw.ef_construct, layout.graph_build_ef),
        "exact_search_kib": (hnsw.full_scan_threshold, layout.exact_search_kib),
        "quantized": (info.config.quantization_config is not None, layout.quantized),
    }
    for name, (has, wants) in wanted.items():
        if has is not None and wants is not None and has != wants:
            yield f"gallery.{name} is {has} there, not {wants}"
    if strict is not None and not strict.enabled:
        yield "strict mode is off there"


def _check_sharding(collection: str, info: models.CollectionInfo, layout: ServerLayout) -> None:
    is_custom = info.config.params.sharding_method == models.ShardingMethod.CUSTOM
    if is_custom != layout.promote_events:
        wants = "without it" if layout.promote_events else "with it"
        raise ConfigurationError(
            f"gallery.promote_events is {str(layout.promote_events).lower()}, and the collection "
            f"{collection} on the Qdrant server was created {wants}; change the setting, or copy the events "
            "into a new collection",
            key="gallery.promote_events",
        )


async def _create_shared_shards(
    client: AsyncQdrantClient, collection: str, layout: ServerLayout, timeout_s: int
) -> None:
    info = await client.collection_cluster_info(collection)
    keys = [shard.shard_key for shard in info.local_shards]
    keys += [shard.shard_key for shard in info.remote_shards]
    if SHARED_KEY in keys:
        return
    try:
        await client.create_shard_key(
            collection,
            SHARED_KEY,
            shards_number=layout.shard_number,
            replication_factor=layout.replication_factor,
            timeout=timeout_s,
        )
    except Exception as error:
        if not is_conflict(error):
            raise


async def _create(
    client: AsyncQdrantClient, collection: str, dimension: int, layout: ServerLayout, timeout_s: int
) -> None:
    quantization = (
        models.TurboQuantization(
            turbo=models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS4, always_ram=True)
        )
        if layout.quantized
        else None
    )
    await client.create_collection(
        collection,
        vectors_config=models.VectorParams(size=dimension, distance=DISTANCE),
        # A graph per event and none over all of them: searches never cross events.
        hnsw_config=models.HnswConfigDiff(
            m=0,
            payload_m=layout.graph_edges,
            ef_construct=layout.graph_build_ef,
            full_scan_threshold=layout.exact_search_kib,
        ),
        quantization_config=quantization,
        strict_mode_config=STRICT_MODE,
        sharding_method=models.ShardingMethod.CUSTOM if layout.promote_events else None,
        replication_factor=layout.replication_factor,
        write_consistency_factor=layout.write_consistency_factor,
        shard_number=layout.shard_number,
        timeout=timeout_s,
    )
