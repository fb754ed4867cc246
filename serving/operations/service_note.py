"""The note that `rollcall serve` leaves in data_dir while it runs: how its Ray and its HTTP are reached."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from serving.directories import make_private_directory
from serving.operations.file_locks import is_held

FILE_NAME = "service.json"
LOCK_NAME = "service.lock"


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


_held: dict[Path, int] = {}


def make_local_url(host: str, port: int, scheme: str = "http") -> str:
    """Where a client on this machine reaches what listens on this host."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"{scheme}://[{reached}]:{port}" if ":" in reached else f"{scheme}://{reached}:{port}"


def write_note(data_dir: Path, note: ServiceNote) -> None:
    """Leave the note, mode 0600, and hold a lock beside it until `remove_note` or the end of this process.

    The kernel keeps the lock, so it tells a service in another container from one that was killed, which a
    process id does not. It is shared: several services may use one data_dir.
    """
    make_private_directory(data_dir)
    if data_dir not in _held:
        lock = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)  # who looks, has it for no time
        _held[data_dir] = lock
    draft = data_dir / f".{FILE_NAME}.{os.getpid()}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(note), file)
    os.replace(draft, data_dir / FILE_NAME)


def is_served(data_dir: Path) -> bool:
    """Whether a service on this machine holds its lock, in whatever container it is."""
    return is_held(data_dir / LOCK_NAME)


def read_note(data_dir: Path) -> ServiceNote | None:
    """The note of a service that runs; None where there is none."""
    return _read(data_dir) if is_served(data_dir) else None


def remove_note(data_dir: Path, pid: int) -> None:
    """Take away one's own note, and let the lock go."""
    note = _read(data_dir)
    if note is not None and note.pid == pid:
        with contextlib.suppress(OSError):
            (data_dir / FILE_NAME).unlink()
    lock = _held.pop(data_dir, None)
    if lock is not None:
        os.close(lock)


def _read(data_dir: Path) -> ServiceNote | None:
    try:
        content = json.loads((data_dir / FILE_NAME).read_text("utf-8"))
        return ServiceNote(int(content["pid"]), str(content["url"]), str(content["ray_address"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
