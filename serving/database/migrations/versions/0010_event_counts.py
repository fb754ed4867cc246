"""How many people, faces and arrivals an event has, kept by triggers beside the rows that they count.

On PostgreSQL a statement adds what it changed to a row of its event that no other transaction holds, and to a
new one where all are held: nobody ever waits for a count, and there are as many rows as there were ever
writers at once. Once for each statement, since a row that one transaction changes a thousand times slows down
with each time. SQLite has one writer, so one row, which is changed where it lies.

A transaction that sets rollcall.counting to off, as a restore does, counts anew by itself.

A table that a later revision makes anew (Alembic's batch mode) loses its triggers, and must get them back.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serving.database.metadata import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Table, column of event_count, when a row counts (of `%`, the row), which columns decide that.
_COUNTED = (
    ("person", "people", "%.enrolled_at IS NOT NULL", "enrolled_at"),
    ("face", "faces", "%.state = 'active'", "state"),
    ("migrated_face", "migrated_faces", "%.state = 'active'", "state"),
)
_COUNTS = ("people", "faces", "migrated_faces", "arrivals")


def upgrade() -> None:
    numbers = [sa.Column(name, sa.BigInteger(), server_default="0", nullable=False) for name in _COUNTS]
    op.create_table(
        "event_count",
        sa.Column("event_key", sa.String(32), nullable=False),
        sa.Column("part", sa.BigInteger(), nullable=False),
        *numbers,
        sa.ForeignKeyConstraint(
            ["event_key"], ["event.key"], name="fk_event_count_event", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_key", "part", name="pk_event_count"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "arrival_count",
        sa.Column("event_key", sa.String(32), nullable=False),
        sa.Column("minute", UtcDateTime(), nullable=False),
        sa.Column("part", sa.BigInteger(), nullable=False),
        sa.Column("arrivals", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_key"], ["event.key"], name="fk_arrival_count_event", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_key", "minute", "part", name="pk_arrival_count"),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "sqlite":
        _make_sqlite_triggers()
        minute = "substr(first_at, 1, 16) || ':00.000000'"
    else:
        _make_postgresql_triggers()
        minute = "date_trunc('minute', first_at, 'UTC')"
    # Nobody writes from here on: PostgreSQL's triggers have locked the tables, SQLite has one writer.
    _execute(
        "INSERT INTO event_count (event_key, part, people, faces, migrated_faces, arrivals) "
        "SELECT key, 0, "
        "(SELECT count(*) FROM person p WHERE p.event_key = event.key AND p.enrolled_at IS NOT NULL), "
        "(SELECT count(*) FROM face f WHERE f.event_key = event.key AND f.state = 'active'), "
        "(SELECT count(*) FROM migrated_face m WHERE m.event_key = event.key AND m.state = 'active'), "
        "(SELECT count(*) FROM check_in c WHERE c.event_key = event.key) FROM event"
    )
    _execute(
        "INSERT INTO arrival_count (event_key, minute, part, arrivals) "  # noqa: S608
        f"SELECT event_key, {minute}, 0, count(*) FROM check_in GROUP BY 1, 2"
    )
    # They were for counting only.
    op.drop_index("ix_person_enrolled", "person")
    op.drop_index("ix_face_active", "face")


def _execute(statement: str) -> None:
    """As it is written: Alembic's own would take what stands behind a colon for a parameter."""
    op.get_bind().exec_driver_sql(statement)


def _make_sqlite_triggers() -> None:
    def trigger(table: str, name: str, event: str, condition: str, *actions: str) -> None:
        done = " ".join(f"{action};" for action in actions)
        when = f"AFTER {event} ON {table} WHEN {condition}"
        _execute(f"CREATE TRIGGER {table}_{name}_counted {when} BEGIN {done} END")

    add = "UPDATE event_count SET {0} = {0} {1} 1 WHERE event_key = {2}.event_key"
    _execute(
        "CREATE TRIGGER event_insert_counted AFTER INSERT ON event BEGIN "
        "INSERT INTO event_count (event_key, part) VALUES (NEW.key, 0); END"
    )
    for table, column, rule, decided_by in _COUNTED:
        is_new, was_old = rule.replace("%", "NEW"), rule.replace("%", "OLD")
        more, less = add.format(column, "+", "NEW"), add.format(column, "-", "OLD")
        changed = f"UPDATE OF {decided_by}"
        trigger(table, "insert", "INSERT", is_new, more)
        trigger(table, "begin", changed, f"{is_new} AND NOT ({was_old})", more)
        trigger(table, "end", changed, f"{was_old} AND NOT ({is_new})", less)
        trigger(table, "delete", "DELETE", was_old, less)
    minute = "substr({0}.first_at, 1, 16) || ':00.000000'"
    of_minute = "event_key = {0}.event_key AND minute = " + minute
    trigger(
        "check_in",
        "insert",
        "INSERT",
        "TRUE",
        add.format("arrivals", "+", "NEW"),
        "INSERT INTO arrival_count (event_key, minute, part, arrivals) "  # noqa: S608
        f"VALUES (NEW.event_key, {minute.format('NEW')}, 0, 1) "
        "ON CONFLICT (event_key, minute, part) DO UPDATE SET arrivals = arrivals + 1",
    )
    trigger(
        "check_in",
        "delete",
        "DELETE",
        "TRUE",
        add.format("arrivals", "-", "OLD"),
        f"UPDATE arrival_count SET arrivals = arrivals - 1 WHERE {of_minute.format('OLD')}",  # noqa: S608
    )


# What was deleted with its event is counted nowhere: the event is gone before its people are.
_ADD = """
CREATE OR REPLACE FUNCTION rollcall_add_counts(
    of_event varchar, more_people bigint, more_faces bigint, more_migrated bigint, more_arrivals bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    free bigint;
    new_part constant bigint := random() * 9e18;
BEGIN
    SELECT part INTO free FROM event_count WHERE event_key = of_event
        LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
    IF FOUND THEN
        UPDATE event_count SET people = people + more_people, faces = faces + more_faces,
            migrated_faces = migrated_faces + more_migrated, arrivals = arrivals + more_arrivals
            WHERE event_key = of_event AND part = free;
    ELSE
        INSERT INTO event_count (event_key, part, people, faces, migrated_faces, arrivals)
            VALUES (of_event, new_part, more_people, more_faces, more_migrated, more_arrivals);
    END IF;
END $$
"""
_ADD_ARRIVALS = """
CREATE OR REPLACE FUNCTION rollcall_add_arrivals(of_event varchar, of_minute timestamptz, more bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    free bigint;
BEGIN
    SELECT part INTO free FROM arrival_count WHERE event_key = of_event AND minute = of_minute
        LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
    IF FOUND THEN
        UPDATE arrival_count SET arrivals = arrivals + more
            WHERE event_key = of_event AND minute = of_minute AND part = free;
    ELSE
        INSERT INTO arrival_count (event_key, minute, part, arrivals)
            VALUES (of_event, of_minute, (random() * 9e18)::bigint, more);
    END IF;
END $$
"""
_COUNT = """
CREATE OR REPLACE FUNCTION rollcall_count_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('rollcall.counting', true) = 'off' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        PERFORM rollcall_add_counts(changed.event_key, {arguments}) FROM (
            SELECT n.event_key, count(*) AS more FROM added n JOIN event ON event.key = n.event_key
            WHERE {is_new} GROUP BY n.event_key) changed;
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM rollcall_add_counts(changed.event_key, {arguments}) FROM (
            SELECT o.event_key, -count(*) AS more FROM removed o JOIN event ON event.key = o.event_key
            WHERE {was_old} GROUP BY o.event_key) changed;
    ELSE
        PERFORM rollcall_add_counts(changed.event_key, {arguments}) FROM (
            SELECT each.event_key, sum(each.one)::bigint AS more FROM (
                SELECT n.event_key, 1 AS one FROM added n WHERE {is_new}
                UNION ALL SELECT o.event_key, -1 FROM removed o WHERE {was_old}) each
            JOIN event ON event.key = each.event_key
            GROUP BY each.event_key HAVING sum(each.one) <> 0) changed;
    END IF;
    RETURN NULL;
END $$
"""
_COUNT_ARRIVALS = """
CREATE OR REPLACE FUNCTION rollcall_count_check_in() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    each record;
BEGIN
    IF current_setting('rollcall.counting', true) = 'off' THEN
        RETURN NULL;
    END IF;
    FOR each IN
        SELECT c.event_key, date_trunc('minute', c.first_at, 'UTC') AS minute, count(*) AS more
        FROM changed c JOIN event ON event.key = c.event_key GROUP BY 1, 2
    LOOP
        IF TG_OP = 'DELETE' THEN
            each.more := -each.more;
        END IF;
        PERFORM rollcall_add_counts(each.event_key, 0, 0, 0, each.more);
        PERFORM rollcall_add_arrivals(each.event_key, each.minute, each.more);
    END LOOP;
    RETURN NULL;
END $$
"""
_TRIGGER = (
    "CREATE TRIGGER {0}_{1}_counted AFTER {1} ON {0} REFERENCING {2} "
    "FOR EACH STATEMENT EXECUTE FUNCTION rollcall_count_{0}()"
)
_TRANSITIONS = {
    "insert": "NEW TABLE AS added",
    "update": "OLD TABLE AS removed NEW TABLE AS added",
    "delete": "OLD TABLE AS removed",
}


def _make_postgresql_triggers() -> None:
    _execute(_ADD)
    _execute(_ADD_ARRIVALS)
    for number, (table, _, rule, _) in enumerate(_COUNTED):
        arguments = ", ".join("changed.more" if place == number else "0" for place in range(len(_COUNTS)))
        is_new, was_old = rule.replace("%", "n"), rule.replace("%", "o")
        _execute(_COUNT.format(table=table, arguments=arguments, is_new=is_new, was_old=was_old))
        for happening, transition in _TRANSITIONS.items():
            _execute(_TRIGGER.format(table, happening, transition))
    _execute(_COUNT_ARRIVALS)
    _execute(_TRIGGER.format("check_in", "insert", "NEW TABLE AS changed"))
    _execute(_TRIGGER.format("check_in", "delete", "OLD TABLE AS changed"))
