"""The files of one embedded shard: who owns them, and how they come to be."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from serving.directories import sync_directory
from serving.errors import ConfigurationError, StorageFull

_LOCK_POLL_S = 0.05

_log = logging.getLogger(__name__)


class DirectoryLock:
    """Exclusive ownership of one collection's directory by one process, kept by the kernel until it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, wait_s: float) -> None:
        """Take the lock, waiting at most `wait_s` for an owner that is just ending.

        Raises:
            ConfigurationError: another owner still holds it.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_up_at = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= give_up_at:
                    owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                    os.close(descriptor)
                    raise ConfigurationError(
                        f"the gallery in {self._path.parent} is in use by process {owner}; one process "
                        "owns an embedded gallery: stop it, or choose another directory or the server engine",
                        directory=str(self._path.parent),
                    ) from None
                time.sleep(_LOCK_POLL_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next owner in; harmless when nothing is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def create_whole(final: Path, fill: Callable[[Path], None]) -> None:
    """Make directory `final` appear complete or not at all.

    `fill` is given a new directory beside it, which takes the final name only when `fill` has returned.
    What an earlier, interrupted attempt left is removed first.
    """
    draft = final.with_name(final.name + ".new")
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700)
    fill(draft)
    draft.rename(final)
    sync_directory(final.parent)


def require_space(directory: Path, least_bytes: int) -> None:
    """Check that a directory can be written and has so much space left.

    The engine writes through memory maps of files with holes: without space for a page the kernel ends the
    process (SIGBUS), and no error is raised that could be handled.

    Raises:
        StorageFull: naming what is free; the directory stands in the log.
    """
    state = os.statvfs(directory)
    if state.f_flag & os.ST_RDONLY:
        _log.error("the gallery's directory %s is on a file system that is read-only", directory)
        raise StorageFull("the gallery's disk is read-only")
    free_bytes = state.f_bavail * state.f_frsize
    if free_bytes < least_bytes:
        free_mib, least_mib = free_bytes >> 20, least_bytes >> 20
        _log.error("the disk of %s has %d MiB left and %d are needed", directory, free_mib, least_mib)
        raise StorageFull(f"the gallery's disk has {free_mib} MiB left; at least {least_mib} MiB are needed")


def count_bytes(directory: Path) -> int:
    """What the files below a directory take on the disk."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


class FileWatch:
    """Tells when every file that was in a directory at the start has been deleted.

    Open descriptors keep the inodes from being used again, and renames do not confuse it.
    """

    def __init__(self, directory: Path) -> None:
        self._descriptors = [os.open(path, os.O_RDONLY) for path in directory.iterdir() if path.is_file()]

    def all_gone(self) -> bool:
        """Return whether none of the files has a name any more."""
        return all(os.fstat(descriptor).st_nlink == 0 for descriptor in self._descriptors)

    def close(self) -> None:
        """Stop watching."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
