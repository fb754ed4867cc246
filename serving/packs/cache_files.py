"""Files that several processes make and read at once: atomic writes and locks."""

from __future__ import annotations

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
