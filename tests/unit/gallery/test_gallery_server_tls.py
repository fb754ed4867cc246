"""The server engine over TLS, with certificates of `rollcall secrets init`: who is trusted, and who not."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from serving.commands.secret_files import make_secret_files
from serving.errors import ConfigurationError, RollcallError, StageUnavailable
from serving.gallery import Probe
from serving.gallery.server import ServerGallery
from serving.gallery.server_connection import ServerAddress
from tests.unit.gallery.gallery_faces import face, grid_vector, new_event
from tests.unit.gallery.gallery_grpc import GrpcDouble
from tests.unit.gallery.gallery_wire import WireDouble

pytestmark = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect", "ignore:Local mode performs exact"
)
DIMENSION = 4
KEY = "hush"

Connect = Callable[..., ServerGallery]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's certificate, that of another host by the same authority, and another authority."""
    folder = tmp_path_factory.mktemp("secrets")
    for name, host in (("ours", "elsewhere.example"), ("theirs", "127.0.0.1")):
        make_secret_files(folder / name, [host])
    return folder


@pytest_asyncio.fixture(params=["rest", "grpc"])
async def connect(request: pytest.FixtureRequest, secrets: Path) -> AsyncIterator[Connect]:
    """Connects to a server with this certificate."""
    closing: list[Callable[[], None] | GrpcDouble] = []
    ours = secrets / "ours"

    async def start(certificate: str, **address: object) -> ServerGallery:
        files = {"qdrant": (ours / "qdrant.key", ours / "qdrant.pem"), "proxy": (ours / "proxy.pem",) * 2}
        key, chain = files[certificate]
        if request.param == "rest":
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(chain, key)
            wire = WireDouble(tls, KEY)
            closing.append(wire.close)
            return ServerGallery(ServerAddress(wire.url, **address), "test", DIMENSION, timeout_s=20)  # type: ignore[arg-type]
        double = GrpcDouble((key.read_bytes(), chain.read_bytes()), KEY)
        await double.server.start()
        closing.append(double)
        at = ServerAddress("https://127.0.0.1:9", prefer_grpc=True, grpc_port=double.port, **address)  # type: ignore[arg-type]
        return ServerGallery(at, "test", DIMENSION, timeout_s=20)

    yield start
    for each in closing:
        if isinstance(each, GrpcDouble):
            await each.server.stop(None)
        else:
            each()


async def test_what_is_stored_over_tls_is_found(connect: Connect, secrets: Path) -> None:
    gallery = await connect("qdrant", api_key=KEY, ca_file=secrets / "ours" / "ca.pem")
    await gallery.open()
    event = new_event()
    await gallery.upsert([face(event, "ann", "1", grid_vector(0))])
    (hits,) = await gallery.search([Probe(event, grid_vector(0), 3)])
    assert [hit.person for hit in hits] == ["ann"]
    await gallery.close()


@pytest.mark.parametrize(
    ("certificate", "ca", "key", "setting"),
    [
        ("qdrant", None, KEY, "gallery.ca_file"),
        ("qdrant", "theirs/ca.pem", KEY, "gallery.ca_file"),
        ("proxy", "ours/ca.pem", KEY, "gallery.ca_file"),
        ("qdrant", "ours/ca.pem", "wrong", "gallery.api_key"),
        ("qdrant", "ours/ca.pem", None, "gallery.api_key"),
        ("qdrant", "ours/missing.pem", KEY, "gallery.ca_file"),
        ("qdrant", "ours/qdrant.key", KEY, "gallery.ca_file"),
    ],
    ids=["no-authority", "wrong-authority", "wrong-host", "wrong-key", "no-key", "no-file", "no-certificate"],
)
async def test_what_is_not_trusted_names_the_setting(
    connect: Connect, secrets: Path, certificate: str, ca: str | None, key: str | None, setting: str
) -> None:
    gallery = await connect(certificate, api_key=key, ca_file=secrets / ca if ca else None)
    with pytest.raises(ConfigurationError) as caught:
        await gallery.open()
    assert caught.value.context["key"] == setting
    assert KEY not in str(caught.value.detail)
    await gallery.close()


async def test_a_key_that_is_changed_while_the_service_runs_is_an_outage(secrets: Path) -> None:
    wire = WireDouble(api_key=KEY)
    gallery = ServerGallery(ServerAddress(wire.url, KEY), "test", DIMENSION, timeout_s=20)
    await gallery.open()
    wire.api_key = "another"
    for ask in (gallery.count("e"), gallery.check(), gallery.search([Probe("e", grid_vector(0), 1)])):
        with pytest.raises(StageUnavailable) as caught:
            await ask
        assert isinstance(caught.value, RollcallError)
    wire.api_key = KEY
    assert await gallery.count("e") == 0
    await gallery.close()
    wire.close()
