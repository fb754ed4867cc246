"""The registry on a real PostgreSQL that restarts, dies, falls silent, fills its disk or only reads."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import Connection, text

from serving.database import Database
from serving.errors import (
    ConfigurationError,
    DeadlineExceeded,
    Overloaded,
    RollcallError,
    StageUnavailable,
    StorageFull,
)
from serving.operations.registry_session import open_snapshot, open_writing
from serving.registry import NewFace, Registry
from serving.settings.stores import DatabaseSettings
from tests.chaos.faulty_proxy import FaultyProxy
from tests.chaos.stores import PostgresServer, fill_disk

LIMITS = DatabaseSettings(
    pool_size=2, pool_overflow=0, pool_wait_s=1, connect_timeout_s=2, statement_timeout_s=2
)
RECOVERY_S = 15.0
"""What the service promises."""


@pytest.fixture(scope="module")
def proxy(server: PostgresServer) -> Iterator[FaultyProxy]:
    with FaultyProxy("127.0.0.1", server.port) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def registry(server: PostgresServer, proxy: FaultyProxy) -> AsyncIterator[Registry]:
    """By way of the proxy, warm: every connection of the pool is open."""
    registry = Registry(Database(server.url_at(proxy.port), LIMITS))
    await registry.open()
    await asyncio.gather(*(registry.list_events() for _ in range(4)))
    yield registry
    proxy.heal()
    await registry.close()


async def create(registry: Registry) -> str:
    """An event; its id, once it is acknowledged."""
    return (await registry.create_event(f"e-{uuid.uuid4().hex[:12]}", None, "starter")).id


async def recover(ask: Callable[[], Awaitable[object]]) -> float:
    """Seconds until it succeeds; until then nothing but outages may be told."""
    began_s = time.monotonic()
    while True:
        try:
            await ask()
        except (StageUnavailable, DeadlineExceeded, Overloaded):
            assert time.monotonic() - began_s < RECOVERY_S
            await asyncio.sleep(0.05)
        else:
            return time.monotonic() - began_s


async def test_a_restart_between_two_requests_is_not_noticed(
    server: PostgresServer, registry: Registry
) -> None:
    before = await create(registry)
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    after = await create(registry)
    for event in (before, after):
        assert (await registry.get_event(event)).id == event


@pytest.mark.parametrize("sign", [signal.SIGQUIT, signal.SIGKILL], ids=["immediate", "kill-9"])
async def test_what_was_acknowledged_is_there_after_a_crash(
    server: PostgresServer, registry: Registry, sign: signal.Signals
) -> None:
    acknowledged: list[str] = []

    async def go_on() -> None:
        while True:
            acknowledged.append(await create(registry))

    task = asyncio.create_task(go_on())
    while len(acknowledged) < 20:
        await asyncio.sleep(0.005)
        assert not task.done()
    await asyncio.to_thread(server.kill if sign == signal.SIGKILL else lambda: server.stop(sign))
    with pytest.raises(StageUnavailable):
        await task
    for ask in (registry.get_event(acknowledged[0]), create(registry)):
        began_s = time.monotonic()
        with pytest.raises(StageUnavailable) as caught:
            await ask
        assert caught.value.retry_after_s is not None
        assert time.monotonic() - began_s < RECOVERY_S
    await asyncio.to_thread(server.start)
    await recover(lambda: create(registry))
    for event in acknowledged:
        assert (await registry.get_event(event)).id == event


async def test_silence_costs_the_time_limit_and_ends_with_it(registry: Registry, proxy: FaultyProxy) -> None:
    event = await create(registry)
    proxy.swallow()
    asks: list[Awaitable[object]] = [registry.get_event(event), create(registry), registry.check()]
    began_s = time.monotonic()
    answers = await asyncio.gather(*asks, return_exceptions=True)
    assert {type(each) for each in answers} <= {StageUnavailable, DeadlineExceeded, Overloaded}, answers
    assert time.monotonic() - began_s < 4 * RECOVERY_S  # three limits of 2 s on a machine however slow
    proxy.heal()
    await recover(lambda: registry.get_event(event))
    await recover(lambda: create(registry))


async def test_slow_is_not_failing(registry: Registry, proxy: FaultyProxy) -> None:
    proxy.slow_down(0.1)
    event = await create(registry)
    assert (await registry.get_event(event)).id == event


async def test_refused_connections_are_an_outage_at_once(registry: Registry, proxy: FaultyProxy) -> None:
    event = await create(registry)
    proxy.refuse()
    for _ in range(3):
        with pytest.raises(StageUnavailable):
            await registry.get_event(event)
        with pytest.raises(StageUnavailable):
            await create(registry)
    proxy.heal()
    assert (await registry.get_event(event)).id == event


async def test_a_read_only_server_reads_on(server: PostgresServer, registry: Registry) -> None:
    event = await create(registry)
    read_only = "ALTER DATABASE rollcall SET default_transaction_read_only = on"
    drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rollcall'"
    for statement in (read_only, drop):
        await asyncio.to_thread(server.ask, statement)
    try:
        with pytest.raises(StorageFull, match="read-only"):
            await create(registry)
        assert (await registry.get_event(event)).id == event
    finally:
        undo = "BEGIN READ WRITE; ALTER DATABASE rollcall RESET default_transaction_read_only; COMMIT"
        for statement in (undo, drop):
            await asyncio.to_thread(server.ask, statement)
    await recover(lambda: create(registry))


async def test_a_lock_that_is_held_costs_a_statements_time(
    server: PostgresServer, registry: Registry
) -> None:
    """Two writers wait for the lock until the server ends them; the others find no connection free."""
    holder = Database(server.url, DatabaseSettings(), migrate_on_open=False)
    await holder.open()
    held = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(connection: Connection) -> None:
        connection.execute(text("LOCK TABLE event IN EXCLUSIVE MODE"))
        loop.call_soon(held.set)
        connection.execute(text("SELECT pg_sleep(4)"))

    holding = asyncio.create_task(holder.write(hold))
    await held.wait()
    writers = [asyncio.create_task(create(registry)) for _ in range(6)]
    answers = await asyncio.gather(*writers, return_exceptions=True)
    assert {type(each) for each in answers} == {DeadlineExceeded, Overloaded}, answers
    await holding
    await holder.close()
    await recover(lambda: create(registry))


async def test_a_full_disk_refuses_writes_and_reads_on(
    disk: Path | None, server: PostgresServer, registry: Registry
) -> None:
    if disk is None:
        pytest.skip("a file system cannot be mounted here")
    event = await registry.create_event(f"e-{uuid.uuid4().hex[:12]}", None, "starter")
    acknowledged: list[str] = []
    ballast = await asyncio.to_thread(fill_disk, disk)
    refusal: RollcallError | None = None
    try:
        for _ in range(3000):
            person = uuid.uuid4().hex
            faces = [NewFace(f"f{place}") for place in range(50)]
            await registry.begin_enrolment(event.key, person, "n" * 100, faces)
            await registry.finish_enrolment(event.key, person, [face.id for face in faces])
            acknowledged.append(person)
    except (StageUnavailable, DeadlineExceeded) as error:
        refusal = error
    assert refusal is not None, "the disk did not fill"
    print(f"the disk was full after {len(acknowledged)} people: {refusal!r}")
    ballast.unlink()
    await recover(lambda: create(registry))
    for person in acknowledged:
        assert len((await registry.get_person(event.key, person)).faces) == 50


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("sslmode=require", None),
        ("sslmode=verify-full&sslrootcert={ours}/ca.pem", None),
        ("sslmode=verify-ca&sslrootcert={theirs}/ca.pem", "certificate is not trusted"),
        ("sslmode=verify-full&sslrootcert={theirs}/ca.pem", "certificate is not trusted"),
        ("sslmode=verify-full", "needs sslrootcert"),
        ("sslmode=verify-full&sslrootcert={ours}/none.pem", "cannot be read"),
        ("sslmode=always", "sslmode is none of"),
    ],
)
async def test_tls_as_the_url_says_it(
    server: PostgresServer, secrets: Path, query: str, says: str | None
) -> None:
    url = f"{server.url}?{query.format(ours=secrets / 'ours', theirs=secrets / 'theirs')}"
    database = Database(url, LIMITS)
    if says is not None:
        with pytest.raises(ConfigurationError, match=says):
            await database.open()
        return
    await database.open()
    encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert await database.read(lambda connection: connection.execute(text(encrypted)).scalar_one())
    await database.close()
    for session_of in (open_snapshot(url, check_tables=False), open_writing(url)):  # of backup and restore
        async with session_of as session:
            assert await session.run(lambda connection: connection.execute(text(encrypted)).scalar_one())
