"""Taking packs out of the model cache, and leaving what other packs there need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.errors import PackError
from serving.packs.catalogue import imported_directory
from serving.packs.manifest import ModelFile, Pack
from serving.packs.manifest_format import MANIFEST_NAME
from serving.packs.store import PackStore, sidecar_of


@dataclass(frozen=True)
class Removal:
    """What removing packs would do.

    deleted: files that go. shared_with: ids of packs that keep some of the others' files.
    """

    packs: tuple[Pack, ...]
    deleted: tuple[Path, ...]
    shared_with: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Room that becomes free."""
        return sum(_size(path) for path in self.deleted)


def plan_removal(store: PackStore, packs: Sequence[Pack]) -> Removal:
    """What would go. Files of a pack that is whole in the cache and stays are left."""
    going = {pack.id for pack in packs}
    candidates = {path for pack in packs for path in list_files(store, pack)}
    kept: set[Path] = set()
    sharing = []
    for pack_id in store.pack_ids:
        if pack_id in going:
            continue
        try:
            other = store.find_pack(pack_id)
        except PackError:  # a manifest with faults; `rollcall packs list` tells of it
            continue
        files = set(list_files(store, other))
        if files & candidates and _is_whole(store, other):
            kept |= files
            sharing.append(pack_id)
    for pack in packs:
        if pack.imported:  # another pack may come under this id, and must not be read with its scores
            candidates.add(store.calibration_path(pack))
    deleted = sorted(path for path in candidates - kept if path.is_file())
    return Removal(tuple(packs), tuple(deleted), tuple(sharing))


def remove_packs(store: PackStore, removal: Removal) -> None:
    """Do it: files, acceptances of licences, and the manifests of packs that the user added.

    Hashes recorded for Rollcall's own packs stay, and so do calibrations that the user made for them.
    """
    for path in removal.deleted:
        path.unlink(missing_ok=True)
    for pack in removal.packs:
        store.licences.forget(pack)
        for artefact in pack.artefacts:
            if isinstance(artefact.source, ModelFile):
                store.sources.forget_unfinished(artefact.source)
        if pack.imported:
            _forget_imported(store, pack)


def list_files(store: PackStore, pack: Pack) -> Iterable[Path]:
    """Every file of the pack in the cache, there or not: models, their records, sources."""
    for artefact in pack.artefacts:
        path = store.path_of(artefact)
        if path is not None:
            yield path
            if artefact.sha256 is None:
                yield sidecar_of(path)
        source = store.sources.path_of(artefact.source)
        if source is not None:
            yield source


def measure_size(store: PackStore, pack: Pack) -> int:
    """Bytes that the pack takes in the cache, shared files included."""
    return sum(_size(path) for path in set(list_files(store, pack)))


def _forget_imported(store: PackStore, pack: Pack) -> None:
    folder = imported_directory(store.cache_dir) / pack.id
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    if pack.calibration_file is not None:
        Path(pack.calibration_file).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    for artefact in pack.artefacts:
        if isinstance(artefact.source, ModelFile):
            store.sources.forget_record(artefact.source)


def _is_whole(store: PackStore, pack: Pack) -> bool:
    paths = [store.path_of(artefact) for artefact in pack.artefacts]
    return all(path is not None and path.is_file() for path in paths)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
