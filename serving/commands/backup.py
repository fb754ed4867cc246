"""`rollcall backup`, `restore`, `erasures`. Exit codes: 0 done, 1 an error or vectors missing, 2 usage."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from serving.commands.console import AsJson, console, messages, print_json
from serving.database.metadata import now_utc
from serving.operations.archive import BackupFile
from serving.operations.backing_up import BackupReport, OnProgress, back_up
from serving.operations.backup_keys import BackupKey, read_keys
from serving.operations.copy_notes import try_to_note
from serving.operations.erasure_list import read_erased, read_list, renew_list
from serving.operations.registry_session import open_snapshot
from serving.operations.restoring import RestoreOptions, restore
from serving.registry.last_copies import LastCopy
from serving.settings import Settings, load_settings

KeyFile = Annotated[
    Path | None, typer.Option("--key-file", help="Keys that encrypt backups; default: backup.key_file.")
]

LITTLE_ROOM_BACKUPS = 3
"""With room for fewer of the last one's size the command warns; so does the alert RollcallBackupDiskFull."""


def write_backup(
    target: Annotated[
        str,
        typer.Argument(metavar="DIR/|FILE", help="A directory (made where it ends with /), or a file."),
    ],
    key_file: KeyFile = None,
    plain: Annotated[bool, typer.Option("--plain", help="Not encrypted, though there is a key.")] = False,
    packs: Annotated[
        bool, typer.Option("--packs", help="Also packs added, calibrations and accepted licences.")
    ] = False,
    ray_address: Annotated[
        str | None, typer.Option(help="Of a cluster that `rollcall serve` did not start.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Back up everything: accounts, events, people, face vectors, audit trail, signing keys.

    The service may run meanwhile. The backup is of one moment, and is read back before it takes its name.
    """
    settings = load_settings()
    keys = [] if plain else _find_keys(settings, key_file)
    with _show_progress() as on_progress:
        report = asyncio.run(
            back_up(
                settings,
                target,
                key=keys[-1] if keys else None,
                with_packs=packs,
                ray_address=ray_address,
                on_progress=on_progress,
            )
        )
    if as_json:
        print_json({
            "file": str(report.path), "stores": report.stores,
            "size_bytes": report.size_bytes, "encrypted": bool(keys),
            "rows": report.rows, "vectors": report.vectors, "without_vector": report.missing_count,
            "enrolled_meanwhile": report.enrolled_meanwhile, "erased_meanwhile": report.erased_meanwhile,
            "taken_at": report.taken_at.isoformat(), "free_bytes": report.free_bytes,
            "noted": report.note_error is None,
        })  # fmt: skip
    else:
        _show_backup(report, encrypted=bool(keys))
    _warn_of_little_room(report)
    _warn_of_note("backup", report.note_error)
    if report.missing_count:
        raise typer.Exit(1)


def restore_backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `rollcall backup` wrote.")],
    key_file: KeyFile = None,
    erase_since: Annotated[
        list[Path] | None,
        typer.Option(
            "--erase-since", metavar="LIST", help="Who was erased since (`rollcall erasures`); repeatable."
        ),
    ] = None,
    without_list: Annotated[
        bool, typer.Option("--without-list", help="Nobody was erased since, or nobody can say who.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Erase what is here first.")] = False,
    keep_sessions: Annotated[
        bool, typer.Option("--keep-sessions", help="Whoever was signed in stays so.")
    ] = False,
    keys: Annotated[bool, typer.Option(help="Bring the signing keys back too.")] = True,
    ray_address: Annotated[str | None, typer.Option(help="Of a cluster that served, and still runs.")] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Take one that is not encrypted, though there is a key.")
    ] = False,
    check_only: Annotated[bool, typer.Option("--check", help="Verify the backup; change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a backup back, into empty stores of either engine. Stop the service first.

    Whoever was erased since the backup stays erased: from LIST, or, with --replace, from what the registry
    here remembers.
    """
    settings = load_settings()
    backup = BackupFile(file, _find_keys(settings, key_file), plain=plain)
    with _show_progress() as on_progress:
        if check_only:
            size = file.stat().st_size
            manifest = backup.verify(lambda done: on_progress("verify", done, size))
        else:
            options = RestoreOptions(
                replace=replace,
                erasures=[read_list(path) for path in erase_since or ()],
                without_list=without_list,
                keep_sessions=keep_sessions,
                with_keys=keys,
                ray_address=ray_address,
            )
            report = asyncio.run(restore(settings, backup, options, on_progress))
    if check_only:
        header = backup.read_header()
        if as_json:
            print_json({
                "file": str(file), "taken_at": header["taken_at"], "rollcall": header["rollcall"],
                "revision": header["revision"], "rows": manifest["rows"], "vectors": manifest["vectors"],
            })  # fmt: skip
            return
        console.print(
            f"{escape(str(file))} is whole: of {header['taken_at'][:19]} UTC, "
            f"{sum(manifest['rows'].values())} rows, {manifest['vectors']} face vectors, "
            f"Rollcall {header['rollcall']}, revision {header['revision']}"
        )
        return
    if as_json:
        print_json({**asdict(report), "taken_at": report.taken_at.isoformat()})
        return
    for collection in report.ended:
        console.print(f"the process that owned {collection} was idle, and was ended")
    console.print(
        f"restored: {sum(report.rows.values())} rows, {report.vectors} face vectors, each found again by "
        f"itself; as of {report.taken_at:%Y-%m-%d %H:%M:%S} UTC"
    )
    console.print(f"into {escape(report.stores)}")
    if report.passed_over or report.vectors_passed_over:
        rows = ", ".join(f"{count} of {name}" for name, count in report.passed_over.items())
        console.print(f"erased since and not brought back: {rows}; {report.vectors_passed_over} face vectors")
    if report.compaction_error is not None:
        messages.print(
            f"[yellow]the registry's file was not compacted[/] ({escape(report.compaction_error)}): bytes of "
            "what was replaced may stay in it; all is back nonetheless"
        )
    if count := sum(name.endswith(".pem") for name in report.keys):
        console.print(
            f"{count} signing key{'s are' if count > 1 else ' is'} back; if one had been withdrawn since, "
            "withdraw it again: rollcall rotate-keys --overlap 0"
        )


def write_erasures(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The list; what it holds stays in it.")],
    as_json: AsJson = False,
) -> None:
    """Write who was erased, by hash, for `restore --erase-since`. Run it often, keep it elsewhere.

    What the file held stays in it for backup.keep_erasures_days: a new registry makes no list forget.
    """
    settings = load_settings()

    async def write() -> tuple[int, str | None]:
        taken_at = now_utc()
        async with open_snapshot(settings.registry_url) as session:
            erased = await session.run(read_erased)
        count = renew_list(file, erased, settings.backup.keep_erasures_days)
        return count, await try_to_note(settings, LastCopy("erasures", taken_at))

    count, note_error = asyncio.run(write())
    _warn_of_note("list", note_error)
    if as_json:
        print_json({"file": str(file), "erasures": count})
    else:
        console.print(f"{count} erasures are in {escape(str(file))}")


def _find_keys(settings: Settings, key_file: Path | None) -> list[BackupKey]:
    path = key_file or settings.backup.key_file
    return [] if path is None else read_keys(path)


def _show_backup(report: BackupReport, *, encrypted: bool) -> None:
    people, faces = report.rows.get("person", 0), report.rows.get("face", 0)
    console.print(
        f"{escape(str(report.path))}: {decimal(report.size_bytes)}, "
        f"{'encrypted' if encrypted else 'not encrypted'}; {people} people, {faces} faces, "
        f"{report.vectors} vectors, {report.rows.get('account', 0)} accounts, "
        f"{report.rows.get('audit_entry', 0)} audit entries; read back"
    )
    console.print(f"of {escape(report.stores)}")
    if not (people or report.rows.get("event") or report.rows.get("account")):
        messages.print(
            "[red]there is nobody in it[/]: no account, no event, no person. Are these the service's stores? "
            "Commands go by the environment, its files and .env"
        )
    if report.enrolled_meanwhile or report.erased_meanwhile:
        console.print(
            f"meanwhile: {report.enrolled_meanwhile} faces enrolled and not in it, "
            f"{report.erased_meanwhile} subjects erased, which a restore passes over"
        )
    for event_key, person_id, face_id in report.missing:
        messages.print(f"[red]no vector[/]: event {event_key}, person {escape(person_id)}, face {face_id}")
    if report.missing_count:
        messages.print(
            f"[red]{report.missing_count} enrolled faces have no vector in the gallery[/]; all else is in "
            "the backup. Enrol these people again."
        )


def _warn_of_little_room(report: BackupReport) -> None:
    more = report.room_for_more
    if more is not None and more < LITTLE_ROOM_BACKUPS:
        messages.print(
            f"[yellow]{escape(str(report.path.parent))} has room for {more} more of this size[/] "
            f"({decimal(report.free_bytes or 0)} free): remove old ones, or give it a larger disk"
        )


def _warn_of_note(what: str, error: str | None) -> None:
    if error is not None:
        messages.print(
            f"[yellow]the registry could not be told of this {what}[/] ({escape(error)}): the {what} is "
            "good, but alerts and the doctor go by the one before"
        )


@contextlib.contextmanager
def _show_progress() -> Iterator[OnProgress]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,}"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=messages, transient=True) as progress:
        task = progress.add_task("begin", total=None)

        def note(step: str, done: int, total: int) -> None:
            progress.update(task, description=step, completed=done, total=total or None)

        yield note
