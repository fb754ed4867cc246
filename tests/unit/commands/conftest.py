from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from serving.commands import bulk, service_client
from serving.commands.service_client import connect
from tests.unit.commands.fake_service import FakeService


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeService:
    fake = FakeService()

    monkeypatch.setattr(bulk, "connect", lambda url, token: connect(url, token, httpx.MockTransport(fake)))
    monkeypatch.setattr(bulk, "POLL_S", 0.001)
    hasty = replace(service_client.PATIENCE, first_pause_s=0.001, longest_pause_s=0.002)
    monkeypatch.setattr(service_client, "PATIENCE", hasty)
    for name in list(os.environ):
        if name.upper().startswith("ROLLCALL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ROLLCALL_TOKEN", "secret")
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of two people, one of nobody, and what is known of them."""
    made = tmp_path / "people"
    for name in ("ada/1.jpg", "ada/2.jpg", "bob.png", ".DS_Store", "not an id/1.jpg"):
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (made / "people.ndjson").write_text(
        '{"person_id": "ada", "name": "Ada", "metadata": {"table": 4}}\nbad\n'
    )
    return made
