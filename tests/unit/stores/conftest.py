"""A PostgreSQL for the tests that break one, on a disk so small that it can be filled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.commands.secret_files import make_secret_files
from tests.chaos.stores import PostgresServer, mount_small_disk

DISK_MIB = 256


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates: `ours` signs the servers', `theirs` is another authority."""
    folder = tmp_path_factory.mktemp("secrets")
    for name in ("ours", "theirs"):
        make_secret_files(folder / name, ["elsewhere.example"])
    return folder


@pytest.fixture(scope="module")
def disk() -> Iterator[Path | None]:
    """A directory with a small file system of its own; None where it cannot be mounted."""
    with contextlib.ExitStack() as stack:
        small = mount_small_disk(DISK_MIB)
        try:
            mounted = stack.enter_context(small)
        except pytest.skip.Exception:
            mounted = None
        yield mounted


@pytest.fixture(scope="module")
def server(disk: Path | None, secrets: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that speaks plainly and over TLS."""
    with PostgresServer(disk, tls=secrets / "ours", shared_buffers="16MB") as server:
        yield server
