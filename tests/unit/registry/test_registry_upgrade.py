"""A database of a release in which no event could move, with data of every kind, works after the upgrade."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

import serving.database
from serving.database import Database
from serving.database.location import parse_url, prepare_file
from serving.database.sqlite import create_sqlite_engine, run_write
from serving.registry import Counts, Registry
from serving.registry.attendance import CheckIns
from serving.registry.event_counts import find_miscounted
from serving.registry.records import Place
from serving.registry.totals import count_totals

GALA, DOOMED, GONE = "a" * 32, "b" * 32, "c" * 32
ROWS = f"""
INSERT INTO event (key, id, pack_id, created_at, state, threshold)
    VALUES ('{GALA}', 'gala', 'old', :past, 'open', 0.9),
           ('{DOOMED}', 'doomed', 'old', :past, 'deleting', NULL);
INSERT INTO person (event_key, id, created_at, updated_at, enrolled_at)
    VALUES ('{GALA}', 'ada', :past, :past, :past);
INSERT INTO face (event_key, person_id, id, created_at, state)
    VALUES ('{GALA}', 'ada', 'f1', :past, 'active'), ('{GALA}', 'ada', 'f2', :past, 'pending');
INSERT INTO erasure (id, event_key, person_id, due_at)
    VALUES ('e1', '{GONE}', NULL, :past), ('e2', '{GALA}', 'bob', :past);
INSERT INTO check_in (event_key, person_id, first_at, last_at, times, best_cosine)
    VALUES ('{GALA}', 'ada', :past, :past, 1, 0.5);
INSERT INTO event_statistics (event_key, since, recognitions) VALUES ('{GALA}', :past, 3);
INSERT INTO event_score (event_key, outcome, bin, faces) VALUES ('{GALA}', 'match', 99, 2);
"""


def fill(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(serving.database.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "0006")
    past = "'2020-01-01 00:00:00.000000" + ("'" if connection.dialect.name == "sqlite" else "+00'")
    for statement in filter(str.strip, ROWS.replace(":past", past).split(";")):
        connection.execute(text(statement))


async def make_old_database(database_url: str) -> None:
    url = parse_url(database_url)
    if url.get_backend_name() != "sqlite":
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.run_sync(fill)
        await engine.dispose()
        return
    assert url.database is not None
    prepare_file(Path(url.database))
    synchronous = create_sqlite_engine(url, pool_size=1)
    run_write(synchronous, fill)
    synchronous.dispose()


async def test_everything_of_before_works_after_the_upgrade(database_url: str) -> None:
    await make_old_database(database_url)
    database = Database(database_url)
    registry = Registry(database)
    await registry.open()
    try:
        gala = await registry.get_event("gala")
        assert (gala.places, gala.threshold, gala.liveness) == ((Place("old", GALA),), 0.9, None)
        due = {each.event_key: (each.person_id, each.place) for each in await registry.erasures.due()}
        assert due == {GALA: ("bob", None), GONE: (None, Place(None, GONE))}
        assert (await registry.counts(GALA), await database.read(find_miscounted)) == (Counts(1, 1), [])
        attendance = await CheckIns(database).count(GALA)
        assert (attendance.arrived, attendance.arrived_last_hour) == (1, 0)
        statistics = await registry.statistics(GALA)
        assert (statistics.tally.recognitions, statistics.tally.spoofs) == (3, 0)
        assert statistics.tally.scores == {("match", 99): 2}
        await registry.finish_event_deletion(DOOMED)
        assert await registry.erasures.places(DOOMED) == [Place("old", DOOMED)]

        await registry.finish_enrolment(GALA, "ada", ["f2"])  # under way while the service was upgraded
        assert await registry.counts(GALA) == Counts(1, 2)
        begun = await registry.migrations.begin(GALA, "new")
        stored_in = [place.partition for place in begun.places]
        assert stored_in[0] == GALA
        finished = await registry.migrations.finish(GALA, lambda _: {}, allow_missing=True)
        assert finished.missing_ids == ("ada",)
        places = {place.pack_id: place.partition for place in await registry.erasures.places(GALA)}
        assert places == {"old": GALA, "new": stored_in[1]}
        assert (await database.read(count_totals)).faces == {"new": 0}
    finally:
        await registry.close()
