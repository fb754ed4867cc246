"""What of cache_dir no registry could give again: packs that were added, calibrations, accepted licences."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from serving.directories import make_private_directory
from serving.errors import BackupError, PackError
from serving.packs.catalogue import imported_directory, imported_ids
from serving.packs.configured import open_store
from serving.settings import Settings

PIECE_BYTES = 16 * 2**20
_FOLDERS = ("packs/calibrations", "packs/licences")


def read_pack_files(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Each file in pieces: its path in cache_dir with `/000001` and so on behind it, and the bytes."""
    for path in _list_files(settings):
        name = path.relative_to(settings.cache_dir).as_posix()
        with path.open("rb") as file:
            number = 0
            while (piece := file.read(PIECE_BYTES)) or number == 0:
                number += 1
                yield f"{name}/{number:06d}", piece


class PackFilesWriter:
    """Puts the pieces back, in the order in which `read_pack_files` gave them; what is there stays.

    Args:
        cache_dir: of the settings.
    """

    def __init__(self, cache_dir: Path) -> None:
        self._cache_dir = cache_dir
        self._passed_over: set[str] = set()
        self.written: list[str] = []

    def add(self, name: str, data: bytes) -> None:
        """One piece; raises BackupError for a name that would leave cache_dir."""
        path, _, number = name.rpartition("/")
        parts = PurePosixPath(path).parts
        if not parts or parts[0] != "packs" or ".." in parts or PurePosixPath(path).is_absolute():
            raise BackupError(f"the backup holds a pack file of a name that cannot be: {path[:80]!r}")
        target = self._cache_dir.joinpath(*parts)
        draft = target.with_name(f".{target.name}.restored")
        if number == "000001":
            if target.exists():
                self._passed_over.add(path)
            else:
                make_private_directory(target.parent)
                draft.write_bytes(b"")
                self.written.append(path)
        elif path not in self._passed_over and path not in self.written:
            raise BackupError(f"the backup holds the end of a pack file without its beginning: {path[:80]!r}")
        if path not in self._passed_over:
            with draft.open("ab") as file:
                file.write(data)

    def finish(self) -> None:
        """Give every file that is whole its name."""
        for path in self.written:
            target = self._cache_dir / path
            os.replace(target.with_name(f".{target.name}.restored"), target)


def _list_files(settings: Settings) -> list[Path]:
    found: set[Path] = set()
    for folder in _FOLDERS:
        found.update((settings.cache_dir / folder).glob("*.json"))
    store = open_store(settings)
    for pack_id in imported_ids(settings.cache_dir):
        found.update((imported_directory(settings.cache_dir) / pack_id).rglob("*"))
        try:
            artefacts = store.find_pack(pack_id).artefacts
        except PackError:
            continue  # its manifest alone is kept
        for artefact in artefacts:
            path = store.path_of(artefact)
            if path is not None:
                found.update((path, path.with_name(f"{path.name}.json")))
    inside = [path for path in found if path.is_file() and path.is_relative_to(settings.cache_dir)]
    return sorted(inside)
