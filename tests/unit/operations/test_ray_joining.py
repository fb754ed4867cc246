"""A command that would join a Ray that is not there any more."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from serving.errors import BackupError
from serving.operations.ray_joining import join_ray
from serving.runtime import find_free_port
from serving.settings import Settings

pytest.importorskip("ray")


@pytest.fixture(autouse=True)
def _leave_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())  # Ray's flags are set in it


def test_a_ray_that_has_ended_is_told_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    port = find_free_port()
    with pytest.raises(BackupError, match=rf"Ray at 127\.0\.0\.1:{port} cannot be joined"):
        join_ray(Settings(data_dir=tmp_path), f"127.0.0.1:{port}")
    assert time.monotonic() - began < 20, "Ray itself asks for minutes"


def test_a_machine_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(address: tuple[str, int], timeout_s: float) -> socket.socket:
        assert (address, timeout_s) == (("fe80::1", 6379), 5.0)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", never)
    with pytest.raises(BackupError, match="cannot be joined"):
        join_ray(Settings(data_dir=tmp_path), "[fe80::1]:6379")
