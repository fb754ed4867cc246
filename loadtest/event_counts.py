"""What it costs to look at an event by its counts, and by its rows; what keeping the counts costs.

    python -m loadtest.event_counts [--people 100000] [--postgresql URL]

Reads are timed on a temporary SQLite file, or on a database of its own on a PostgreSQL server, which is then
removed; there eight writers enrol at one event too, in turns with and without the triggers that count.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import Connection, text

from serving.database import Database, sqlite_url
from serving.database.metadata import now_utc
from serving.registry import Registry
from serving.registry.attendance import CheckIns
from serving.registry.event_counts import pause_counting, recount
from serving.registry.records import NewFace
from serving.registry.totals import count_totals

WRITERS, ROUNDS, LOOKS = 8, 3, 31
ROWS = text(
    "SELECT (SELECT count(*) FROM person WHERE event_key = :key AND enrolled_at IS NOT NULL), "
    "(SELECT count(*) FROM face WHERE event_key = :key AND state = 'active')"
)


def fill(connection: Connection, key: str, people: int) -> None:
    """So many people with a face each, who have all just arrived."""
    pause_counting(connection)
    person = {"key": key, "now": now_utc().replace(tzinfo=None) if _is_sqlite(connection) else now_utc()}
    for statement in (
        "INSERT INTO person (event_key, id, created_at, updated_at, enrolled_at) "
        "VALUES (:key, :id, :now, :now, :now)",
        "INSERT INTO face (event_key, person_id, id, created_at, state) "
        "VALUES (:key, :id, 'f', :now, 'active')",
        "INSERT INTO check_in (event_key, person_id, first_at, last_at, times, best_cosine) "
        "VALUES (:key, :id, :now, :now, 1, 0.5)",
    ):
        connection.execute(text(statement), [{**person, "id": f"p{number}"} for number in range(people)])
    recount(connection)


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


async def time_looks(look: Callable[[], Awaitable[object]]) -> float:
    """The median, in milliseconds."""
    spent = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        await look()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent) * 1000


async def compare_looks(url: str, people: int) -> None:
    database = Database(url)
    registry = Registry(database)
    await registry.open()
    key = (await registry.create_event("gala", None, "pack")).key
    await database.write(fill, key, people)
    assert (await registry.counts(key)).people == people
    looks: dict[str, Callable[[], Awaitable[object]]] = {
        "rows": lambda: database.read(lambda c: c.execute(ROWS, {"key": key}).one()),
        "counts": lambda: registry.counts(key),
        "list of events": registry.list_events,
        "check-in summary": lambda: CheckIns(database).count(key),
        "gauges": lambda: database.read(count_totals),
    }
    for name, look in looks.items():
        print(f"{name:>20}: {await time_looks(look):8.3f} ms")
    await registry.close()


async def enrol(url: str, seconds: float) -> float:
    """Enrolments a second at one event."""
    registry = Registry(Database(url))
    await registry.open()
    key = (await registry.create_event(None, None, "pack")).key
    end = time.perf_counter() + seconds

    async def write(writer: int) -> int:
        done = 0
        while time.perf_counter() < end:
            done += 1
            person = f"{writer}-{done}"
            await registry.begin_enrolment(key, person, None, [NewFace("f")])
            await registry.finish_enrolment(key, person, ["f"])
        return done

    done = await asyncio.gather(*map(write, range(WRITERS)))
    await registry.close()
    return sum(done) / seconds


async def on_server(server: str, people: int, seconds: float) -> None:
    link = await asyncpg.connect(server)
    name = f"rollcall_counts_{uuid.uuid4().hex}"
    await link.execute(f"CREATE DATABASE {name}")
    url = f"{server.rpartition('/')[0]}/{name}"
    try:
        await compare_looks(url, people)
        for _ in range(ROUNDS):
            for counting in ("off", "on"):
                await link.execute(f"ALTER DATABASE {name} SET rollcall.counting = '{counting}'")
                print(f"counting {counting:>3}: {await enrol(url, seconds):8.1f} enrolments/s")
    finally:
        await link.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await link.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--postgresql", help="postgresql://user@host/database of a server to make one on")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round of enrolments")
    options = parser.parse_args()
    if options.postgresql:
        asyncio.run(on_server(options.postgresql, options.people, options.seconds))
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare_looks(sqlite_url(Path(folder) / "private" / "registry"), options.people))


if __name__ == "__main__":
    main()
