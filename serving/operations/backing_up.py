"""Writing a backup: one moment of the registry, the vectors of that moment's faces, keys, packs."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

import serving
from serving.database.metadata import now_utc
from serving.database.migration import current_revision
from serving.database.migrations import HEAD
from serving.directories import make_private_directory, sync_directory
from serving.errors import BackupError
from serving.operations.archive import BackupFile, BackupWriter, RowsWriter
from serving.operations.backup_keys import BackupKey
from serving.operations.copy_notes import try_to_note
from serving.operations.erasure_list import Erased, RowFilter, read_erased
from serving.operations.galleries import Galleries
from serving.operations.pack_files import read_pack_files
from serving.operations.registry_rows import all_tables, describe_tables, key_of, read_page
from serving.operations.registry_session import Session, open_snapshot
from serving.operations.store_names import name_stores
from serving.operations.stored_faces import (
    StoredPlace,
    count_faces,
    find_places,
    hash_face,
    known_faces,
    list_faces,
    read_all_faces,
    write_face,
)
from serving.registry.last_copies import LastCopy
from serving.settings import Settings

SUFFIX = ".rollcall-backup"
CLOCK_SKEW_S = 120.0
"""How far the clocks of the replicas that note erasures may differ from this one."""

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""What file systems without hard links answer: vfat, SMB, many of FUSE."""

OnProgress = Callable[[str, int, int], None]
"""Hears what is being worked on, how much of it is done, and of how much (0: not known)."""


@dataclass
class BackupReport:
    """What was written.

    Attributes:
        path: of the backup.
        stores: what it is of, for people.
        size_bytes: of it.
        rows: of each table.
        vectors: of all places.
        enrolled_meanwhile: faces enrolled while it ran, which are not in it.
        erased_meanwhile: people, faces, events, accounts, keys erased while it ran or just before; their rows
            are not in it, and a restore passes over what else of them is.
        missing: enrolled faces without a vector: event key, person id and face id of the first few.
        missing_count: how many there are.
        taken_at: the moment that it is of.
        free_bytes: what its disk has left; None: that cannot be found out.
        note_error: why the registry could not be told of it; None: it knows.
    """

    path: Path
    stores: str = ""
    size_bytes: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    vectors: int = 0
    enrolled_meanwhile: int = 0
    erased_meanwhile: int = 0
    missing: list[tuple[str, str, str]] = field(default_factory=list)
    missing_count: int = 0
    taken_at: datetime = field(default_factory=now_utc)
    free_bytes: int | None = None
    note_error: str | None = None

    @property
    def room_for_more(self) -> int | None:
        """How many backups of this size its disk still holds; None: that cannot be found out."""
        return None if self.free_bytes is None else self.free_bytes // max(self.size_bytes, 1)


MOST_MISSING_SHOWN = 20


async def back_up(
    settings: Settings,
    target: Path | str,
    *,
    key: BackupKey | None,
    with_packs: bool = False,
    ray_address: str | None = None,
    on_progress: OnProgress = lambda step, done, total: None,
) -> BackupReport:
    """Write a backup and read it back before it takes its name; then note in the registry that there is one.

    Args:
        target: a directory that is there or whose name ends with `/`, else the file to be.
        key: what encrypts it; None: nothing.
        with_packs: also what of cache_dir no registry could give again: packs added, calibrations, licences.

    Raises:
        BackupError: it cannot be written there, or a store cannot be reached; nothing is left behind.
        RollcallError: the stores' own.
    """
    path = choose_path(target, encrypted=key is not None)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    try:
        with os.fdopen(_open_new(draft), "wb") as file:
            if key is None and os.fstat(file.fileno()).st_mode & 0o077:
                raise BackupError(
                    f"{path.parent} keeps no file modes, so others could read the backup: use a key"
                )
            report = BackupReport(path, name_stores(settings))
            async with (
                Galleries(settings, ray_address) as galleries,
                open_snapshot(settings.registry_url) as snapshot,
            ):
                writing = _Writing(settings, snapshot, galleries, report, on_progress)
                await writing.write(lambda header: BackupWriter(file, key, header), with_packs)
            file.flush()
            os.fsync(file.fileno())
        report.size_bytes = draft.stat().st_size
        _read_back(BackupFile(draft, [key] if key is not None else []), report, on_progress)
        _name(draft, path)
    except FileExistsError:
        raise BackupError(f"{path} is there already") from None
    except OSError as error:
        raise BackupError(f"the backup cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)
    with contextlib.suppress(OSError):
        report.free_bytes = shutil.disk_usage(path.parent).free
    copy = LastCopy(
        "backup",
        report.taken_at,
        size_bytes=report.size_bytes,
        free_bytes=report.free_bytes,
        encrypted=key is not None,
        missing_faces=report.missing_count,
    )
    report.note_error = await try_to_note(settings, copy)
    return report


def _open_new(draft: Path) -> int:
    return os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _name(draft: Path, path: Path) -> None:
    """Give a file its name; raises FileExistsError where that is taken."""
    try:
        os.link(draft, path)  # unlike a rename, it fails when the name is taken
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            os.replace(draft, path)
        except OSError:
            path.unlink(missing_ok=True)
            raise


def choose_path(target: Path | str, *, encrypted: bool) -> Path:
    """Where the backup goes; makes the directory, mode 0700, where it is missing.

    Args:
        target: a directory, or the file to be. A directory that is missing ends with a slash, which only a
            text can hold: `Path` drops it.

    Raises:
        BackupError: others could read it there unencrypted, or something of its name is there.
    """
    is_directory = str(target).endswith("/") or Path(target).is_dir()
    path = Path(target)
    if is_directory:
        path /= now_utc().strftime("rollcall-%Y-%m-%dT%H%M%SZ") + SUFFIX
    path = path.absolute()
    if path.exists():
        raise BackupError(f"{path} is there already")
    try:
        make_private_directory(path.parent)
        mode = path.parent.stat().st_mode
    except OSError as error:
        raise BackupError(f"{path.parent} cannot be used: {error.strerror}") from None
    if not encrypted and mode & 0o007:
        raise BackupError(
            f"others can look into {path.parent}, and this backup would not be encrypted: chmod 700 the "
            "directory, or give a key (--key-file; rollcall rotate-keys --backup makes one)"
        )
    return path


class _Writing:
    """One backup under way."""

    def __init__(
        self,
        settings: Settings,
        snapshot: Session,
        galleries: Galleries,
        report: BackupReport,
        on_progress: OnProgress,
    ) -> None:
        self._settings = settings
        self._snapshot = snapshot
        self._galleries = galleries
        self._report = report
        self._on_progress = on_progress

    async def write(self, open_writer: Callable[[dict[str, Any]], BackupWriter], with_packs: bool) -> None:
        revision = await self._snapshot.run(current_revision)
        if revision != HEAD:
            raise BackupError(
                f"the registry has the tables of revision {revision}, and this release knows {HEAD}: back up "
                "with the release that serves, or start this one once, which upgrades them"
            )
        taken_at = self._report.taken_at = now_utc()
        places = await self._snapshot.run(find_places)
        packs = {each.pack_id: self._galleries.find_pack(each.pack_id) for each in places}
        writer = open_writer(
            {
                "rollcall": serving.__version__,
                "revision": revision,
                "taken_at": taken_at.isoformat(),
                "tables": describe_tables(),
                "packs": {id: pack.dimension for id, pack in packs.items()},
                "places": [
                    {
                        "folder": each.folder,
                        "event_key": each.event_key,
                        "partition": each.partition,
                        "pack_id": each.pack_id,
                    }
                    for each in places
                ],
            }
        )
        try:
            await self._write_parts(writer, places, taken_at, with_packs)
        except BaseException:
            writer.abandon()
            raise

    async def _write_parts(
        self, writer: BackupWriter, places: Sequence[StoredPlace], taken_at: datetime, with_packs: bool
    ) -> None:
        for each in places:
            await self._write_vectors(writer, each)
        erased = await self._find_erased(taken_at)
        self._report.erased_meanwhile = len(erased)
        erasures = RowsWriter(writer, "erasures")
        for digest, at in erased.items():
            erasures.add([digest, at.isoformat()])
        erasures.flush()
        await self._write_rows(writer, RowFilter(erased))
        for name, data in _read_keys(self._settings.keys_dir):
            writer.add(f"keys/{name}", data)
        if with_packs:
            for name, data in read_pack_files(self._settings):
                writer.add(f"packs/{name}", data)
        writer.finish({"rows": self._report.rows, "vectors": self._report.vectors})

    async def _write_vectors(self, writer: BackupWriter, place: StoredPlace) -> None:
        expected = await self._snapshot.run(count_faces, place)
        gallery = await self._galleries.open(place.pack_id)
        rows = RowsWriter(writer, place.folder)
        written = array("Q")
        async for page in read_all_faces(gallery, place.partition):
            known = await self._snapshot.run(known_faces, place, [(each.person, each.face) for each in page])
            for each in page:
                if (each.person, each.face) in known:
                    rows.add(write_face(each))
                    written.append(hash_face(each.person, each.face))
                else:
                    self._report.enrolled_meanwhile += 1
            self._on_progress("vectors", self._report.vectors + rows.rows, 0)
        rows.flush()
        self._report.vectors += rows.rows
        if rows.rows != expected:
            await self._find_missing(place, written)

    async def _find_missing(self, place: StoredPlace, written: array[int]) -> None:
        """Faces of the snapshot that the gallery did not give: erased since, or lost."""
        have = np.sort(np.frombuffer(written, np.uint64)) if written else np.empty(0, np.uint64)
        after: tuple[str, str] | None = None
        while True:
            page = await self._snapshot.run(list_faces, place, after)
            if not page:
                return
            wanted = np.array([hash_face(*each) for each in page], np.uint64)
            spots = np.minimum(np.searchsorted(have, wanted), max(len(have) - 1, 0))
            lost = have[spots] != wanted if len(have) else np.ones(len(wanted), bool)
            candidates = [each for each, gone in zip(page, lost, strict=True) if gone]
            if candidates:
                async with open_snapshot(self._settings.registry_url) as now:
                    still = await now.run(known_faces, place, candidates)
                for person_id, face_id in sorted(still):
                    self._report.missing_count += 1
                    if len(self._report.missing) < MOST_MISSING_SHOWN:
                        self._report.missing.append((place.event_key, person_id, face_id))
            after = page[-1]

    async def _find_erased(self, taken_at: datetime) -> Erased:
        async with open_snapshot(self._settings.registry_url) as now:
            return await now.run(read_erased, taken_at - timedelta(seconds=CLOCK_SKEW_S))

    async def _write_rows(self, writer: BackupWriter, erased: RowFilter) -> None:
        for source in all_tables():
            rows = RowsWriter(writer, f"registry/{source.name}")
            after: tuple[Any, ...] | None = None
            while page := await self._snapshot.run(read_page, source, after):
                for row in page:
                    if erased.keeps(source.name, row):
                        rows.add(row)
                after = key_of(source, page[-1])
                self._on_progress(f"registry: {source.name}", rows.rows, 0)
            rows.flush()
            self._report.rows[source.name] = rows.rows


def _read_keys(directory: Path) -> Iterator[tuple[str, bytes]]:
    if directory.is_dir():
        for path in sorted(directory.iterdir()):
            if path.is_file() and path.name.startswith("signing-"):
                yield path.name, path.read_bytes()


def _read_back(file: BackupFile, report: BackupReport, on_progress: OnProgress) -> None:
    """Raise BackupError unless all of it reads as it was written, every vector included."""
    manifest = file.verify(lambda done: on_progress("read back", done, report.size_bytes))
    vectors = sum(each["rows"] for name, each in manifest["members"].items() if name.startswith("vectors/"))
    rows = sum(each["rows"] for name, each in manifest["members"].items() if name.startswith("registry/"))
    if (vectors, rows) != (report.vectors, sum(report.rows.values())):
        raise BackupError("the backup does not hold what was written into it")
