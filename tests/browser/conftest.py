"""The browsers that tests of pages visit: one without a camera, one before whose camera people stand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.browser.chromium import OpenPage, find_chromium, open_visit, run_chromium
from tests.browser.scenes import FRAMES_OF_EACH, set_scene, show_film


@pytest.fixture(scope="session")
def chromium_program() -> str:
    """Chromium, where it is installed."""
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not installed")
    return program


@pytest.fixture(scope="session")
def plain_chromium(chromium_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The one for all pages without a camera."""
    with run_chromium(chromium_program, tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


@pytest.fixture(scope="session")
def door_chromium(
    chromium_program: str, film: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The one whose camera is `film`."""
    with run_chromium(chromium_program, tmp_path_factory.mktemp("chromium"), show_film(film)) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def chromium(plain_chromium: str) -> str:
    """The one that a module's pages are opened in; a module that needs a camera has another."""
    return plain_chromium


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_page(chromium: str) -> AsyncIterator[OpenPage]:
    """Opens tabs that know nothing of those of other modules."""
    async with open_visit(chromium) as open_page:
        yield open_page


@pytest.fixture(scope="session")
def film(samples: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest stands before the camera, then somebody who is not enrolled."""
    guest, stranger = set_scene(samples["guest"], 1.7), set_scene(samples["portrait"], 3)
    path = tmp_path_factory.mktemp("film") / "door.mjpeg"
    path.write_bytes(guest * FRAMES_OF_EACH + stranger * FRAMES_OF_EACH)
    return path


@pytest.fixture
def gala(client: httpx.Client, samples: dict[str, Path]) -> str:
    """The id of an event where the guest is enrolled."""
    event = client.post("/v1/events", json={"name": "Winter gala"}).json()["id"]
    enrolled = client.post(
        f"/v1/events/{event}/people",
        data={"person_id": "guest", "name": "A guest"},
        files={"picture": samples["guest"].read_bytes()},
    )
    assert enrolled.status_code == 201, enrolled.text
    return str(event)
