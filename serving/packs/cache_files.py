"""Files that several processes make and read at once: atomic writes and locks."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import PackError

LOCK_TIMEOUT_S = 3600.0
_LOCK_POLL_S = 0.1


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: readers see the old or the new content, also after a crash.

    Raises:
        PackError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PackError(f"cannot write {path}: {error}") from error


def hash_file(path: Path) -> str | None:
    """Lower case hex SHA-256 of a file; None when it cannot be read."""
    try:
        with path.open("rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def has_hash(path: Path, sha256: str | None) -> bool:
    """Whether the file is there and hashes to this; False when sha256 is None."""
    return sha256 is not None and hash_file(path) == sha256


@contextmanager
def hold_lock(directory: Path, name: str) -> Iterator[None]:
    """Hold an exclusive lock between processes and threads; the system drops it when the holder dies.

    Raises:
        PackError: the lock file cannot be made, or another process held it for LOCK_TIMEOUT_S seconds.
    """
    try:
        folder = directory / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / f"{name}.lock").open("a+b")
    except OSError as error:
        raise PackError(f"the model cache {directory} cannot be written: {error}") from error
    with stream:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _try_lock(stream.fileno()):
            if time.monotonic() > deadline:
                raise PackError(f"another process holds {stream.name} for more than {LOCK_TIMEOUT_S:.0f} s")
            time.sleep(_LOCK_POLL_S)
        yield


def _try_lock(descriptor: int) -> bool:
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise PackError(f"the model cache does not support file locks: {error}") from error
    return True
