"""Checks of what is kept elsewhere: how old the newest backup and the newest list of erasures are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from serving.database.location import find_sqlite_file
from serving.database.metadata import now_utc
from serving.database.migration import current_revision
from serving.database.migrations import HEAD
from serving.operations.doctor.checks import Check, Finding, Subject, ok, warn
from serving.operations.registry_session import open_snapshot
from serving.registry.last_copies import Kind, LastCopy, read_copies
from serving.registry.tables import person

LATE_DAYS = 2
"""A night's backup may fail once: the next makes up for it. RollcallBackupMissing goes by the same."""
LATE_LIST_HOURS = 1
"""Twelve times that a list of every five minutes was not written; as RollcallErasureListOld."""
CLOCK_SKEW = timedelta(minutes=10)


def look_at_copies(subject: Subject) -> Iterator[Finding]:
    path = find_sqlite_file(subject.settings.registry_url)
    if path is not None and not path.exists():
        yield ok("there is nothing to back up yet")
        return
    facts = asyncio.run(_read(subject))
    if facts is None:
        yield ok("told once the registry has the tables of this release")
        return
    copies, has_people = facts
    backup, erasures = copies.get("backup"), copies.get("erasures")
    if backup is not None:
        yield from _judge_backup(backup)
    elif has_people:
        yield warn(
            "people are enrolled, and no backup of this registry was ever made",
            "rollcall backup each night (docs/backup.md), unless nobody would miss them.",
        )
    else:
        yield ok("no backup yet, and nobody is enrolled")
    if erasures is not None and not _is_recent(erasures.taken_at):
        yield warn(
            f"the newest list of erasures is of {_show(erasures.taken_at)}",
            "rollcall erasures every five minutes: a restore of an older backup needs it (docs/backup.md).",
        )


def _judge_backup(backup: LastCopy) -> Iterator[Finding]:
    age = _age(backup.taken_at)
    if age < -CLOCK_SKEW:
        yield warn(
            f"the newest backup is of {_show(backup.taken_at)}, which is still to come",
            "Let NTP keep all machines' time, and back up again.",
        )
    elif age > timedelta(days=LATE_DAYS):
        yield warn(
            f"the newest backup is of {_show(backup.taken_at)}, more than {LATE_DAYS} days ago",
            "Look at what runs rollcall backup each night: its exit code and what it printed.",
        )
    if backup.missing_faces:
        yield warn(
            f"the newest backup lacks the vectors of {backup.missing_faces} enrolled faces",
            "rollcall backup names them: enrol these people again.",
        )
    size = "" if backup.size_bytes is None else f", {backup.size_bytes / 2**20:.1f} MiB"
    yield ok(f"backup of {_show(backup.taken_at)}, {'' if backup.encrypted else 'not '}encrypted{size}")


def _is_recent(moment: datetime) -> bool:
    return -CLOCK_SKEW <= _age(moment) <= timedelta(hours=LATE_LIST_HOURS)


def _age(moment: datetime) -> timedelta:
    return now_utc() - moment


def _show(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


async def _read(subject: Subject) -> tuple[dict[Kind, LastCopy], bool] | None:
    async with open_snapshot(subject.settings.registry_url, check_tables=False) as session:
        return await session.run(_read_facts)


def _read_facts(connection: Connection) -> tuple[dict[Kind, LastCopy], bool] | None:
    """The newest copies and whether anybody is enrolled; None where the tables are of another release."""
    if current_revision(connection) != HEAD:
        return None
    somebody = select(person.c.id).where(person.c.enrolled_at.is_not(None)).limit(1)
    return read_copies(connection), connection.execute(somebody).first() is not None


CHECKS = (
    Check("backups", "age of the newest backup and of the newest list of erasures", look_at_copies, 30.0),
)
