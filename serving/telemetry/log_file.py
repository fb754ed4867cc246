"""Where log lines end: one file that all processes of a node share, or the standard error output.

Lines of several processes never mix, because the kernel appends what one `write` brings in one piece.
"""

from __future__ import annotations

import fcntl
import os
import select
from pathlib import Path
from typing import Protocol

STDERR = 2
FILE_MODE, FOLDER_MODE = 0o640, 0o750
PIPE_PIECE_BYTES = 4096
"""PIPE_BUF of Linux: what several writers of a pipe may write in one piece."""
STDERR_TIMEOUT_S = 1.0
"""How long a reader of the error output may keep it full before lines are dropped."""


class Sink(Protocol):
    """Takes whole lines."""

    def write(self, lines: bytes) -> None:
        """Write them; raises OSError when they are lost."""

    def close(self) -> None:
        """Let go; nothing is written any more."""


class SharedFile:
    """A file that grows to `max_bytes` and then is put aside as `.1`, `.2`, ... `.keep`.

    Whichever process finds it full does so; the others notice that another file has the name.

    Args:
        path: its name; the folder is made.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor: int | None = None

    def write(self, lines: bytes) -> None:
        descriptor = self._reopened()
        size = os.fstat(descriptor).st_size
        if size and size + len(lines) > self._max_bytes:
            self._put_aside(descriptor)
            descriptor = self._reopened()
        written = os.write(descriptor, lines)
        if written != len(lines):  # the disk is full
            raise OSError(f"{written} of {len(lines)} bytes were written")

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _reopened(self) -> int:
        """The file that has the name now."""
        if self._descriptor is not None:
            if self._has_name(self._descriptor):
                return self._descriptor
            self.close()
        self.path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self.path, flags, FILE_MODE)
        return self._descriptor

    def _has_name(self, descriptor: int) -> bool:
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return False
        own = os.fstat(descriptor)
        return (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino)

    def _put_aside(self, descriptor: int) -> None:
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._has_name(descriptor):
                return  # another process was first
            for number in range(self._keep, 1, -1):
                older = Path(f"{self.path}.{number - 1}")
                if older.exists():
                    older.replace(f"{self.path}.{number}")
            self.path.replace(f"{self.path}.1")
        finally:
            os.close(lock)


class StandardError:
    """The process's error output, past whatever Python's `sys.stderr` has become."""

    def write(self, lines: bytes) -> None:
        # A pipe that nobody reads would hold this thread, and all lines after these, for ever.
        while lines:
            _, ready, _ = select.select((), (STDERR,), (), STDERR_TIMEOUT_S)
            if not ready:
                raise BlockingIOError("nobody reads the error output")
            piece = lines[:PIPE_PIECE_BYTES]
            end = piece.rfind(b"\n") + 1 or len(piece)
            written = os.write(STDERR, lines[:end])
            lines = lines[written:]

    def close(self) -> None:
        pass
