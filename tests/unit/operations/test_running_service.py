"""What of a running service a restore notices, whatever process ids say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.database import Database
from serving.errors import RestoreRefused
from serving.operations import running_service
from serving.operations.running_service import refuse_while_serving
from serving.operations.service_note import FILE_NAME, ServiceNote, read_note, remove_note, write_note
from tests.unit.operations.conftest import Data

HOLD = """
import sys
from pathlib import Path
from serving.operations.service_note import ServiceNote, write_note
write_note(Path(sys.argv[1]), ServiceNote(int(sys.argv[2]), "http://127.0.0.1:1", "127.0.0.1:1"))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_service, "END_WAIT_S", 0.1)


async def test_a_note_counts_while_its_writer_lives(make_data: Callable[..., Data]) -> None:
    """As containers see each other: by an id that no process here has, and one that is one's own."""
    settings = make_data().settings
    nobody = 2**22 + 1  # more than the kernel ever gives
    process = subprocess.Popen(  # noqa: ASYNC220  # it ends with the test
        [sys.executable, "-c", HOLD, str(settings.data_dir), str(nobody)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        note = read_note(settings.data_dir)
        assert note is not None
        assert note.pid == nobody
        with pytest.raises(RestoreRefused, match=r"a service runs on .* stop the service first"):
            await refuse_while_serving(settings)
        process.kill()
    own = {"pid": os.getpid(), "url": "http://127.0.0.1:1", "ray_address": "127.0.0.1:1"}
    (settings.data_dir / FILE_NAME).write_text(json.dumps(own))
    assert read_note(settings.data_dir) is None
    await refuse_while_serving(settings)


async def test_sessions_of_a_service_are_noticed(
    make_data: Callable[..., Data], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(database_url=database_url)
    database = Database(database_url)
    await database.open()
    if not database_url.startswith("sqlite"):
        with pytest.raises(RestoreRefused, match="have sessions in the registry, from "):
            await refuse_while_serving(data.settings)
    await database.close()
    monkeypatch.setattr(running_service, "END_WAIT_S", 10.0)
    await refuse_while_serving(data.settings)


def test_a_service_that_ends_takes_its_note_along(tmp_path: Path) -> None:
    write_note(tmp_path, ServiceNote(os.getpid(), "http://127.0.0.1:1", "127.0.0.1:1"))
    assert read_note(tmp_path) is not None
    remove_note(tmp_path, os.getpid())
    assert not (tmp_path / FILE_NAME).exists()
    assert read_note(tmp_path) is None
