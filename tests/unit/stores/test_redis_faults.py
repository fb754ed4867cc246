"""Rate limits on a real Redis that dies, comes back, falls silent, or speaks TLS."""

from __future__ import annotations

import asyncio
import time
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
from tests.unit.api.test_api_rate_limits import count_admitted

LIMIT = 20


@pytest_asyncio.fixture
async def world() -> AsyncIterator[tuple[RedisServer, FaultyProxy, RateLimiter]]:
    with RedisServer() as redis, FaultyProxy("127.0.0.1", redis.port) as proxy:
        url = SecretStr(f"redis://127.0.0.1:{proxy.port}")
        limiter = RateLimiter(RateLimitSettings(redis_url=url, management=f"{LIMIT}/hour"))
        yield redis, proxy, limiter
        await limiter.close()


async def wait_for_limits(limiter: RateLimiter) -> float:
    """Seconds until requests are refused again."""
    began_s = time.monotonic()
    while await count_admitted(limiter, 2 * LIMIT) == 2 * LIMIT:
        assert time.monotonic() - began_s < 15
        await asyncio.sleep(0.1)
    return time.monotonic() - began_s


@pytest.mark.parametrize("fault", ["killed", "silent", "refusing"])
async def test_without_redis_requests_pass_and_limits_come_back_with_it(
    world: tuple[RedisServer, FaultyProxy, RateLimiter], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis, proxy, limiter = world
    assert await wait_for_limits(limiter) >= 0
    monkeypatch.setattr(rate_limits, "WARNING_PERIOD_S", 0.0)
    {"killed": redis.kill, "silent": proxy.swallow, "refusing": proxy.refuse}[fault]()
    began_s = time.monotonic()
    assert await count_admitted(limiter, 2 * LIMIT) == 2 * LIMIT
    assert time.monotonic() - began_s < 10  # one wait of 0.2 s, not one for each
    if fault == "killed":
        redis.start()
    proxy.heal()
    await wait_for_limits(limiter)


async def test_rediss_speaks_tls_with_an_authority_of_its_own(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "REDIS_TIMEOUT_S", 20.0)
    with RedisServer(tls=secrets / "ours") as redis:
        for authority, expected in (("ours", LIMIT), ("theirs", 2 * LIMIT)):
            url = SecretStr(f"{redis.url}?ssl_ca_certs={secrets / authority / 'ca.pem'}")
            limiter = RateLimiter(RateLimitSettings(redis_url=url, management=f"{LIMIT}/hour"))
            admitted = await count_admitted(limiter, 2 * LIMIT)
            assert expected - 1 <= admitted <= expected, authority  # an hour may turn in between
            await limiter.close()
