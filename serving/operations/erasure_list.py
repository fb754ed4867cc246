"""Who must not come back: the list of erasures, and what of a backup it takes away.

The registry remembers every erasure by a hash (`registry/erased.py`). `rollcall erasures FILE` writes them to
a file, small enough to leave the machine every few minutes; a restore of an older backup is given it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from serving.accounts.tables import account
from serving.database.metadata import metadata, now_utc
from serving.errors import BackupError
from serving.operations.private_files import write_private_file
from serving.registry.erased import hash_subject
from serving.registry.tables import erased_subject, event

FORMAT = 1
MAX_LIST_BYTES = 2**30
"""Some nine million erasures; a wrong file must not take all memory."""

Erased = Mapping[str, datetime]
"""When each subject was erased, by its hash."""
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ErasureList:
    """What a file says: every erasure until `written_at`."""

    written_at: datetime
    erased: Erased


_SUBJECTS: dict[str, Callable[[Row], str]] = {
    "event": lambda row: hash_subject("event", row["key"]),
    "person": lambda row: hash_subject("person", row["event_key"], row["id"]),
    "face": lambda row: hash_subject("face", row["event_key"], row["person_id"], row["id"]),
    "migrated_face": lambda row: hash_subject("face", row["event_key"], row["person_id"], row["id"]),
    "account": lambda row: hash_subject("account", row["id"]),
    "api_key": lambda row: hash_subject("api_key", row["id"]),
}


def hash_row(table: str, row: Row) -> str:
    """Under what hash the erasure of a row's subject is remembered; KeyError for a table of none."""
    return _SUBJECTS[table](row)


class RowFilter:
    """Passes over the rows of whoever was erased after the row was made, and all that belongs to them.

    Tables must come in the order of `registry_rows.all_tables`: what others belong to comes before them.
    """

    def __init__(self, erased: Erased) -> None:
        self._erased = erased
        self._dropped: dict[str, set[tuple[Any, ...]]] = {}

    @property
    def dropped(self) -> dict[str, int]:
        """How many rows of each table were passed over."""
        return {name: len(keys) for name, keys in self._dropped.items()}

    def keeps(self, table: str, row: Row) -> bool:
        """Whether a row may come back."""
        if not self._erased:
            return True
        kept = not self._is_erased(table, row) and not self._belongs_to_erased(table, row)
        if not kept:
            source = metadata.tables.get(table)
            key = () if source is None else tuple(row[each.name] for each in source.primary_key.columns)
            self._dropped.setdefault(table, set()).add(key)
        return kept

    def _is_erased(self, table: str, row: Row) -> bool:
        name = _SUBJECTS.get(table)
        if name is None:
            return False
        erased_at = self._erased.get(name(row))
        if erased_at is None:
            return False
        # Ids of people and faces may be enrolled again; keys of all else are never used again.
        is_reused = table in ("person", "face", "migrated_face")
        return not is_reused or erased_at >= datetime.fromisoformat(row["created_at"])

    def _belongs_to_erased(self, table: str, row: Row) -> bool:
        source = metadata.tables.get(table)
        for constraint in () if source is None else source.foreign_key_constraints:
            dropped = self._dropped.get(constraint.referred_table.name)
            if dropped and tuple(row.get(name) for name in constraint.column_keys) in dropped:
                return True
        return False


def read_erased(connection: Connection, since: datetime | None = None) -> dict[str, datetime]:
    """The erasures that the registry remembers, since a moment."""
    statement = select(erased_subject.c.digest, erased_subject.c.erased_at)
    if since is not None:
        statement = statement.where(erased_subject.c.erased_at >= since)
    return {row[0]: row[1] for row in connection.execute(statement)}


def read_erased_if_akin(connection: Connection, hashes: Iterable[str]) -> Erased | None:
    """As `read_erased`; None unless the registry has, or remembers to have erased, one of these.

    Args:
        hashes: of a backup's events and accounts. A registry with none of them is another's, or a fresh one,
            and was told of no erasure.
    """
    erased = read_erased(connection)
    known = set(erased)
    known.update(hash_subject("event", key) for key in connection.execute(select(event.c.key)).scalars())
    known.update(hash_subject("account", id) for id in connection.execute(select(account.c.id)).scalars())
    return None if known.isdisjoint(hashes) else erased


def write_list(path: Path, erased: Erased, written_at: datetime | None = None) -> None:
    """Write a list, mode 0600, in place of one that is there; raises BackupError."""
    head = {"rollcall_erasures": FORMAT, "written_at": (written_at or now_utc()).isoformat()}
    rows = ([digest, at.isoformat()] for digest, at in sorted(erased.items()))
    lines = [json.dumps(each) for each in (head, *rows, {"end": len(erased)})]
    write_private_file(path, "\n".join(lines) + "\n")


def renew_list(path: Path, erased: Erased, keep_days: int) -> int:
    """Write a list that also holds what the one in its place held; how many erasures that are.

    A registry that was just made knows of none, and its list must not take the place of the last good one.

    Args:
        keep_days: how long an erasure is remembered.

    Raises:
        BackupError: it cannot be written, or what is there is no list, or was cut off.
    """
    held = read_list(path).erased if path.exists() else {}
    oldest = now_utc() - timedelta(days=keep_days)
    known = merge(erased, {digest: at for digest, at in held.items() if at >= oldest})
    write_list(path, known)
    return len(known)


def read_list(path: Path) -> ErasureList:
    """A list that `write_list` wrote; raises BackupError also where it was cut off."""
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise ValueError
        lines = path.read_text("ascii").splitlines()
        head, *rows, end = (json.loads(line) for line in lines)
        if head["rollcall_erasures"] != FORMAT or end != {"end": len(rows)}:
            raise ValueError
        erased = {str(digest): datetime.fromisoformat(at) for digest, at in rows}
        return ErasureList(datetime.fromisoformat(head["written_at"]), erased)
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise BackupError(f"{path} is no list of erasures, or was cut off") from None


def merge(*lists: Erased) -> dict[str, datetime]:
    """All of several lists; of one subject the latest erasure."""
    merged: dict[str, datetime] = {}
    for each in lists:
        for digest, at in each.items():
            merged[digest] = max(at, merged.get(digest, at))
    return merged
