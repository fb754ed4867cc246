"""Liveness packs in and out of the model cache: from a folder, tried before they count, and removed again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.errors import ManifestInvalid, PackError, RollcallError
from serving.packs.cache_files import hash_file, write_atomically
from serving.packs.liveness import (
    MANIFEST_NAME,
    LivenessPack,
    find_liveness_pack,
    imported_liveness_directory,
    list_liveness_packs,
    load_scorer,
    parse_liveness_manifest,
)
from serving.packs.manifest import ModelFile
from serving.packs.manifest_format import RESERVED_IDS, read_text
from serving.packs.progress import Progress
from serving.packs.store import PackStore, sidecar_of

_BATCH_TOLERANCE = 1e-4
"""Between the score of a face alone and among others."""


@dataclass(frozen=True)
class LivenessFolder:
    """What a folder offers: a liveness pack, and its manifest where that is the folder's own."""

    pack: LivenessPack
    place: Path
    manifest: str | None = None


def is_liveness_pack(store: PackStore, id: str) -> bool:
    """Whether a liveness pack has this id."""
    return any(pack.id == id for pack in list_liveness_packs(store.cache_dir))


def read_liveness_folder(store: PackStore, place: Path, pack_id: str | None = None) -> LivenessFolder | None:
    """The liveness pack in a folder; None where there is no whole one.

    Args:
        place: with `liveness.yaml` in it, the folder describes a pack of its own; otherwise it holds the
            files of one that Rollcall knows.
        pack_id: which one; then it must be there.

    Raises:
        PackError: the one asked for is not whole.
        ManifestInvalid: the folder's manifest has faults.
    """
    path = place / MANIFEST_NAME
    if path.is_file():
        return _read_own(store, place, path, pack_id)
    known = [find_liveness_pack(pack_id)] if pack_id is not None else list_liveness_packs()
    for pack in known:
        missing = [source.name for source in _files(pack) if hash_file(place / source.name) != source.sha256]
        if not missing:
            return LivenessFolder(pack, place)
        if pack_id is not None:
            raise PackError(f"{place} lacks {', '.join(missing)} of {pack.id}, or holds other files so named")
    return None


def add_liveness_pack(store: PackStore, offer: LivenessFolder, progress: Progress | None = None) -> None:
    """Copy the files into the cache, convert them, try the models, and make the pack known there.

    Raises:
        LicenceNotAccepted: the pack's licence must be accepted, and was not.
        PackError: a file is not what the manifest says, or the models do not run.
    """
    store.licences.require(offer.pack)
    for source in _files(offer.pack):
        store.sources.put(source, offer.place / source.name)
    store.prepare_artefacts(offer.pack, progress)
    check_liveness_models(store, offer.pack)
    if offer.manifest is not None:
        target = imported_liveness_directory(store.cache_dir) / offer.pack.id
        write_atomically(target / MANIFEST_NAME, offer.manifest.encode())


def check_liveness_models(store: PackStore, pack: LivenessPack) -> None:
    """Load the models of a prepared pack, run them, and compare a batch with its members alone.

    Raises:
        PackError: a model does not load or run, gives no probability, or mixes up its batch, or keeps
            weights in another file.
    """
    from serving.packs.onnx_rewriting import check_is_whole  # only now: it needs the onnx package

    paths = store.prepare_artefacts(pack)
    random = np.random.default_rng(0)
    sides = [model.cut.size_px for model in pack.models]
    crops = [random.integers(0, 256, (3, side, side, 3), np.uint8) for side in sides]
    try:
        for path in paths:
            check_is_whole(path, "liveness model")
        scorer = load_scorer(pack, paths)
        together = scorer.score(crops)
        alone = [float(scorer.score([each[i : i + 1] for each in crops])[0]) for i in range(3)]
    except RollcallError as error:
        raise PackError(f"{pack.id}: the models do not run: {error.detail}") from error
    except Exception as error:  # ONNX Runtime's own, of many classes
        raise PackError(f"{pack.id}: the models do not run: {str(error)[:300]}") from error
    difference = float(np.abs(together - np.array(alone)).max())
    if difference > _BATCH_TOLERANCE:
        raise PackError(f"{pack.id}: scores depend on the batch, by up to {difference:.2g}")


def remove_liveness_pack(store: PackStore, pack: LivenessPack) -> list[Path]:
    """Delete a pack's files and, where the user added it, its manifest; returns the files deleted.

    Files that another liveness pack which is whole in the cache needs are left.
    """
    others = [each for each in list_liveness_packs(store.cache_dir) if each.id != pack.id]
    kept = {path for other in others if store.is_ready(other) for path in _list_paths(store, other)}
    deleted = [path for path in _list_paths(store, pack) if path not in kept and path.is_file()]
    for path in deleted:
        path.unlink(missing_ok=True)
    store.licences.forget(pack)
    if pack.imported:
        (imported_liveness_directory(store.cache_dir) / pack.id / MANIFEST_NAME).unlink(missing_ok=True)
    return deleted


def _read_own(store: PackStore, place: Path, path: Path, pack_id: str | None) -> LivenessFolder:
    text = read_text(path)
    pack = parse_liveness_manifest(text, str(path), imported=True)
    if pack_id not in (None, pack.id):
        raise PackError(f"{path} describes {pack.id}, not {pack_id}")
    if any(pack.id == known.id for known in list_liveness_packs()):
        raise ManifestInvalid(f"{path}: id: {pack.id} is a pack of Rollcall's own; choose another id")
    if pack.id in RESERVED_IDS or pack.id in store.pack_ids:
        raise ManifestInvalid(f"{path}: id: {pack.id} is the id of another pack; choose another id")
    unpinned = [source.name for source in _files(pack) if source.sha256 is None]
    if unpinned:
        raise ManifestInvalid(f"{path}: {', '.join(unpinned)}: file.sha256 is missing")
    missing = [source.name for source in _files(pack) if hash_file(place / source.name) != source.sha256]
    if missing:
        raise PackError(f"{place} lacks {', '.join(missing)}, or holds other files so named")
    return LivenessFolder(pack, place, text)


def _files(pack: LivenessPack) -> list[ModelFile]:
    return [artefact.source for artefact in pack.artefacts if isinstance(artefact.source, ModelFile)]


def _list_paths(store: PackStore, pack: LivenessPack) -> list[Path]:
    paths: list[Path] = []
    for artefact in pack.artefacts:
        ready, source = store.path_of(artefact), store.sources.path_of(artefact.source)
        paths += [path for path in (ready, ready and sidecar_of(ready), source) if path is not None]
    return paths
