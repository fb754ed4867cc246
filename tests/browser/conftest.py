from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.browser.scenes import FRAMES_OF_EACH, set_scene


@pytest.fixture(scope="module")
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
