"""Who was erased, remembered by hash alone, so that a backup from before does not bring them back.

Each forgetting leaves a row in its own transaction. A hash covers the event's random key, so it says nothing
to whoever does not have that key, and finds its person again in a backup, which has it.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, delete, func, select

from serving.database.metadata import now_utc
from serving.registry.tables import erased_subject, insert_into

Kind = Literal["event", "person", "face", "account", "api_key"]
"""Named by: event key; event key and person id; those and the face id; account id; key id."""


def hash_subject(kind: Kind, *names: str) -> str:
    """SHA-256, lower-case hex, over the kind and the names, each with its length before it."""
    content = "".join(f"{len(part)}:{part};" for part in (kind, *names))
    return hashlib.sha256(content.encode()).hexdigest()


def note_erased(connection: Connection, kind: Kind, *names: str) -> None:
    """Remember that this was erased now; in the transaction that does it."""
    values = {"digest": hash_subject(kind, *names), "erased_at": now_utc()}
    insert = insert_into(connection, erased_subject)
    insert = insert.on_conflict_do_update(
        index_elements=[erased_subject.c.digest], set_={"erased_at": insert.excluded.erased_at}
    )
    connection.execute(insert, values)


def forget_erased(connection: Connection, older_than_days: int) -> int:
    """Drop what was erased longer ago than any backup is kept; how many."""
    limit = now_utc() - timedelta(days=older_than_days)
    return connection.execute(delete(erased_subject).where(erased_subject.c.erased_at < limit)).rowcount


def last_erased_before(connection: Connection, moment: datetime) -> datetime | None:
    """When something was last erased until that moment; None for never."""
    latest = select(func.max(erased_subject.c.erased_at)).where(erased_subject.c.erased_at <= moment)
    found: datetime | None = connection.execute(latest).scalar()
    return found
