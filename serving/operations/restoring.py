"""Bringing a backup back: into an empty place, on either engine, without those erased since."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, inspect, text

from serving.database.compaction import compact_file
from serving.database.location import find_sqlite_file
from serving.database.metadata import metadata, now_utc
from serving.database.migration import current_revision, upgrade
from serving.database.migrations import HEAD
from serving.errors import BackupError, RestoreRefused
from serving.operations.archive import BackupFile, read_rows
from serving.operations.backing_up import OnProgress
from serving.operations.erasure_list import (
    Erased,
    ErasureList,
    RowFilter,
    hash_row,
    merge,
    read_erased,
    read_erased_if_akin,
)
from serving.operations.galleries import Galleries
from serving.operations.pack_files import PackFilesWriter
from serving.operations.registry_rows import (
    Kinds,
    count_rows,
    insert_rows,
    mend_sequences,
    read_back,
)
from serving.operations.registry_session import Session, open_snapshot, open_writing
from serving.operations.restored_vectors import restore_vectors
from serving.operations.running_service import refuse_while_serving
from serving.operations.signing_key_files import read_key_files, refuse_other_keys, write_key_files
from serving.operations.store_names import name_gallery, name_registry, name_stores
from serving.operations.stored_faces import find_places
from serving.registry.event_counts import pause_counting, recount
from serving.registry.tables import erased_subject
from serving.settings import Settings


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What a restore may do.

    Attributes:
        replace: erase what is there first.
        erasures: lists of who was erased since the backup.
        without_list: go on although nobody can say who was erased since.
        keep_sessions: whoever was signed in stays so.
        with_keys: bring the signing keys back too.
        with_packs: bring what the backup holds of cache_dir back too.
        ray_address: of the cluster that served, where an embedded gallery's owner still runs on it.
    """

    replace: bool = False
    erasures: Sequence[ErasureList] = ()
    without_list: bool = False
    keep_sessions: bool = False
    with_keys: bool = True
    with_packs: bool = True
    ray_address: str | None = None


@dataclass
class RestoreReport:
    """What was brought back.

    Attributes:
        stores: where it was brought back, for people.
        passed_over: rows by table, and vectors, of what was erased since.
        compaction_error: why bytes of what was replaced may still be in the SQLite file; None: they are not.
        keys: files of signing keys, and of when they end.
        ended: collections of the embedded gallery whose idle owners were ended first.
    """

    taken_at: datetime
    revision: str
    stores: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    vectors: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)
    vectors_passed_over: int = 0
    keys: list[str] = field(default_factory=list)
    pack_files: int = 0
    compaction_error: str | None = None
    ended: list[str] = field(default_factory=list)


async def restore(
    settings: Settings,
    file: BackupFile,
    options: RestoreOptions,
    on_progress: OnProgress = lambda step, done, total: None,
) -> RestoreReport:
    """Restore a backup into the stores that the settings name, and read it back.

    The registry comes into being in one transaction, the last step: until then there is nothing of it, and
    the command can be repeated with `replace`.

    Raises:
        RestoreRefused: it would do harm here.
        BackupError: the backup is damaged, or what was stored does not read back.
        RollcallError: the stores' own.
    """
    total = file.path.stat().st_size
    file.verify(lambda done: on_progress("verify", done, total))
    header = file.read_header()
    taken_at = datetime.fromisoformat(header["taken_at"])
    report = RestoreReport(taken_at, header["revision"], name_stores(settings))
    if report.revision > HEAD:
        raise RestoreRefused(
            f"the backup has the tables of revision {report.revision}, and this release knows {HEAD}: "
            f"restore with Rollcall {header['rollcall']} or newer"
        )
    report.ended = await refuse_while_serving(settings, options.ray_address)
    known = await _find_known_erasures(settings, file, report.taken_at, options)
    keys = read_key_files(file) if options.with_keys else {}
    if not options.replace:
        refuse_other_keys(settings.keys_dir, keys)
    if options.with_packs:
        report.pack_files = _restore_packs(settings, file)
    async with Galleries(settings) as galleries, open_writing(settings.registry_url) as session:
        await _make_room(session, galleries, header, options, settings)
        kinds: Kinds = header["tables"]
        rows = RowFilter(known)
        digests = await _insert_rows(session, file, report, kinds, rows, options, on_progress)
        await _compare_rows(session, kinds, digests)
        vectors = await restore_vectors(session, galleries, file, header, on_progress)
        report.vectors, report.vectors_passed_over = vectors.stored, vectors.passed_over
        if report.revision == HEAD:
            await session.run(_complete, known)
        await session.commit()
    if report.revision != HEAD:
        # Apart, since PostgreSQL changes no table that the same transaction has read by a cursor.
        async with open_writing(settings.registry_url) as session:
            await session.run(_complete, known)
            await session.commit()
    path = find_sqlite_file(settings.registry_url)
    write_key_files(settings.keys_dir, keys)
    report.keys = list(keys)
    if path is not None:
        try:
            compact_file(path)
        except sqlite3.Error as error:  # all is back; what was replaced may still be in the file's free pages
            report.compaction_error = str(error)
    report.passed_over = rows.dropped
    return report


async def _find_known_erasures(
    settings: Settings, file: BackupFile, taken_at: datetime, options: RestoreOptions
) -> Erased:
    """Everybody known to be erased, from the backup, the lists, and the registry that is to be replaced."""
    lists: list[Erased] = [each.erased for each in options.erasures]
    for each in options.erasures:
        if each.written_at < taken_at and not options.without_list:
            raise RestoreRefused(
                f"the list of erasures is of {each.written_at:%Y-%m-%d %H:%M}, before the backup was taken: "
                "give a later one"
            )
    if options.replace:
        there = await _read_target_erasures(settings, file)
        if there is not None:
            lists.append(there)
    limit = now_utc() - timedelta(days=settings.backup.keep_erasures_days)
    if not options.without_list:
        if not lists:
            raise RestoreRefused(
                f"nobody here knows who was erased since {taken_at:%Y-%m-%d %H:%M} UTC, and they would come "
                "back: give --erase-since LIST (rollcall erasures writes one), or, where there was nobody or "
                "no list is left, --without-list"
                + ("; the registry here has no event and no account of this backup" * options.replace)
            )
        if taken_at < limit:
            raise RestoreRefused(
                f"the backup is older than backup.keep_erasures_days, {settings.backup.keep_erasures_days}: "
                "who was erased right after it may be forgotten; --without-list restores it all the same"
            )
    own = {row[0]: datetime.fromisoformat(row[1]) for row in _rows_of(file, "erasures/")}
    return merge(own, *lists)


async def _read_target_erasures(settings: Settings, file: BackupFile) -> Erased | None:
    tables = ("event", "account")
    hashes = (hash_row(name, row) for name in tables for row in _rows_of(file, f"registry/{name}/"))
    try:
        async with open_snapshot(settings.registry_url) as session:
            return await session.run(read_erased_if_akin, hashes)
    except BackupError:
        return None


async def _make_room(
    session: Session,
    galleries: Galleries,
    header: Mapping[str, Any],
    options: RestoreOptions,
    settings: Settings,
) -> None:
    """Check that the target is empty, or make it so; then the tables of the backup's release."""
    revision = await session.run(current_revision)
    if revision is not None and revision > HEAD:
        raise RestoreRefused(f"the registry here has the tables of a newer release, revision {revision}")
    filled = await session.run(_count_filled)
    if filled and not options.replace:
        shown = ", ".join(f"{count} of {name}" for name, count in filled.items())
        raise RestoreRefused(
            f"the registry here, {name_registry(settings)}, is not empty ({shown}): --replace erases it first"
        )
    partitions: dict[str, set[str]] = {}
    if filled.get("event") and revision == HEAD:
        for place in await session.run(find_places):
            partitions.setdefault(place.pack_id, set()).add(place.partition)
    for each in header["places"]:
        partitions.setdefault(each["pack_id"], set()).add(each["partition"])
    for pack_id in header["packs"]:
        pack = galleries.find_pack(pack_id)
        if pack.dimension != header["packs"][pack_id]:
            raise RestoreRefused(
                f"the backup holds vectors of {pack_id} with {header['packs'][pack_id]} numbers, and the "
                f"pack of this name here makes {pack.dimension}: add the pack that it was made with"
            )
    for pack_id, names in partitions.items():
        gallery = await galleries.open(pack_id, create=pack_id in header["packs"])
        if gallery is None:
            continue
        stored = (await gallery.check()).faces
        if stored and not options.replace:
            raise RestoreRefused(
                f"the gallery here, {name_gallery(settings)}, holds {stored} faces of {pack_id}: --replace "
                "erases those of the events that are in the registry or in the backup"
            )
        if stored:
            for name in sorted(names):
                await gallery.erase_event(name)
    await session.run(_make_tables, header["revision"])


def _count_filled(connection: Connection) -> dict[str, int]:
    there = set(inspect(connection).get_table_names())
    # An entry of the audit trail or a session alone is nothing that anybody enrolled.
    counts = {name: count_rows(connection, name) for name in ("event", "person", "account") if name in there}
    return {name: count for name, count in counts.items() if count}


def _make_tables(connection: Connection, revision: str) -> None:
    metadata.drop_all(connection, checkfirst=True)
    connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    upgrade(connection, revision)
    pause_counting(connection)


async def _insert_rows(
    session: Session,
    file: BackupFile,
    report: RestoreReport,
    kinds: Kinds,
    rows: RowFilter,
    options: RestoreOptions,
    on_progress: OnProgress,
) -> dict[str, tuple[int, int]]:
    """All rows that may come back; of each table their count and the sum of their hashes."""
    digests: dict[str, tuple[int, int]] = {}
    for part in file.parts_below("registry/"):
        name = part.name.split("/")[1]
        if name not in kinds:
            raise BackupError(f"the backup holds rows of {name} and does not say what they are")
        kept = [
            _adapt(name, row)
            for row in read_rows(part)
            if not (name == "session" and not options.keep_sessions) and rows.keeps(name, row)
        ]
        await session.run(insert_rows, name, kinds[name], kept)
        count, total = digests.get(name, (0, 0))
        digests[name] = count + len(kept), (total + sum(_hash_row(row) for row in kept)) % 2**256
        report.rows[name] = digests[name][0]
        on_progress(f"registry: {name}", digests[name][0], 0)
    return digests


def _adapt(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """A job's file is in no backup: what waited for it has failed, and what it made must be made again."""
    if name != "job":
        return row
    row = {**row, "file": None, "claimed_by": None, "claimed_until": None}
    if row["state"] in ("queued", "running"):
        row |= {
            "state": "failed",
            "finished_at": now_utc().isoformat(),
            "error_code": "backup_error",
            "error_detail": "The service was restored from a backup, which holds no uploads: send it again.",
        }
    return row


async def _compare_rows(session: Session, kinds: Kinds, wanted: Mapping[str, tuple[int, int]]) -> None:
    def hash_table(connection: Connection, name: str) -> tuple[int, int]:
        count = total = 0
        for row in read_back(connection, name, kinds[name]):
            count, total = count + 1, (total + _hash_row(row)) % 2**256
        return count, total

    for name in kinds:
        found = await session.run(hash_table, name)
        if found != wanted.get(name, (0, 0)):
            raise BackupError(f"the rows of {name} do not read back as they were written")


def _hash_row(row: Mapping[str, Any]) -> int:
    text_of = json.dumps(row, ensure_ascii=False, sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(text_of.encode()).digest(), "big")


def _complete(connection: Connection, known: Erased) -> None:
    """Bring the tables up to date, and remember who was erased, so that the next restore knows it too."""
    upgrade(connection)
    recount(connection)
    mend_sequences(connection)
    there = read_erased(connection)
    later = {digest: at for digest, at in known.items() if digest not in there or at > there[digest]}
    for digest in later.keys() & there.keys():
        connection.execute(delete(erased_subject).where(erased_subject.c.digest == digest))
    rows = [{"digest": digest, "erased_at": at.isoformat()} for digest, at in later.items()]
    insert_rows(connection, "erased_subject", {"digest": "plain", "erased_at": "time"}, rows)


def _restore_packs(settings: Settings, file: BackupFile) -> int:
    writer = PackFilesWriter(settings.cache_dir)
    for part in file.parts_below("packs/"):
        writer.add(part.name.partition("/")[2], part.data)
    writer.finish()
    return len(writer.written)


def _rows_of(file: BackupFile, prefix: str) -> Iterator[Any]:
    return (row for part in file.parts_below(prefix) for row in read_rows(part))
