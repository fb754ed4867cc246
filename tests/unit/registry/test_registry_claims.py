"""A claim of an erasure and an enrolment of the same person never pass each other unseen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from serving.errors import StageUnavailable
from serving.registry import Event, NewFace, Registry, enrolment, erasures
from serving.registry.person_details import PersonDetails
from tests.unit.registry.conftest import NEEDS_POSTGRES

F1 = NewFace("f1", 0.99)


@pytest.fixture
async def event(registry: Registry) -> Event:
    return await registry.create_event("gala", None, "starter")


async def test_nobody_is_enrolled_while_an_erasure_is_carried_out(registry: Registry, event: Event) -> None:
    await registry.erasures.claim(event.key, "ada", 60)
    with pytest.raises(StageUnavailable):
        await registry.begin_enrolment(event.key, "ada", None, [F1])
    await registry.begin_enrolment(event.key, "bob", None, [F1])
    await registry.erasures.release(event.key, "ada")
    await registry.begin_enrolment(event.key, "ada", None, [F1])


async def test_a_claim_whose_holder_died_ends(registry: Registry, event: Event) -> None:
    await registry.erasures.claim(event.key, "ada", -1)
    await registry.begin_enrolment(event.key, "ada", None, [F1])


@pytest_asyncio.fixture
async def transaction(database_url: str, registry: Registry) -> AsyncIterator[AsyncConnection]:
    """A transaction of another replica; committed by the test, else rolled back."""
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


async def is_held_up(database_url: str, work: asyncio.Future[object]) -> bool:
    """Whether the work ends up waiting for another transaction's lock, rather than done."""
    server = await asyncpg.connect(database_url)
    waiting = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE NOT granted AND datname = current_database()"
    )
    try:
        while not work.done():
            if await server.fetchval(waiting):
                return True
            await asyncio.sleep(0.01)
        return False
    finally:
        await server.close()


def begin(connection: Connection, event_key: str) -> None:
    enrolment.begin_enrolment(
        connection, event_key, "ada", PersonDetails(), [F1], False, frozenset({event_key})
    )


def start(work: Awaitable[object]) -> asyncio.Future[object]:
    return asyncio.ensure_future(work)


@NEEDS_POSTGRES
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_claim_waits_for_an_enrolment_that_has_begun_and_then_knows_its_faces(
    database_url: str, registry: Registry, event: Event, transaction: AsyncConnection
) -> None:
    await transaction.run_sync(begin, event.key)
    claim = start(registry.erasures.claim(event.key, "ada", 60))
    assert await is_held_up(database_url, claim)
    await transaction.commit()
    await claim
    assert await registry.erasures.known_faces(event.key, "ada", event.key) == {"f1"}


@NEEDS_POSTGRES
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_an_enrolment_waits_for_a_claim_that_is_being_made_and_then_sees_it(
    database_url: str, registry: Registry, event: Event, transaction: AsyncConnection
) -> None:
    await transaction.run_sync(erasures.claim_erasure, event.key, "ada", 60.0)
    enrolling = start(registry.begin_enrolment(event.key, "ada", None, [F1]))
    assert await is_held_up(database_url, enrolling)
    await transaction.commit()
    with pytest.raises(StageUnavailable):
        await enrolling


@NEEDS_POSTGRES
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_enrolments_of_one_person_and_claims_of_others_do_not_wait(
    registry: Registry, event: Event, transaction: AsyncConnection
) -> None:
    await registry.begin_enrolment(event.key, "ada", None, [NewFace("f0")])
    await transaction.run_sync(erasures.is_claimed, event.key, "ada")
    await asyncio.wait_for(registry.begin_enrolment(event.key, "ada", None, [F1]), 15)
    await asyncio.wait_for(registry.erasures.claim(event.key, "bob", 60), 15)
