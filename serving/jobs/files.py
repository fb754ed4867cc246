"""The jobs directory: uploads until their job has ended, exports until they have been kept long enough.

What lies here are people's pictures and vectors, so every file belongs to this user alone.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

_NAME = re.compile(r"[0-9a-f]{32}\.(upload|result|partial)")


class JobFiles:
    """Files named after their jobs. Every method blocks: call them in a thread.

    Args:
        directory: made, for this user alone, when the first file is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, name: str) -> Path:
        """Where the file of this name is, or would be.

        Raises:
            ValueError: not a name that `create` makes.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"not the name of a job's file: {name[:80]!r}")
        return self._directory / name

    def create(self, id: str, kind: str) -> tuple[str, BinaryIO]:
        """A new, empty file, its name first; `kind` is `upload`, `result` or `partial`."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{id}.{kind}"
        path = self.path(name)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        return name, os.fdopen(handle, "w+b")

    def rename(self, name: str, job_id: str, kind: str) -> str:
        """Give a file that is complete, and on disk, the name it is known by."""
        renamed = f"{job_id}.{kind}"
        os.replace(self.path(name), self.path(renamed))
        return renamed

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """A file to read, and its size in bytes; raises FileNotFoundError."""
        file = self.path(name).open("rb")
        return file, os.fstat(file.fileno()).st_size

    def exists(self, name: str) -> bool:
        """Whether this process can reach the file."""
        return self.path(name).is_file()

    def remove(self, name: str | None) -> None:
        """Delete a file; nothing happens when it is gone."""
        if name is not None:
            self.path(name).unlink(missing_ok=True)

    def older_than(self, ages_s: Mapping[str, float]) -> Iterator[str]:
        """The names of files not written to for so many seconds, by kind."""
        if not self._directory.is_dir():
            return
        now = time.time()
        for entry in os.scandir(self._directory):
            try:
                found = _NAME.fullmatch(entry.name)
                if found and entry.stat(follow_symlinks=False).st_mtime < now - ages_s[found[1]]:
                    yield entry.name
            except FileNotFoundError:
                continue
