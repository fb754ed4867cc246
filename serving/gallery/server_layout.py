"""How a collection lies on a Qdrant server: created once by whoever comes first, checked by all others."""

from __future__ import annotations

from dataclasses import dataclass

from qdrant_client import AsyncQdrantClient, models

from serving.errors import ConfigurationError
from serving.gallery.layout import FULL_SCAN_KIB, HNSW_BUILD_EF, HNSW_EDGES
from serving.gallery.server_faults import is_conflict

DISTANCE = models.Distance.DOT
INDEXES = {
    "event": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    "person": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD),
}


@dataclass(frozen=True, slots=True)
class ServerLayout:
    """What counts when a collection is created; an existing one keeps what it has.

    Attributes:
        replication_factor: copies of each shard; None for the server's default. A cluster wants 3.
        write_consistency_factor: copies that must accept a write. A cluster of three wants 2.
        shard_number: shards of the collection.
        quantized: keep 4-bit TurboQuant codes for the graph search and rescore with the full vectors; for
            512-D vectors in events above the exact-search size.
    """

    replication_factor: int | None = None
    write_consistency_factor: int | None = None
    shard_number: int | None = None
    quantized: bool = False


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
            m=0, payload_m=HNSW_EDGES, ef_construct=HNSW_BUILD_EF, full_scan_threshold=FULL_SCAN_KIB
        ),
        quantization_config=quantization,
        # A filter that forgets its index is a full scan of everybody's faces: refuse it.
        strict_mode_config=models.StrictModeConfig(
            enabled=True, unindexed_filtering_retrieve=False, unindexed_filtering_update=False
        ),
        replication_factor=layout.replication_factor,
        write_consistency_factor=layout.write_consistency_factor,
        shard_number=layout.shard_number,
        timeout=timeout_s,
    )
