"""The whole service under load while a store dies, falls silent, is full or only reads: rows of the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.chaos.faulty_proxy import FaultyProxy
from tests.chaos.harness import Target, start_target
from tests.chaos.stores import PostgresServer, RedisServer, fill_disk, mount_small_disk

OUTAGE_S = 4.0
RECOVERY_LIMIT_S = 15.0
DEADLINE_S = 20.0
"""load.request_timeout_s of config/laptop.yaml, at most."""
GRACE_S = 5.0
ALLOWED = {"stage_unavailable", "deadline_exceeded", "overloaded", "storage_full"}
DISK_MIB = 900


class World:
    """A service whose stores can be broken.

    Attributes:
        target: the service, under the harness.
        postgres, redis: its stores; it asks them by way of the proxies beside them.
        unready: whether /readyz said during the failure that something is wrong.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.unready = False
        self.disk = stack.enter_context(mount_small_disk(DISK_MIB))
        postgres_disk = stack.enter_context(mount_small_disk(256))
        self.postgres_disk = postgres_disk
        self.postgres = stack.enter_context(PostgresServer(postgres_disk, fsync="on", shared_buffers="16MB"))
        self.redis = stack.enter_context(RedisServer())
        self.to_postgres = stack.enter_context(FaultyProxy("127.0.0.1", self.postgres.port))
        self.to_redis = stack.enter_context(FaultyProxy("127.0.0.1", self.redis.port))
        environment = {
            "ROLLCALL_DATABASE_URL": self.postgres.url_at(self.to_postgres.port),
            "ROLLCALL_DATABASE__STATEMENT_TIMEOUT_S": "5",
            "ROLLCALL_RATE_LIMITS__REDIS_URL": f"redis://127.0.0.1:{self.to_redis.port}",
        }
        self.target: Target = stack.enter_context(start_target(self.disk, environment=environment))

    def break_for(self, begin: Callable[[], object], end: Callable[[], object]) -> Callable[[], None]:
        """What breaks something, waits, and mends it; /readyz is asked meanwhile."""

        def inject() -> None:
            begin()
            self.unready = False
            until_s = time.monotonic() + OUTAGE_S
            while time.monotonic() < until_s:
                self.unready |= not self.is_ready()
                time.sleep(0.2)
            end()

        return inject

    def is_ready(self) -> bool:
        """What /readyz says; silence is no."""
        try:
            return httpx.get(f"{self.target.url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ExitStack() as stack:
        yield World(stack)


def set_read_only(postgres: PostgresServer, value: str) -> None:
    """For all connections to come; those there are, are ended."""
    postgres.ask(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    postgres.ask("SELECT pg_reload_conf()")


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("failure", "is_noticed"),
    [
        ("PostgreSQL: kill -9, started again", True),
        ("PostgreSQL: shut down and started, as in a failover", True),
        ("PostgreSQL: silent", True),
        ("PostgreSQL: refusing", True),
        ("PostgreSQL: slow, 0.1 s each way", False),
        ("PostgreSQL: read-only", True),
        ("PostgreSQL: disk full", True),
        ("Redis: kill -9, started again", False),
        ("Redis: silent", False),
        ("embedded gallery: disk full", False),
    ],
)
def test_a_store_that_fails(world: World, failure: str, is_noticed: bool) -> None:
    ballast: list[Path] = []

    def fill(disk: Path) -> None:
        ballast.append(fill_disk(disk))

    def fill_postgres() -> None:
        fill(world.postgres_disk)
        world.postgres.use_up_log()

    def free() -> None:
        for file in ballast:
            file.unlink()
        if world.postgres.has_ended:  # a server that could not write its log has given up
            world.postgres.start()

    postgres, redis, to_postgres, to_redis = world.postgres, world.redis, world.to_postgres, world.to_redis
    begin, end = {
        "PostgreSQL: kill -9, started again": (postgres.kill, postgres.start),
        "PostgreSQL: shut down and started, as in a failover": (postgres.stop, postgres.start),
        "PostgreSQL: silent": (to_postgres.swallow, to_postgres.heal),
        "PostgreSQL: refusing": (to_postgres.refuse, to_postgres.heal),
        "PostgreSQL: slow, 0.1 s each way": (lambda: to_postgres.slow_down(0.1), to_postgres.heal),
        "PostgreSQL: read-only": (
            lambda: set_read_only(postgres, "on"),
            lambda: set_read_only(postgres, "off"),
        ),
        "PostgreSQL: disk full": (fill_postgres, free),
        "Redis: kill -9, started again": (redis.kill, redis.start),
        "Redis: silent": (to_redis.swallow, to_redis.heal),
        "embedded gallery: disk full": (lambda: fill(world.disk), free),
    }[failure]
    row = world.target.suffer(failure, world.break_for(begin, end))
    assert set(row.failed) <= ALLOWED, row.failed
    assert row.slowest_s < DEADLINE_S + GRACE_S
    assert row.recovery_s is not None
    assert row.recovery_s < RECOVERY_LIMIT_S
    assert world.unready == is_noticed
    if failure.startswith("Redis"):
        assert row.failed_total == 0
