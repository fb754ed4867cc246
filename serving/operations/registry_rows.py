"""The rows of all tables, as values that mean the same on every engine and in every release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnClause,
    Connection,
    Table,
    TableClause,
    and_,
    bindparam,
    column,
    func,
    insert,
    literal,
    select,
    table,
    text,
    tuple_,
)
from sqlalchemy.types import NullType, TypeEngine

import serving.accounts.tables
import serving.audit.tables
import serving.jobs.tables  # noqa: F401  # each puts its tables into the metadata
from serving.accounts.tables import account_person
from serving.database.metadata import UtcDateTime, metadata
from serving.errors import BackupError
from serving.registry.tables import (
    arrival_count,
    event_count,
    face,
    idempotent_request,
    last_copy,
    migrated_face,
    person,
)

PAGE_ROWS = 1000
Row = dict[str, Any]
Kinds = Mapping[str, Mapping[str, str]]
"""Of each table, its columns in order and how their values are written: plain, time, flag or json."""

_TIME, _JSON, _FLAG, _PLAIN = "time", "json", "flag", "plain"
_TYPES: dict[str, type[TypeEngine[Any]] | TypeEngine[Any]] = {
    _TIME: UtcDateTime(),
    _JSON: JSON(none_as_null=True),
    _PLAIN: NullType(),
    _FLAG: Boolean(),
}

_NOT_KEPT = (
    # Counts of the rows of others; a restore counts anew, since not all that was counted comes back.
    event_count,
    arrival_count,
    # Of files elsewhere: a registry that was restored must not claim that there is a backup of it.
    last_copy,
)

_FINISHED = {
    # What is only begun belongs to a request that ends elsewhere.
    person.name: person.c.enrolled_at.is_not(None),
    face.name: face.c.state == "active",
    migrated_face.name: migrated_face.c.state == "active",
    idempotent_request.name: idempotent_request.c.status.is_not(None),
    account_person.name: and_(
        account_person.c.event_key == person.c.event_key,
        account_person.c.person_id == person.c.id,
        person.c.enrolled_at.is_not(None),
    ),
}


def all_tables() -> list[Table]:
    """Every table that a backup holds, those that others refer to before them."""
    return [each for each in metadata.sorted_tables if each not in _NOT_KEPT]


def describe_tables() -> dict[str, dict[str, str]]:
    """How the rows of this release are written; goes into the backup, so that later ones can read it."""
    return {each.name: {name.name: _kind_of(name) for name in each.columns} for each in all_tables()}


def read_page(connection: Connection, source: Table, after: Sequence[Any] | None) -> list[Row]:
    """The next `PAGE_ROWS` finished rows of a table behind the key `after`, in the order of the key."""
    key = list(source.primary_key.columns)
    statement = select(*source.columns).order_by(*key).limit(PAGE_ROWS)
    condition = _FINISHED.get(source.name)
    if condition is not None:
        statement = statement.where(condition)
    if after is not None:
        place = tuple_(*(literal(value, each.type) for value, each in zip(after, key, strict=True)))
        statement = statement.where(tuple_(*key) > place)
    names = [each.name for each in source.columns]
    return [
        {name: _write(value) for name, value in zip(names, row, strict=True)}
        for row in connection.execute(statement)
    ]


def key_of(source: Table, row: Row) -> tuple[Any, ...]:
    """The primary key of a row; no key of ours holds a time."""
    return tuple(row[each.name] for each in source.primary_key.columns)


def count_rows(connection: Connection, name: str) -> int:
    """How many rows a table has."""
    return int(connection.execute(select(func.count()).select_from(table(name))).scalar_one())


def insert_rows(connection: Connection, name: str, kinds: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Insert rows as `read_pages` gave them, into a table of the release that wrote them."""
    if not rows:
        return
    target = _light_table(name, kinds)
    values = {each.name: bindparam(each.name, type_=each.type) for each in target.columns}
    connection.execute(
        insert(target).values(values),
        [{each: _read(row.get(each), kind, name) for each, kind in kinds.items()} for row in rows],
    )


def read_back(connection: Connection, name: str, kinds: Mapping[str, str]) -> Iterator[Row]:
    """All rows of a table of the release that wrote them, in no order, as they are written."""
    target = _light_table(name, kinds)
    found = connection.execute(select(*target.columns), execution_options={"yield_per": PAGE_ROWS})
    for row in found:
        yield {each: _write(value) for each, value in zip(kinds, row, strict=True)}


def mend_sequences(connection: Connection) -> None:
    """Let PostgreSQL number new rows behind those inserted with their numbers; SQLite does by itself."""
    if connection.dialect.name != "postgresql":
        return
    for each in all_tables():
        numbered = each.autoincrement_column
        if numbered is None:
            continue
        connection.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{each.name}', '{numbered.name}'), "  # noqa: S608
                f"(SELECT coalesce(max({numbered.name}), 0) + 1 FROM {each.name}), false)"
            )
        )


def _light_table(name: str, kinds: Mapping[str, str]) -> TableClause:
    if not name.isidentifier() or not all(each.isidentifier() for each in kinds):
        raise BackupError(f"the backup names a table that cannot be: {name[:60]!r}")
    columns: list[ColumnClause[Any]] = [column(each, _TYPES[kind]) for each, kind in kinds.items()]
    return table(name, *columns)


def _kind_of(of: Column[Any]) -> str:
    if isinstance(of.type, UtcDateTime):
        return _TIME
    if isinstance(of.type, Boolean):
        return _FLAG
    return _JSON if isinstance(of.type, JSON) else _PLAIN


def _write(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _read(value: Any, kind: str, name: str) -> Any:
    if value is None or kind != _TIME:
        return value
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise BackupError(f"a row of {name} holds a time that is none") from None
