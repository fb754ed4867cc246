"""The server engine when the server is slow, failing, racing, of another kind, or refuses."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from serving.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InternalError,
    Overloaded,
    RollcallError,
    StageUnavailable,
)
from serving.gallery import Probe
from serving.gallery.server import ServerGallery
from serving.gallery.server_connection import ServerAddress
from serving.gallery.server_layout import ServerLayout
from tests.unit.gallery.gallery_faces import face, grid_vector, new_event
from tests.unit.gallery.gallery_wire import Fault, WireDouble

pytestmark = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect",
    "ignore:Local mode performs exact",
    "ignore:Api key is used with an insecure connection",
)
DIMENSION = 4
PROBE = Probe("e" * 32, grid_vector(0), 3)


@pytest.fixture
def wire() -> Iterator[WireDouble]:
    wire = WireDouble()
    yield wire
    wire.close()


@pytest.fixture
async def gallery(wire: WireDouble) -> AsyncIterator[ServerGallery]:
    gallery = ServerGallery(ServerAddress(wire.url, "hush"), "test", DIMENSION, timeout_s=20)
    await gallery.open()
    yield gallery
    await gallery.close()


@pytest.mark.parametrize(
    "fault", [Fault(status=500), Fault(status=503), Fault(drop=True), Fault(status=429, retry_after_s=1)]
)
async def test_a_passing_fault_is_not_noticed(wire: WireDouble, gallery: ServerGallery, fault: Fault) -> None:
    event = new_event()
    wire.faults.append(fault)
    await gallery.upsert([face(event, "ann", "1", grid_vector(0))])
    wire.faults.extend([fault, fault])
    (hits,) = await gallery.search([Probe(event, grid_vector(0), 3)])
    assert [hit.person for hit in hits] == ["ann"]
    assert not wire.faults
    assert len(list(wire.points_requests())) == 2 + 3


@pytest.mark.parametrize(
    ("fault", "error", "requests"),
    [
        (Fault(status=500), StageUnavailable, 4),
        (Fault(drop=True), StageUnavailable, 4),
        (Fault(status=429, retry_after_s=1), Overloaded, 4),
        (Fault(status=429), Overloaded, 4),
        (Fault(status=400, message="Index required but not found"), InternalError, 1),
        (Fault(status=404, message="no collection"), StageUnavailable, 4),
        (Fault(status=401), StageUnavailable, 1),
        (Fault(status=403), StageUnavailable, 1),
        (Fault(garbage=True), InternalError, 1),
    ],
)
async def test_a_lasting_fault_ends_in_our_error_after_bounded_attempts(
    wire: WireDouble, gallery: ServerGallery, fault: Fault, error: type[RollcallError], requests: int
) -> None:
    wire.faults.extend([fault] * 20)
    with pytest.raises(error) as caught:
        await gallery.search([PROBE])
    assert type(caught.value) is error
    assert len(list(wire.points_requests())) == requests
    assert "hush" not in caught.value.detail
    if fault.status == 400:
        assert "Index required" in caught.value.detail


async def test_a_slow_server_costs_the_deadline_and_no_more(wire: WireDouble, gallery: ServerGallery) -> None:
    gallery._timeout_s = 0.5
    wire.faults.extend([Fault(delay_s=60)] * 4)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await gallery.search([PROBE])
    assert 0.4 < time.monotonic() - started < 30


async def test_retries_stop_at_the_deadline(wire: WireDouble) -> None:
    gallery = ServerGallery(wire.url, "test", DIMENSION, timeout_s=1.5, most_attempts=1000)
    await gallery.open()
    wire.faults.extend([Fault(status=503)] * 1000)
    started = time.monotonic()
    with pytest.raises(StageUnavailable):
        await gallery.search([PROBE])
    assert time.monotonic() - started < 30
    assert 2 <= len(list(wire.points_requests())) < 60
    await gallery.close()


async def test_no_server_is_unavailable() -> None:
    gallery = ServerGallery("http://127.0.0.1:9", "test", DIMENSION, timeout_s=20)
    with pytest.raises(StageUnavailable):
        await gallery.open()
    with pytest.raises(StageUnavailable):
        await gallery.check()
    await gallery.close()
    with pytest.raises(StageUnavailable):
        await gallery.search([PROBE])


async def test_many_replicas_may_open_at_once(wire: WireDouble) -> None:
    wire.creation_delay_s = 0.2
    replicas = [ServerGallery(wire.url, "test", DIMENSION, timeout_s=10) for _ in range(8)]
    await asyncio.gather(*(replica.open() for replica in replicas))
    creations = [r for r in wire.requests if r.method == "PUT" and r.path == "/collections/faces__test__4"]
    assert len(creations) >= 2, "the race did not happen"
    assert list(wire.collections) == ["faces__test__4"]
    assert set(wire.collections["faces__test__4"].indexes) == {"event", "person"}
    for replica in replicas:
        await replica.close()


async def test_a_creation_that_died_half_way_is_finished(wire: WireDouble, gallery: ServerGallery) -> None:
    wire.collections["faces__test__4"].indexes.clear()
    await gallery.open()
    assert set(wire.collections["faces__test__4"].indexes) == {"event", "person"}


async def test_the_collection_is_laid_out_as_documented(wire: WireDouble, gallery: ServerGallery) -> None:
    made = wire.collections["faces__test__4"]
    assert made.config["vectors"] == {"size": 4, "distance": "Dot"}
    strict = made.config["strict_mode_config"]
    assert strict["enabled"]
    assert strict["unindexed_filtering_retrieve"] is strict["unindexed_filtering_update"] is False
    hnsw = made.config["hnsw_config"]
    assert (hnsw["m"], hnsw["payload_m"], hnsw["ef_construct"]) == (0, 16, 128)
    assert made.indexes["event"]["is_tenant"] is True


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        ({"size": 5, "distance": "Dot"}, "dimension is 5, not 4"),
        ({"size": 4, "distance": "Euclid"}, "distance is Euclid, not Dot"),
    ],
)
async def test_a_collection_of_another_kind_is_refused(
    wire: WireDouble, gallery: ServerGallery, vectors: dict[str, object], says: str
) -> None:
    wire.collections["faces__test__4"].config["vectors"] = vectors
    with pytest.raises(ConfigurationError, match=says):
        await gallery.open()


async def test_every_request_names_its_event(wire: WireDouble, gallery: ServerGallery) -> None:
    event, other = new_event(), new_event()
    await gallery.upsert([face(event, "ann", "1", grid_vector(0))])
    await gallery.search([Probe(event, grid_vector(0), 3), Probe(other, grid_vector(0), 3, "ann")])
    await gallery.count(event, "ann")
    await gallery.faces_of(event, "ann")
    await gallery.read_faces(event, None, 5)
    await gallery.read_faces(event, None, 5, "ann")
    await gallery.erase_faces(event, [("ann", "1")])
    await gallery.erase_person(event, "ann")
    await gallery.erase_event(event)
    filters = []
    for request in wire.points_requests():
        assert request.headers["api-key"] == "hush"
        if request.method == "PUT" or request.path.endswith("delete"):
            assert "wait=true" in request.query
        if request.method == "POST":
            filters += [part["filter"] for part in request.body.get("searches", [request.body])]
    assert len(filters) == 9
    for where, named in zip(filters, [event, other, *[event] * 7], strict=True):
        assert {"key": "event", "match": {"value": named}} in where["must"]
    of_ann = [{"key": "person", "match": {"value": "ann"}} in where["must"] for where in filters]
    assert of_ann == [False, True, True, True, False, True, False, True, False]


async def test_a_quantized_layout_rescores(wire: WireDouble) -> None:
    gallery = ServerGallery(
        wire.url, "test", DIMENSION, layout=ServerLayout(quantized=True, replication_factor=3)
    )
    await gallery.open()
    await gallery.search([PROBE])
    config = wire.collections["faces__test__4"].config
    assert config["quantization_config"]["turbo"]["bits"] == "bits4"
    assert config["replication_factor"] == 3
    (request,) = wire.points_requests()
    quantization = request.body["searches"][0]["params"]["quantization"]
    assert quantization["rescore"] is True
    assert quantization["oversampling"] >= 16
    await gallery.close()
