"""The server engine on a cluster: what it asks for large events and backups, over real HTTP to a double."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.commands.gallery import promote
from serving.database import Database, sqlite_url
from serving.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InternalError,
    StageUnavailable,
    UnknownEvent,
)
from serving.gallery import Probe, server_tiers
from serving.gallery.engines import connect_server
from serving.gallery.server import ServerGallery
from serving.gallery.server_connection import ServerAddress
from serving.gallery.server_layout import SHARED_KEY, ServerLayout
from serving.gallery.server_snapshots import ServerSnapshots
from serving.packs.configured import find_configured_pack
from serving.registry import Registry
from serving.settings import GallerySettings, load_settings
from tests.unit.gallery.gallery_cluster import ClusterDouble
from tests.unit.gallery.gallery_faces import face, grid_vector, new_event

pytestmark = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect", "ignore:Local mode performs exact"
)
DIMENSION = 4
COLLECTION = "faces__test__4"


@pytest.fixture
def cluster() -> Iterator[ClusterDouble]:
    cluster = ClusterDouble()
    yield cluster
    cluster.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_tiers, "POLL_S", 0.01)


def connect(cluster: ClusterDouble, **settings: object) -> ServerGallery:
    chosen = GallerySettings(engine="server", url=cluster.url, timeout_s=20, **settings)  # type: ignore[arg-type]
    return connect_server(chosen, pack_id="test", dimension=DIMENSION)


async def test_every_setting_reaches_the_server(cluster: ClusterDouble) -> None:
    gallery = connect(
        cluster,
        replication_factor=3,
        write_consistency_factor=2,
        read_consistency="majority",
        shard_number=6,
        quantized=True,
        oversampling=8,
        exact_search_kib=2000,
        graph_edges=32,
        graph_build_ef=200,
        graph_search_ef=300,
    )
    await gallery.open()
    await gallery.search([Probe(new_event(), grid_vector(0), 3)])
    made = cluster.collections[COLLECTION].config
    assert (made["replication_factor"], made["write_consistency_factor"], made["shard_number"]) == (3, 2, 6)
    hnsw = made["hnsw_config"]
    assert (hnsw["payload_m"], hnsw["ef_construct"], hnsw["full_scan_threshold"]) == (32, 200, 2000)
    assert made["quantization_config"]["turbo"]["bits"] == "bits4"
    assert made["strict_mode_config"]["upsert_max_batchsize"] == 500
    (asked,) = cluster.points_requests()
    assert "consistency=majority" in asked.query
    (query,) = asked.body["searches"]
    assert query["params"] == {"hnsw_ef": 300, "quantization": {"rescore": True, "oversampling": 8.0}}
    await gallery.close()


async def test_a_collection_made_otherwise_is_told_of(
    cluster: ClusterDouble, caplog: pytest.LogCaptureFixture
) -> None:
    await connect(cluster, replication_factor=1).open()
    with caplog.at_level(logging.WARNING):
        await connect(cluster, replication_factor=3, write_consistency_factor=2).open()
    assert "gallery.replication_factor is 1 there, not 3" in caplog.text


async def test_requests_name_the_events_own_shards_and_the_shared_ones(cluster: ClusterDouble) -> None:
    gallery = connect(cluster, promote_events=True)
    await gallery.open()
    assert cluster.collections[COLLECTION].config["sharding_method"] == "custom"
    assert cluster.keys == {SHARED_KEY: "Active"}
    await connect(cluster, promote_events=True).open()  # which finds them there
    large, small = new_event(), new_event()
    await gallery.upsert([face(event, "ann", "1", grid_vector(0)) for event in (large, small)])
    await gallery.search([Probe(small, grid_vector(0), 1), Probe(large, grid_vector(0), 1)])
    await gallery.count(small)
    await gallery.read_faces(small, None, 5)
    await gallery.erase_person(large, "ann")
    bodies = [request.body for request in cluster.points_requests()]
    keys = [part.get("shard_key") for body in bodies for part in body.get("searches", [body])]
    asked = (large, small, small, large, small, small, large)
    routed = [{"target": event, "fallback": SHARED_KEY} for event in asked]
    assert keys == [*routed, SHARED_KEY]  # an erasure reaches what a promotion left behind
    await gallery.close()


async def test_promotion_copies_then_deletes_what_it_copied(cluster: ClusterDouble) -> None:
    gallery = connect(cluster, promote_events=True)
    await gallery.open()
    event = new_event()
    assert await gallery.promote(event, 20)
    only = f'[{{"key": "event", "match": {{"value": "{event}"}}}}]'
    wanted = [f"key {event} Partial", f"replicate {only}", f"delete in {SHARED_KEY}"]
    assert cluster.steps[1:] == wanted
    assert cluster.keys[event] == "Active"
    assert not await gallery.promote(event, 20)
    assert cluster.steps[1:] == [*wanted, f"delete in {SHARED_KEY}"]
    await gallery.close()


async def test_a_copy_that_is_late_or_dead_deletes_nothing(cluster: ClusterDouble) -> None:
    gallery = connect(cluster, promote_events=True)
    await gallery.open()
    event = new_event()
    cluster.polls_until_active = 10**9
    with pytest.raises(DeadlineExceeded):
        await gallery.promote(event, 0.05)
    cluster.keys[event] = "Dead"
    with pytest.raises(StageUnavailable):
        await gallery.promote(event, 20)
    assert not [step for step in cluster.steps if step.startswith("delete")]
    cluster.keys[event] = "Partial"
    cluster.polls_until_active = 3
    assert await gallery.promote(event, 20)
    assert cluster.steps[-1] == f"delete in {SHARED_KEY}"
    await gallery.close()


def test_the_command_promotes_the_events_partition(
    cluster: ClusterDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_id = find_configured_pack(load_settings()).id

    async def create() -> str:
        registry = Registry(Database(sqlite_url(tmp_path / "registry.sqlite3")))
        await registry.open()
        made = await registry.create_event("gala", None, pack_id)
        await registry.close()
        return made.places[0].partition

    partition = asyncio.run(create())
    settings = {"DATA_DIR": str(tmp_path), "GALLERY__ENGINE": "server", "GALLERY__URL": cluster.url}
    for name, value in (settings | {"GALLERY__PROMOTE_EVENTS": "true"}).items():
        monkeypatch.setenv(f"ROLLCALL_{name}", value)
    promote("gala", 20)
    assert cluster.keys == {SHARED_KEY: "Active", partition: "Active"}
    with pytest.raises(UnknownEvent):
        promote("nothing", 20)


@pytest.mark.parametrize("promoting", [False, True])
async def test_a_collection_sharded_otherwise_is_refused(cluster: ClusterDouble, promoting: bool) -> None:
    made = connect(cluster, promote_events=promoting)
    await made.open()
    with pytest.raises(ConfigurationError, match=r"gallery\.promote_events"):
        await connect(cluster, promote_events=not promoting).open()
    if not promoting:
        with pytest.raises(ConfigurationError, match=r"gallery\.promote_events"):
            await made.promote(new_event(), 1)


async def test_a_snapshot_is_fetched_and_put_back(cluster: ClusterDouble, tmp_path: Path) -> None:
    await ServerGallery(cluster.url, "test", DIMENSION, layout=ServerLayout()).open()
    snapshots = ServerSnapshots(ServerAddress(cluster.url), COLLECTION, timeout_s=20)
    made = snapshots.create()
    assert snapshots.list() == [made]
    file = tmp_path / "faces.snapshot"
    digest = snapshots.fetch(made, file)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest() == made.sha256
    snapshots.restore(file, digest)
    assert cluster.restored == file.read_bytes()
    (upload,) = [each for each in cluster.requests if each.path.endswith("upload")]
    assert f"checksum={digest}" in upload.query
    assert "priority=snapshot" in upload.query
    snapshots.delete(made.name)
    assert snapshots.list() == []


def test_a_damaged_snapshot_leaves_no_file(cluster: ClusterDouble, tmp_path: Path) -> None:
    snapshots = ServerSnapshots(ServerAddress(cluster.url), COLLECTION, timeout_s=20)
    made = snapshots.create()
    cluster.damage = b"nothing" * 10
    with pytest.raises(InternalError, match="damaged"):
        snapshots.fetch(made, tmp_path / "faces.snapshot")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InternalError, match="not the name"):
        snapshots.delete("../other/1")
    nowhere = ServerSnapshots(ServerAddress("http://127.0.0.1:9"), COLLECTION, timeout_s=2)
    with pytest.raises(StageUnavailable):
        nowhere.create()
