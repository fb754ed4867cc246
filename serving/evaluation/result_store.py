"""What was measured of pictures, kept on disk so that an interrupted run goes on where it was.

Kept are vectors and facts about detections, never a picture or a part of one. They are biometric data all the
same: the folder is readable by its owner only, and `ResultStore.forget` removes it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from serving.errors import CommandError
from serving.vision.embedding import Vectors

_FILE = "results.sqlite3"
_LOCK_WAIT_S = 60.0
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (finder TEXT, picture TEXT, facts TEXT, PRIMARY KEY (finder, picture));
CREATE TABLE IF NOT EXISTS vectors (
    embedder TEXT, picture TEXT, vector BLOB, cpu_ms REAL, PRIMARY KEY (embedder, picture)
);
"""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What the detector stage said of one picture.

    error: code of the error the picture has; None when it was searched. width, height: pixels.
    faces: x, y, width, height and score of each face found, best first.
    central: place of the face nearest to the middle, None when there is none; quality: its measures.
    find_ms: CPU milliseconds of decoding it and of finding, aligning and measuring its faces.
    """

    error: str | None
    width: int = 0
    height: int = 0
    faces: tuple[tuple[float, float, float, float, float], ...] = ()
    central: int | None = None
    quality: dict[str, float] | None = None
    find_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredVector:
    """A unit vector float32 [dimension], and the CPU milliseconds it took."""

    vector: Vectors
    cpu_ms: float


def default_directory() -> Path:
    """A folder of this user's among the temporary files, which the system clears in its own time."""
    return Path(tempfile.gettempdir()) / f"rollcall-evaluation-{os.getuid()}"


class ResultStore:
    """Facts and vectors by what computed them and by the SHA-256 of the picture's bytes.

    Raises:
        CommandError: the folder cannot be used, or belongs to another user.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            state = directory.lstat()
            if not directory.is_dir() or directory.is_symlink() or state.st_uid != os.getuid():
                raise CommandError(f"{directory} is not a folder of this user; name another with --cache")
            path = directory / _FILE
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, timeout=_LOCK_WAIT_S)
            self._database.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise CommandError(f"{directory} cannot keep results: {error}") from error

    def __enter__(self) -> ResultStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was not committed is dropped."""
        self._database.close()

    def read_facts(self, finder: str, picture: str) -> PictureFacts | None:
        """The facts of a picture, or None."""
        row = self._database.execute(
            "SELECT facts FROM facts WHERE finder = ? AND picture = ?", (finder, picture)
        ).fetchone()
        if row is None:
            return None
        stored: dict[str, Any] = json.loads(row[0])
        stored["faces"] = tuple(tuple(face) for face in stored["faces"])
        return PictureFacts(**stored)

    def read_vector(self, embedder: str, picture: str) -> StoredVector | None:
        """The vector of a picture's central face, or None."""
        row = self._database.execute(
            "SELECT vector, cpu_ms FROM vectors WHERE embedder = ? AND picture = ?", (embedder, picture)
        ).fetchone()
        return None if row is None else StoredVector(np.frombuffer(row[0], np.float32), row[1])

    def has_vector(self, embedder: str, picture: str) -> bool:
        """Whether `read_vector` would find one."""
        found = self._database.execute(
            "SELECT 1 FROM vectors WHERE embedder = ? AND picture = ?", (embedder, picture)
        ).fetchone()
        return found is not None

    def write_facts(self, finder: str, picture: str, facts: PictureFacts) -> None:
        """Keep facts; `commit` makes them last."""
        self._database.execute(
            "INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (finder, picture, json.dumps(asdict(facts)))
        )

    def write_vector(self, embedder: str, picture: str, found: StoredVector) -> None:
        """Keep a vector; `commit` makes it last."""
        data = np.ascontiguousarray(found.vector, np.float32).tobytes()
        self._database.execute(
            "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", (embedder, picture, data, found.cpu_ms)
        )

    def commit(self) -> None:
        """Make what was written last."""
        self._database.commit()

    def forget(self) -> None:
        """Close and remove everything kept here; other files in the folder stay."""
        self.close()
        for name in (_FILE, f"{_FILE}-journal"):
            (self.directory / name).unlink(missing_ok=True)
        if not any(self.directory.iterdir()):
            self.directory.rmdir()
