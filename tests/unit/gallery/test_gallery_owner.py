"""The embedded engine in its real owner actor, on a small Ray of its own."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from serving.errors import ConfigurationError, DeadlineExceeded, InternalError, StageUnavailable
from serving.gallery import Gallery, Probe
from tests.small_ray import start_small_ray
from tests.unit.gallery.gallery_contract import DIMENSION, GalleryContract, World
from tests.unit.gallery.gallery_faces import face, grid_vector, new_event, random_vectors

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray")

from serving.deployments.metrics import make_joiner  # noqa: E402
from serving.gallery.owner_client import EmbeddedGalleryClient, owner_name  # noqa: E402
from serving.settings import DeployedSettings, Settings  # noqa: E402
from serving.telemetry.node_directory import NodeDirectory  # noqa: E402

TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    with start_small_ray():
        yield


@pytest.fixture(scope="module")
def directory(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gallery")


@pytest.fixture
async def client(directory: Path) -> AsyncIterator[EmbeddedGalleryClient]:
    client = EmbeddedGalleryClient(directory, "test", DIMENSION, timeout_s=TIMEOUT_S, flush_interval_s=0.2)
    await client.open()
    yield client
    await client.close()


def kill_owner(client: EmbeddedGalleryClient, no_restart: bool) -> None:
    ray.kill(ray.get_actor(client.actor_name, namespace="rollcall"), no_restart=no_restart)


def wait_for_end(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(TIMEOUT_S)


def wait_until_gone(path: Path, timeout_s: float) -> None:
    give_up_at = time.monotonic() + timeout_s
    while path.exists():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def holds_bytes(directory: Path, needle: bytes) -> bool:
    return any(needle in path.read_bytes() for path in directory.rglob("*") if path.is_file())


class TestOwner(GalleryContract):
    @pytest.fixture
    async def world(self, client: EmbeddedGalleryClient, directory: Path) -> World:
        async def reopen() -> Gallery:
            await client.stop_owner()
            again = EmbeddedGalleryClient(directory, "test", DIMENSION, timeout_s=TIMEOUT_S)
            await again.open()
            return again

        return World(client, reopen)


@pytest.mark.parametrize("no_restart", [False, True], ids=["restarted by ray", "created anew"])
async def test_killing_the_owner_loses_nothing_and_calls_recover(
    client: EmbeddedGalleryClient, no_restart: bool
) -> None:
    event, acknowledged, stop = new_event(), [], asyncio.Event()

    async def enrol_until_stopped() -> None:
        while not stop.is_set():
            name = f"{len(acknowledged):05}"
            await client.upsert([face(event, "ann", name, grid_vector(len(acknowledged) % 10))])
            acknowledged.append(name)

    enrolment = asyncio.create_task(enrol_until_stopped())
    for _ in range(2):
        before = len(acknowledged)
        while len(acknowledged) < before + 20:
            assert not enrolment.done()
            await asyncio.sleep(0.01)
        kill_owner(client, no_restart)
        killed_at = time.monotonic()
        after_kill = len(acknowledged)
        while len(acknowledged) < after_kill + 20:
            assert not enrolment.done()
            assert time.monotonic() - killed_at < TIMEOUT_S
            await asyncio.sleep(0.01)
    stop.set()
    await enrolment
    assert await client.faces_of(event, "ann") == acknowledged


async def test_two_clients_share_one_owner(client: EmbeddedGalleryClient, directory: Path) -> None:
    event = new_event()
    twins = [EmbeddedGalleryClient(directory, "test", DIMENSION, timeout_s=TIMEOUT_S) for _ in range(4)]
    await asyncio.gather(*(twin.open() for twin in twins))
    await twins[0].upsert([face(event, "ann", "1", grid_vector(0))])
    for twin in (client, *twins):
        assert await twin.count(event) == 1
    assert owner_name(directory, "test", DIMENSION) != owner_name(directory, "other", DIMENSION)
    assert owner_name(directory / "x" / "..", "test", 4) != owner_name(directory.parent, "test", 4)


async def test_a_busy_owner_is_busy_and_not_dead(client: EmbeddedGalleryClient) -> None:
    event = new_event()
    await client.upsert([face(event, "ann", "1", grid_vector(0))])
    await client.erase_event(event)
    compaction = asyncio.create_task(client.compact(timeout_s=60))
    states = set()
    while not compaction.done():
        states.add((await client.check()).state)
    await compaction
    assert "busy" in states
    assert (await client.check()).state == "ready"


async def test_a_call_has_a_deadline(client: EmbeddedGalleryClient, directory: Path) -> None:
    hasty = EmbeddedGalleryClient(directory, "test", DIMENSION, timeout_s=0.3)
    await hasty.open()
    owner = int((directory / f"faces__test__{DIMENSION}.lock").read_text())
    os.kill(owner, signal.SIGSTOP)
    try:
        with pytest.raises(DeadlineExceeded):
            await hasty.count(new_event())
    finally:
        os.kill(owner, signal.SIGCONT)
    assert await client.count(new_event()) == 0


async def test_the_owner_flushes_and_compacts_by_itself(local_ray: None, tmp_path: Path) -> None:
    client = EmbeddedGalleryClient(
        tmp_path, "test", 32, timeout_s=TIMEOUT_S, flush_interval_s=0.1, compact_after_s=0.1
    )
    await client.open()
    (vector,) = random_vectors(1, 32, seed=2)
    await client.upsert([face("e", "ann", "1", vector)])
    await client.erase_person("e", "ann")
    await asyncio.to_thread(wait_until_gone, tmp_path / "faces__test__32.erased", 20.0)
    assert not holds_bytes(tmp_path, vector.tobytes())
    await client.stop_owner()


async def test_errors_arrive_as_themselves(client: EmbeddedGalleryClient, tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="key"):
        await client.count("")
    (tmp_path / "file").touch()
    nowhere = EmbeddedGalleryClient(tmp_path / "file" / "below", "test", 4, timeout_s=TIMEOUT_S)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await nowhere.open()
    kill_owner(nowhere, no_restart=True)


async def test_an_owner_silent_for_too_long_is_unavailable(
    client: EmbeddedGalleryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.gallery.owner_client.BUSY_MOST_S", 0.0)
    monkeypatch.setattr("serving.gallery.owner_client.HEALTH_TIMEOUT_S", 0.0)
    with pytest.raises(StageUnavailable, match="silent"):
        await client.check()


async def test_an_owner_of_another_version_is_named_as_that(local_ray: None, tmp_path: Path) -> None:
    class Other:
        def open(self) -> None:
            pass

        def search(self, events: list) -> list:
            return []

    client = EmbeddedGalleryClient(tmp_path, "test", DIMENSION, timeout_s=TIMEOUT_S)
    owner = ray.remote(Other).options(name=client.actor_name, namespace="rollcall", num_cpus=0).remote()
    await client.open()
    with pytest.raises(InternalError, match="another version"):
        await client.read_faces("e", None, 10)
    with pytest.raises(InternalError, match="another version"):
        await client.search([Probe("e", grid_vector(0), 1)])
    ray.kill(owner)


async def test_search_after_stop_starts_a_new_owner(client: EmbeddedGalleryClient) -> None:
    event = new_event()
    await client.upsert([face(event, "ann", "1", grid_vector(0))])
    await client.stop_owner()
    (hits,) = await client.search([Probe(event, grid_vector(0), 1)])
    assert [hit.person for hit in hits] == ["ann"]


def _start_where(permitted: Path) -> None:
    if not permitted.exists():
        raise ConfigurationError("a secret is missing here")


async def test_a_fault_at_its_start_is_told_and_may_be_mended(local_ray: None, tmp_path: Path) -> None:
    permitted = tmp_path / "permitted"
    client = EmbeddedGalleryClient(
        tmp_path, "test", DIMENSION, timeout_s=TIMEOUT_S, on_owner_start=partial(_start_where, permitted)
    )
    with pytest.raises(ConfigurationError, match="a secret is missing here"):
        await client.open()
    permitted.touch()
    await client.open()
    assert await client.count(new_event()) == 0
    await client.stop_owner()


async def test_the_owners_process_is_among_those_that_count(local_ray: None, tmp_path: Path) -> None:
    joiner = make_joiner(DeployedSettings.of(Settings(data_dir=tmp_path), {}), "GalleryOwner")
    client = EmbeddedGalleryClient(tmp_path, "test", DIMENSION, timeout_s=TIMEOUT_S, on_owner_start=joiner)
    node = NodeDirectory.of_session(ray.get_runtime_context().get_session_name())
    seen = []
    for _ in range(2):
        await client.search([Probe(new_event(), grid_vector(0), 1)])
        seen += [member.pid for member in node.read().members if member.deployment == "GalleryOwner"]
        kill_owner(client, no_restart=False)
        await asyncio.to_thread(wait_for_end, seen[-1])
    assert len(set(seen)) == 2, "each life joins"
    assert os.getpid() not in seen
    await client.stop_owner()
