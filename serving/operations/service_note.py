"""The note that `rollcall serve` leaves in data_dir while it runs: how its Ray and its HTTP are reached."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from serving.database.location import make_private_directory

FILE_NAME = "service.json"


@dataclass(frozen=True, slots=True)
class ServiceNote:
    """A service that runs, or ran until it was killed.

    Attributes:
        pid: of the command.
        url: where it listens, as this machine reaches it.
        ray_address: host:port of its Ray's control store.
    """

    pid: int
    url: str
    ray_address: str

    @property
    def lives(self) -> bool:
        """Whether a process of that id is there."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def write_note(data_dir: Path, note: ServiceNote) -> None:
    """Leave the note, mode 0600."""
    make_private_directory(data_dir)
    draft = data_dir / f".{FILE_NAME}.{os.getpid()}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(note), file)
    os.replace(draft, data_dir / FILE_NAME)


def read_note(data_dir: Path) -> ServiceNote | None:
    """The note of a service that lives; None where there is none."""
    try:
        content = json.loads((data_dir / FILE_NAME).read_text("utf-8"))
        note = ServiceNote(int(content["pid"]), str(content["url"]), str(content["ray_address"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return note if note.lives else None


def remove_note(data_dir: Path, pid: int) -> None:
    """Take away one's own note."""
    note = read_note(data_dir)
    if note is not None and note.pid == pid:
        with contextlib.suppress(OSError):
            (data_dir / FILE_NAME).unlink()
