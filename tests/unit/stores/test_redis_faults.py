"""Rate limits on a real Redis that dies, comes back, falls silent, or speaks TLS."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from serving.api import rate_limits
from serving.api.rate_limits import RateLimiter
from serving.settings import RateLimitSettings
from tests.chaos.faulty_proxy import FaultyProxy
from tests.chaos.stores import RedisServer
from tests.unit.api.test_api_rate_limits import count_admitted, guess

LIMIT = 20
GUESSES = 6


World = tuple[RedisServer, FaultyProxy, list[RateLimiter]]


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    """A Redis, what lies before it, and two replicas."""
    with RedisServer() as redis, FaultyProxy("127.0.0.1", redis.port) as proxy:
        limits = RateLimitSettings(
            redis_url=SecretStr(f"redis://127.0.0.1:{proxy.port}"),
            management=f"{LIMIT}/day",
            sign_in_per_account=f"{GUESSES}/day",
        )
        replicas = [RateLimiter(limits), RateLimiter(limits)]
        yield redis, proxy, replicas
        for each in replicas:
            await each.close()


async def count_all(replicas: list[RateLimiter]) -> tuple[list[int], list[int]]:
    """Of each replica: how many requests of somebody new it admits, and how many guesses at a password."""
    name = uuid.uuid4().hex
    admitted = [await count_admitted(each, 2 * LIMIT, name) for each in replicas]
    guessed = [0 for _ in replicas]
    for place, each in enumerate(replicas):
        for _ in range(2 * GUESSES):
            guessed[place] += await guess(each, name)
    return admitted, guessed


SHARED = ([LIMIT, 0], [GUESSES, 0])
ALONE = ([LIMIT, LIMIT], [GUESSES, GUESSES])


async def wait_until(replicas: list[RateLimiter], counts: tuple[list[int], list[int]]) -> None:
    give_up_at = time.monotonic() + 30
    while (found := await count_all(replicas)) != counts:
        assert time.monotonic() < give_up_at, found
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("fault", ["killed", "silent", "refusing"])
async def test_without_redis_each_replica_counts_until_it_is_back(world: World, fault: str) -> None:
    redis, proxy, replicas = world
    await wait_until(replicas, SHARED)
    {"killed": redis.kill, "silent": proxy.swallow, "refusing": proxy.refuse}[fault]()
    began_s = time.monotonic()
    assert await count_all(replicas) == ALONE
    assert time.monotonic() - began_s < 10  # a wait of 0.2 s for each replica, not one for each request
    if fault == "killed":
        redis.start()
    proxy.heal()
    await wait_until(replicas, SHARED)


async def test_an_outage_amid_guesses_gives_each_replica_one_allowance_and_no_more(world: World) -> None:
    redis, _, replicas = world
    await wait_until(replicas, SHARED)
    looked = 0
    for turn in range(6 * GUESSES):
        if turn == GUESSES // 2:
            redis.kill()
        looked += await guess(replicas[turn % 2], "ada")
    assert GUESSES <= looked <= GUESSES // 2 + 2 * GUESSES


async def test_rediss_speaks_tls_with_an_authority_of_its_own(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "REDIS_TIMEOUT_S", 20.0)
    with RedisServer(tls=secrets / "ours") as redis:
        for authority, expected in (("ours", [LIMIT, 0]), ("theirs", [LIMIT, LIMIT])):
            url = SecretStr(f"{redis.url}?ssl_ca_certs={secrets / authority / 'ca.pem'}")
            limits = RateLimitSettings(redis_url=url, management=f"{LIMIT}/day")
            replicas = [RateLimiter(limits), RateLimiter(limits)]
            assert [await count_admitted(each, 2 * LIMIT) for each in replicas] == expected, authority
            for each in replicas:
                await each.close()
