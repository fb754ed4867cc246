"""The server engine: on qdrant-client's local double, on a double behind a socket, and on a real server."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from grpc import StatusCode
from qdrant_client import AsyncQdrantClient

from serving.errors import (
    DeadlineExceeded,
    InternalError,
    Overloaded,
    RollcallError,
    StageUnavailable,
)
from serving.gallery import Gallery
from serving.gallery.server import ServerGallery
from serving.gallery.server_connection import ServerAddress
from tests.unit.gallery.gallery_contract import DIMENSION, GalleryContract, World
from tests.unit.gallery.gallery_grpc import GrpcDouble
from tests.unit.gallery.gallery_wire import WireDouble

pytestmark = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect", "ignore:Local mode performs exact", "ignore:Api key is used"
)


class TestLocalDouble(GalleryContract):
    @pytest.fixture
    async def world(self) -> AsyncIterator[World]:
        client = AsyncQdrantClient(location=":memory:")

        async def open_gallery() -> Gallery:
            gallery = ServerGallery("http://127.0.0.1:9", "test", DIMENSION, client=client)
            await gallery.open()
            return gallery

        yield World(await open_gallery(), open_gallery)
        await client.close()


class TestWireDouble(GalleryContract):
    @pytest.fixture(scope="class")
    def wire(self) -> Iterator[WireDouble]:
        wire = WireDouble()
        yield wire
        wire.close()

    @pytest.fixture
    async def world(self, wire: WireDouble) -> AsyncIterator[World]:
        opened = []

        async def open_gallery() -> Gallery:
            opened.append(ServerGallery(wire.url, "test", DIMENSION, timeout_s=20))
            await opened[-1].open()
            return opened[-1]

        yield World(await open_gallery(), open_gallery)
        for gallery in opened:
            await gallery.close()


class TestGrpcDouble(GalleryContract):
    @pytest.fixture
    async def world(self) -> AsyncIterator[World]:
        double = GrpcDouble()
        await double.server.start()
        opened = []

        async def open_gallery() -> Gallery:
            gallery = grpc_gallery(double)
            await gallery.open()
            opened.append(gallery)
            return gallery

        yield World(await open_gallery(), open_gallery)
        assert double.calls or double.indexes, "nothing went over gRPC"
        for gallery in opened:
            await gallery.close()
        await double.server.stop(None)


@pytest.mark.parametrize(
    ("code", "error", "calls"),
    [
        (StatusCode.UNAVAILABLE, StageUnavailable, 4),
        (StatusCode.NOT_FOUND, StageUnavailable, 4),
        (StatusCode.RESOURCE_EXHAUSTED, Overloaded, 4),
        (StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded, 4),
        (StatusCode.INVALID_ARGUMENT, InternalError, 1),
        (StatusCode.UNAUTHENTICATED, StageUnavailable, 1),
    ],
)
async def test_grpc_faults_are_retried_or_told(
    code: StatusCode, error: type[RollcallError], calls: int
) -> None:
    double = GrpcDouble()
    await double.server.start()
    gallery = grpc_gallery(double)
    await gallery.open()
    double.faults.extend([code] * 4)
    with pytest.raises(error) as caught:
        await gallery.count("e")
    assert type(caught.value) is error
    assert double.calls == ["Count"] * calls
    double.faults.clear()
    assert await gallery.count("e") == 0
    await gallery.close()
    await double.server.stop(None)


def grpc_gallery(double: GrpcDouble) -> ServerGallery:
    address = ServerAddress("http://127.0.0.1:9", prefer_grpc=True, grpc_port=double.port)
    return ServerGallery(address, "test", DIMENSION, timeout_s=20)


@pytest.mark.skipif("QDRANT_URL" not in os.environ, reason="QDRANT_URL names no Qdrant server")
@pytest.mark.parametrize("prefer_grpc", [False, True], ids=["rest", "grpc"])
class TestRealServer(GalleryContract):
    @pytest.fixture
    async def world(self, prefer_grpc: bool) -> AsyncIterator[World]:
        url, api_key = os.environ["QDRANT_URL"], os.environ.get("QDRANT_API_KEY")
        pack_id = f"test-{uuid.uuid4().hex[:8]}"
        opened = []

        async def open_gallery() -> Gallery:
            address = ServerAddress(url, api_key, prefer_grpc=prefer_grpc)
            gallery = ServerGallery(address, pack_id, DIMENSION, timeout_s=20)
            await gallery.open()
            opened.append(gallery)
            return gallery

        yield World(await open_gallery(), open_gallery)
        for gallery in opened:
            await gallery.close()
        client = AsyncQdrantClient(url=url, api_key=api_key)
        await client.delete_collection(opened[0].collection)
        await client.close()
