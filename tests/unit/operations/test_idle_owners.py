"""The gallery's owner that a cluster's service leaves behind, on a real Ray with a real Serve."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio

from serving.errors import RestoreRefused
from serving.gallery import FaceRecord
from serving.operations import idle_owners, running_service
from serving.operations.galleries import find_owned
from serving.operations.running_service import refuse_while_serving
from serving.settings import Settings
from tests.small_ray import start_small_ray
from tests.unit.operations.conftest import Data, vector_of

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray")

from ray import serve  # noqa: E402

from serving.gallery.owner_client import EmbeddedGalleryClient, stop_owner  # noqa: E402

TIMEOUT_S = 30.0


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[str]:
    with start_small_ray() as address:
        yield address


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_service, "END_WAIT_S", 0.1)
    monkeypatch.setattr(idle_owners, "IDLE_S", 0.5)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def left_behind(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Data]:
    """Fifty faces in an owner whose clients are gone; each test is nearer to its end."""
    folder = tmp_path_factory.mktemp("left") / "data"
    data = Data(Settings(_env_file=None, data_dir=folder))  # type: ignore[call-arg]
    client = EmbeddedGalleryClient(
        data.settings.gallery_dir, data.pack.id, data.pack.dimension, timeout_s=TIMEOUT_S
    )
    await client.upsert([FaceRecord("gala", f"p{n}", "a", vector_of(n), 1.7e9) for n in range(50)])
    await client.close()
    yield data
    for lock in find_owned(data.settings.gallery_dir):
        await stop_owner(lock.parent, lock.stem)


async def test_an_owner_that_somebody_asks_is_left_alone(
    left_behind: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_owners, "IDLE_S", 600.0)
    monkeypatch.setattr(idle_owners, "IDLE_WAIT_S", 0.0)
    with pytest.raises(RestoreRefused, match="somebody is asking the gallery"):
        await refuse_while_serving(left_behind.settings)
    assert find_owned(left_behind.settings.gallery_dir)


async def test_no_owner_is_taken_from_where_serve_runs(left_behind: Data) -> None:
    await asyncio.to_thread(serve.start, proxy_location="Disabled")
    try:
        with pytest.raises(RestoreRefused, match="Serve runs on this Ray"):
            await refuse_while_serving(left_behind.settings)
        assert find_owned(left_behind.settings.gallery_dir)
    finally:
        await asyncio.to_thread(serve.shutdown)


async def test_an_idle_owner_is_ended_and_all_that_it_acknowledged_is_there(left_behind: Data) -> None:
    [lock] = find_owned(left_behind.settings.gallery_dir)
    assert await refuse_while_serving(left_behind.settings) == [lock.stem]
    assert not find_owned(left_behind.settings.gallery_dir)
    gallery = left_behind.open_gallery()
    page = await gallery.read_faces("gala", None, 100)
    assert {each.person for each in page.faces} == {f"p{n}" for n in range(50)}
    await gallery.close()
    assert await refuse_while_serving(left_behind.settings) == []


async def test_another_process_that_has_the_files_open_is_named(make_data: Callable[..., Data]) -> None:
    data = make_data()
    gallery = data.open_gallery()
    with pytest.raises(RestoreRefused, match=r"has the gallery .* open, and cannot be asked to end"):
        await refuse_while_serving(data.settings)
    await gallery.close()
    assert await refuse_while_serving(data.settings) == []


def test_a_ray_that_cannot_be_joined_is_named(
    make_data: Callable[..., Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for whoever restores on another machine than the head."""
    data = make_data()
    gallery = data.open_gallery()

    def refuse(**_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(RestoreRefused, match=r"Ray at 10\.0\.0\.9:6379 cannot be joined"):
        asyncio.run(refuse_while_serving(data.settings, "10.0.0.9:6379"))
    asyncio.run(gallery.close())
