"""`rollcall rotate-keys`: new signing keys with overlap, and new backup keys."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Annotated

import typer

from serving.accounts.keys import KEY_FILES, OVERLAP_S, KeyRing
from serving.commands.console import AsJson, console, print_json
from serving.database.location import find_sqlite_file
from serving.errors import CommandError
from serving.operations.backup_keys import add_key
from serving.settings import Settings, load_settings

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def rotate_keys(
    overlap: Annotated[
        str,
        typer.Option(help="How long older keys verify: 90d, 13h, 0. At least the longest token's life."),
    ] = f"{OVERLAP_S}s",
    backup: Annotated[
        bool, typer.Option("--backup", help="Add a key to backup.key_file instead; makes the file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sign new tokens with a new key, at once on every replica, without a restart.

    Older keys verify what they signed until it has expired, and are then removed. `--overlap 0` voids every
    token there is; whoever has a session renews it.
    """
    settings = load_settings()
    if backup:
        _rotate_backup_key(settings, as_json)
        return
    path = find_sqlite_file(settings.registry_url)
    if path is not None and not path.exists():
        raise CommandError(
            f"there is no data of a service in {settings.data_dir}; "
            "change to its directory or set ROLLCALL_DATA_DIR, or begin with: rollcall admin create NAME"
        )
    if not list(settings.keys_dir.glob(KEY_FILES)):
        raise CommandError(
            f"there is no signing key in {settings.keys_dir} to take the place of: ROLLCALL_DATA_DIR must "
            "name the service's data_dir, where its first start makes one"
        )
    ring = KeyRing(settings.keys_dir)
    kid = ring.rotate(read_duration_s(overlap))
    if as_json:
        older = [{"kid": each, "until": _tell_time(end)} for each, end in ring.ends.items() if each != kid]
        print_json({"kid": kid, "older": older})
        return
    console.print(f"the key {kid} signs from now on")
    for each, end in ring.ends.items():
        if each != kid:
            until = datetime.fromtimestamp(end, timezone.utc)
            console.print(f"the key {each} verifies until {until:%Y-%m-%d %H:%M} UTC")


def _tell_time(timestamp_s: float) -> str:
    return datetime.fromtimestamp(timestamp_s, timezone.utc).isoformat(timespec="seconds")


def read_duration_s(text: str) -> float:
    """The seconds in `90d`, `13h`, `5m`, `30s` or `0`; raises CommandError."""
    found = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip())
    if found is None or (not found[2] and int(found[1])):
        raise CommandError(f"--overlap {text!r}: a number with s, m, h or d behind it, or 0")
    return float(int(found[1]) * _UNITS_S.get(found[2], 1))


def _rotate_backup_key(settings: Settings, as_json: bool) -> None:
    path = settings.backup.key_file
    if path is None:
        raise CommandError(
            "say where the keys of backups lie: ROLLCALL_BACKUP__KEY_FILE=/etc/rollcall/backup.keys"
        )
    is_new = not path.exists()
    key = add_key(path)
    if as_json:
        print_json({"key": key.id.hex(), "file": str(path), "is_new": is_new})
        return
    console.print(f"the key {key.id.hex()} encrypts backups from now on; it is in {path}")
    console.print("Keep a copy where the backups are not: without it nobody can read them.")
    if not is_new:
        console.print("Backups made before need the older lines of that file for as long as you keep them.")
