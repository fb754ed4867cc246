"""How much room is left on the file systems that the processes of this node write to.

Asked at each scrape, in threads of their own: a file system that hangs, since its server is away, must not
hold up the answer.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serving.settings import Settings

ANSWER_TIMEOUT_S = 0.5
"""All file systems together have so long; one that has not answered is asked no more until it has."""


@dataclass(frozen=True, slots=True)
class Place:
    """A directory, there or not yet, and the free space below which nothing is written to it."""

    path: Path
    reserve_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system.

    Attributes:
        holds: names of the places on it, with commas between them.
        free_bytes: what an ordinary user may still write; 0 where it is mounted read-only.
        size_bytes: all of it.
        reserve_bytes: the largest of its places.
    """

    holds: str
    free_bytes: int
    size_bytes: int
    reserve_bytes: int


class DiskWatch:
    """Asks for the file systems of some places.

    Args:
        places: name -> place.
    """

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._looks = {name: _Look(place.path) for name, place in places.items()}
        self._places = places

    def read(self) -> list[Disk]:
        """Every file system that answers in time, once, however many places lie on it."""
        give_up_at = time.monotonic() + ANSWER_TIMEOUT_S
        asked = [name for name, look in self._looks.items() if look.begin()]
        found: dict[int, list[str]] = {}
        for name in asked:
            if self._looks[name].wait(give_up_at - time.monotonic()):
                found.setdefault(self._looks[name].device, []).append(name)
        return [self._describe(names) for names in found.values()]

    def _describe(self, names: list[str]) -> Disk:
        look = self._looks[names[0]]
        reserve = max(self._places[name].reserve_bytes for name in names)
        return Disk(", ".join(names), look.free_bytes, look.size_bytes, reserve)


class _Look:
    """One place, asked by at most one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: threading.Thread | None = None
        self._has_answered = False
        self.device = self.free_bytes = self.size_bytes = 0

    def begin(self) -> bool:
        """Ask; False while the thread that asked before still waits for its answer."""
        if self._thread is not None and self._thread.is_alive():
            return False
        self._has_answered = False
        self._thread = threading.Thread(target=self._ask, name="disk-watch", daemon=True)
        self._thread.start()
        return True

    def wait(self, timeout_s: float) -> bool:
        """Whether there is an answer."""
        assert self._thread is not None
        self._thread.join(max(timeout_s, 0.0))
        return self._has_answered

    def _ask(self) -> None:
        with suppress(OSError):
            path = self._path
            while not path.exists():
                path = path.parent
            state = os.statvfs(path)
            self.device = path.stat().st_dev
            self.size_bytes = state.f_blocks * state.f_frsize
            is_read_only = state.f_flag & os.ST_RDONLY
            self.free_bytes = 0 if is_read_only else state.f_bavail * state.f_frsize
            self._has_answered = True


class _Watched:
    """What this process watches; nothing until `watch_disks`."""

    watch = DiskWatch({})


def watch_disks(settings: Settings, ray_logs: Path) -> None:
    """Tell of the disks beneath what these settings name, from now on.

    Args:
        ray_logs: where Ray keeps its logs on this node, and Rollcall its own unless settings say otherwise.
    """
    places = {"data": Place(settings.data_dir)}
    if settings.gallery.engine == "embedded":
        places["gallery"] = Place(settings.gallery_dir, settings.gallery.min_free_bytes)
    if settings.logging.enabled and settings.logging.output == "file":
        places["logs"] = Place(settings.logging.directory or ray_logs)
    # The counts of the node's processes are memory maps of files there.
    places |= {"ray": Place(ray_logs), "temporary": Place(Path(tempfile.gettempdir()))}
    _Watched.watch = DiskWatch(places)


def read_disks() -> list[Disk]:
    """As `DiskWatch.read`, of what this process watches."""
    return _Watched.watch.read()
