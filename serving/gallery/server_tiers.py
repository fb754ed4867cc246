"""Large events in shards of their own: tiered multitenancy of a Qdrant server, version 1.16 or later.

All events share the shards of one key. One that is promoted gets a key of its own, named like the event.
Every request names both: the server takes the event's own shards once they are complete, the shared ones
until then, so nothing else in the service knows or cares which events were promoted.
"""

from __future__ import annotations

import asyncio
import time

from qdrant_client import AsyncQdrantClient, models

from serving.errors import DeadlineExceeded, StageUnavailable
from serving.gallery.server_faults import is_conflict
from serving.gallery.server_layout import SHARED_KEY, ServerLayout

POLL_S = 0.5


def shards_of(event: str) -> models.ShardKeyWithFallback:
    """Where the points of an event are: its own shards if it has any, the shared ones if not."""
    return models.ShardKeyWithFallback(target=event, fallback=SHARED_KEY)


async def promote_event(
    client: AsyncQdrantClient,
    collection: str,
    event: str,
    within_event: models.Filter,
    layout: ServerLayout,
    timeout_s: float,
) -> bool:
    """Give an event shards of its own; searches and writes go on meanwhile. May be repeated after a failure.

    Args:
        within_event: the filter of everything of the event.
        timeout_s: how long to wait for its points to be copied.

    Returns:
        False if it had shards of its own already.

    Raises:
        DeadlineExceeded: the copy goes on; promoting again waits for it and finishes.
        StageUnavailable: the copy failed; the shared shards still hold everything.
        Exception: whatever qdrant-client raises.
    """
    state, is_copying = await _look(client, collection, event)
    if state is None:
        try:
            # Partial: the server goes on with the shared shards until the copy is complete.
            await client.create_shard_key(
                collection,
                event,
                shards_number=layout.shard_number,
                replication_factor=layout.replication_factor,
                initial_state=models.ReplicaState.PARTIAL,
            )
        except Exception as error:
            if not is_conflict(error):
                raise
    if state != models.ReplicaState.ACTIVE:
        if not is_copying:
            copy = models.ReplicatePoints(filter=within_event, from_shard_key=SHARED_KEY, to_shard_key=event)
            await client.cluster_collection_update(
                collection, models.ReplicatePointsOperation(replicate_points=copy)
            )
        await _wait_until_active(client, collection, event, timeout_s)
    # What is left behind would outlive an erasure.
    await client.delete(
        collection,
        points_selector=models.FilterSelector(filter=within_event),
        wait=True,
        shard_key_selector=SHARED_KEY,
    )
    return state != models.ReplicaState.ACTIVE


async def _wait_until_active(
    client: AsyncQdrantClient, collection: str, event: str, timeout_s: float
) -> None:
    give_up_at = time.monotonic() + timeout_s
    while True:
        state, _ = await _look(client, collection, event)
        if state == models.ReplicaState.ACTIVE:
            return
        if state == models.ReplicaState.DEAD:
            raise StageUnavailable("the Qdrant server could not copy the event's points to its own shards")
        if time.monotonic() >= give_up_at:
            raise DeadlineExceeded(f"the event's points were not copied within {timeout_s:g} s")
        await asyncio.sleep(POLL_S)


async def _look(
    client: AsyncQdrantClient, collection: str, event: str
) -> tuple[models.ReplicaState | None, bool]:
    """The state of the least ready of the event's own shards, None without any; whether one is copied to."""
    info = await client.collection_cluster_info(collection)
    states = {shard.shard_id: shard.state for shard in info.local_shards if shard.shard_key == event}
    states |= {shard.shard_id: shard.state for shard in info.remote_shards if shard.shard_key == event}
    is_copying = any({each.shard_id, each.to_shard_id} & set(states) for each in info.shard_transfers)
    if not states:
        return None, is_copying
    waiting = [state for state in states.values() if state != models.ReplicaState.ACTIVE]
    return (waiting[0] if waiting else models.ReplicaState.ACTIVE), is_copying
