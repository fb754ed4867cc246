"""Liveness on the real service, with real models: one live face and two pictures of pictures."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest


@pytest.fixture
def samples_dir(client: httpx.Client, shared_dir: Path) -> Path:
    """Pictures of a live person (T1) and of attacks (F1, F2), where the service has the models."""
    if client.get("/v1/model").json()["liveness"] is None:
        pytest.skip("the service has no liveness model")
    return shared_dir / "models" / "antispoof_samples"


def send(client: httpx.Client, url: str, picture: Path) -> httpx.Response:
    return client.post(url, content=picture.read_bytes(), headers={"Content-Type": "image/jpeg"})


def test_an_event_that_enforces_liveness_knows_nobody_by_a_photograph(
    client: httpx.Client, event: str, samples_dir: Path
) -> None:
    live, *attacks = (samples_dir / f"image_{name}.jpg" for name in ("T1", "F1", "F2"))
    off = send(client, f"{event}/recognise", attacks[0]).json()["faces"][0]
    assert (off["outcome"], off["liveness"]["status"]) == ("unknown", "not_checked")

    assert client.patch(event, json={"liveness": "observe"}).json()["effective_liveness"] == "observe"
    observed = send(client, f"{event}/recognise", attacks[0]).json()["faces"][0]
    assert (observed["outcome"], observed["liveness"]["status"]) == ("unknown", "spoof")
    assert observed["liveness"]["score"] < observed["liveness"]["threshold"]

    client.patch(event, json={"liveness": "enforce"})
    for attack in attacks:
        refused = send(client, f"{event}/people", attack)
        assert (refused.status_code, refused.json()["code"]) == (422, "presentation_attack")
        face = send(client, f"{event}/recognise", attack).json()["faces"][0]
        assert (face["outcome"], face["faults"][0]["reason"]) == ("refused", "presentation_attack")
    enrolled = send(client, f"{event}/people?person_id=real", live)
    assert enrolled.status_code == 201, enrolled.text
    assert enrolled.json()["faces"][0]["liveness"]["status"] == "live"
    face = send(client, f"{event}/recognise", live).json()["faces"][0]
    assert (face["outcome"], face["person"]["person_id"]) == ("match", "real")
    assert face["liveness"]["score"] > 0.9
