"""Rate limits, in one process and through a real Redis; sign-ins slow down; an outage limits nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request
from pydantic import SecretStr
from redis import Redis

from serving.api import rate_limits
from serving.api.rate_counters import MAX_COUNTS, MIN_SWEPT, MemoryCounters
from serving.api.rate_limits import RateLimiter
from serving.api.rate_windows import FIRST_BLOCK_S, LONGEST_BLOCK_S, RateWindows
from serving.api.route_index import FoundRoute, RouteFacts
from serving.errors import ConfigurationError, Overloaded, RateLimited, SignInFailed, WeakPassword
from serving.settings import RateLimitSettings, load_settings
from tests.unit.api.api_fakes import picture
from tests.unit.api.api_problems import check_problem

ADA = picture("ada")


PROXIES = ("127.0.0.0/8",)


def make_request(group: str = "management", forwarded: str | None = None) -> Request:
    headers = [(b"x-rollcall-peer", b"127.0.0.1")]
    if forwarded is not None:
        headers.append((b"x-forwarded-for", forwarded.encode()))
    request = Request({"type": "http", "headers": headers, "state": {}})
    request.state.route = FoundRoute(RouteFacts("a.b", "GET", "/", group))  # type: ignore[arg-type]
    return request


def who(name: str = "ada") -> Any:
    return SimpleNamespace(kind="account", id=name)


async def count_admitted(limiter: RateLimiter, tries: int, name: str = "ada", **request: Any) -> int:
    admitted = 0
    for _ in range(tries):
        try:
            await limiter.admit(make_request(**request), who(name))
            admitted += 1
        except RateLimited:
            pass
    return admitted


async def try_sign_in(
    limiter: RateLimiter, name: str = "ada", *, fails: Exception | None = None, **request: Any
) -> bool:
    """Whether the attempt, right unless it `fails`, came so far that its password was looked at."""
    looked = False
    with contextlib.suppress(RateLimited, SignInFailed, Overloaded, WeakPassword):
        async with limiter.attempt_sign_in(make_request(**request), name):
            looked = True
            await asyncio.sleep(0)
            if fails is not None:
                raise fails
    return looked


async def guess(limiter: RateLimiter, name: str = "ada", **request: Any) -> bool:
    return await try_sign_in(limiter, name, fails=SignInFailed(), **request)


async def wait_of(limiter: RateLimiter, name: str = "ada") -> int:
    """Seconds until the refused attempt may be made."""
    with pytest.raises(RateLimited) as blocked:
        async with limiter.attempt_sign_in(make_request(), name):
            pass
    return int(blocked.value.context["retry_after_s"])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the wall clock forward."""
    now = [1_800_000_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


@pytest.fixture(scope="module")
def redis_port() -> Iterator[int]:
    """A redis-server of our own."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs the program redis-server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    client = Redis(port=port)
    try:
        for _ in range(200):
            try:
                client.ping()
                break
            except Exception:
                time.sleep(0.05)
        yield port
    finally:
        client.close()
        server.terminate()
        server.wait(10)


@pytest.mark.parametrize(
    "key", ["recognition", "enrolment", "management", "sign_in_per_account", "sign_up_per_address"]
)
@pytest.mark.parametrize("text", ["10", "ten/minute", "10/fortnight", "0/minute", "10/minute;x"])
def test_a_bad_limit_stops_the_start_and_is_named(key: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"rate_limits.{key}")):
        load_settings({"rate_limits": {key: text}})


def test_a_bad_redis_url_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"rate_limits\.redis_url"):
        load_settings({"rate_limits": {"redis_url": "http://127.0.0.1"}})


async def test_what_is_left_stands_in_the_headers_until_nothing_is(make_api: Callable[..., Any]) -> None:
    api = await make_api(rate_limits={"management": "3/hour", "recognition": "100/minute;1000/hour"})
    await api.create_event()
    for left in (1, 0):
        answer = await api.client.get("/v1/events")
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"management";q=3;w=3600'
        assert re.fullmatch(rf'"management";r={left};t=\d+', answer.headers["ratelimit"])
    answer = await api.client.get("/v1/events")
    problem = check_problem(answer, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 3600
    assert problem["context"]["retry_after_s"] == int(answer.headers["retry-after"])
    assert answer.headers["ratelimit"].startswith('"management";r=0;t=')
    # Each group for itself, and of several limits each.
    answer = await api.client.post("/v1/events/gala/recognise", content=ADA)
    assert answer.status_code == 200
    policy = '"recognition-60s";q=100;w=60, "recognition-3600s";q=1000;w=3600'
    assert answer.headers["ratelimit-policy"] == policy
    assert '"recognition-3600s";r=999;t=' in answer.headers["ratelimit"]
    # Who is not known is not counted.
    check_problem(await api.anonymous().get("/v1/events"), "token_missing")


async def test_no_limit_no_headers(make_api: Callable[..., Any]) -> None:
    api = await make_api(rate_limits={"management": ""})
    assert "ratelimit" not in (await api.client.get("/v1/events")).headers


async def test_callers_and_groups_do_not_share(clock: Callable[[float], None]) -> None:
    limiter = RateLimiter(RateLimitSettings(management="5/minute", enrolment="2/minute"))
    assert await count_admitted(limiter, 9) == 5
    assert await count_admitted(limiter, 9, "bob") == 5
    assert await count_admitted(limiter, 9, group="enrolment") == 2
    assert await count_admitted(limiter, 9, group="recognition") == 9
    clock(121)
    assert await count_admitted(limiter, 9) == 5


async def test_a_refusal_takes_nothing_from_the_longer_window(clock: Callable[[float], None]) -> None:
    limiter = RateLimiter(RateLimitSettings(management="2/second;5/hour"))
    admitted = 0
    for _ in range(4):
        admitted += await count_admitted(limiter, 10)
        clock(2)
    assert admitted == 5


async def test_no_window_lets_through_more_than_its_limit(clock: Callable[[float], None]) -> None:
    limiter = RateLimiter(RateLimitSettings(management="10/minute"))
    taken: list[float] = []
    for _ in range(300):
        taken += [time.time()] * await count_admitted(limiter, 1)
        clock(0.9)
    assert all(sum(start <= each < start + 60 for each in taken) <= 11 for start in taken)
    assert len(taken) >= 30


async def test_memory_forgets_callers_who_stay_away(clock: Callable[[float], None]) -> None:
    counters = MemoryCounters()
    for n in range(10_000):
        assert await counters.acquire_sliding_window_entry(f"caller{n}", 5, 60)
        clock(0.1)
    assert len(counters) <= 2 * max(MIN_SWEPT, 1300)


async def test_memory_is_bounded_and_made_up_names_do_not_push_out_who_is_guessed_at(
    clock: Callable[[float], None],
) -> None:
    limiter, counters = RateLimiter(RateLimitSettings(sign_in_per_account="5/hour")), MemoryCounters()
    limiter._own = RateWindows(counters)
    for _ in range(5):
        assert await guess(limiter, "victim")
    for n in range(2 * MAX_COUNTS):
        await counters.acquire_sliding_window_entry(f"made up {n}", 5, 60)
    assert len(counters) <= MAX_COUNTS
    clock(FIRST_BLOCK_S + 1)
    assert not await guess(limiter, "victim")


async def test_replicas_share_what_redis_counts(redis_port: int) -> None:
    settings = RateLimitSettings(redis_url=f"redis://127.0.0.1:{redis_port}", management="20/hour")  # type: ignore[arg-type]
    one, two = RateLimiter(settings), RateLimiter(settings)
    try:
        admitted = await asyncio.gather(*(count_admitted(each, 15) for each in (one, two)))
        assert 19 <= sum(admitted) <= 20  # an hour may turn in between
        request = make_request()
        with pytest.raises(RateLimited):
            await one.admit(request, who())
        assert request.state.rate_limit_headers[0] == (b"ratelimit-policy", b'"management";q=20;w=3600')
        for limiter in (one, two) * 5:
            assert await guess(limiter, "bob")
        for limiter in (one, two):
            assert 1 <= await wait_of(limiter, "Bob ") <= FIRST_BLOCK_S
    finally:
        await one.close()
        await two.close()


@pytest.mark.parametrize("silent", [False, True])
async def test_without_redis_each_replica_counts_and_one_warning_is_logged(
    silent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if not silent:
        listener.close()  # refuses, where the other one never answers
    limiter = RateLimiter(
        RateLimitSettings(
            redis_url=f"redis://:secret@127.0.0.1:{port}",  # type: ignore[arg-type]
            management="7/day",
            sign_in_per_account="3/day",
        )
    )
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, "ray.serve"):
        logging.getLogger("ray.serve").addHandler(caplog.handler)
        assert await count_admitted(limiter, 50) == 7
        assert [await guess(limiter) for _ in range(5)] == [True] * 3 + [False] * 2
        assert 1 <= await wait_of(limiter) <= FIRST_BLOCK_S
        assert await try_sign_in(limiter, "bob")
        logging.getLogger("ray.serve").removeHandler(caplog.handler)
    assert time.monotonic() - started < 5
    warnings = {record.getMessage() for record in caplog.records if "Redis" in record.getMessage()}
    assert len(warnings) == 1
    assert "secret" not in str(warnings)
    await limiter.close()
    listener.close()


async def test_failed_sign_ins_slow_down_more_each_time(clock: Callable[[float], None]) -> None:
    limiter = RateLimiter(RateLimitSettings(sign_in_per_account="3/minute"))
    waits = []
    for _ in range(9):
        for _ in range(3):
            assert await guess(limiter)
        waits.append(await wait_of(limiter, " ADA"))
        assert await try_sign_in(limiter, "bob")
        clock(max(121, waits[-1] + 1))
    assert waits == [min(LONGEST_BLOCK_S, FIRST_BLOCK_S * 2**n) for n in range(9)]


async def test_failed_sign_ins_slow_down_the_address_too(clock: Callable[[float], None]) -> None:
    limiter = RateLimiter(
        RateLimitSettings(sign_in_per_address="4/minute", sign_in_per_account="2/minute"), PROXIES
    )
    for n in range(4):
        assert await guess(limiter, f"name{n}", forwarded=f"2001:db8::{n}")
    for _ in range(3):  # which is not counted for the account
        assert not await try_sign_in(limiter, "another", forwarded="9.9.9.9, 2001:db8::ff")
    for _ in range(2):
        assert await guess(limiter, "another", forwarded="2001:db8:0:1::ff")
    assert not await try_sign_in(limiter, "another")


@pytest.fixture(params=["memory", "redis"])
def replicas(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[RateLimiter]:
    """Limiters that count together, ten failures an hour for an account of a name of its own."""
    settings = RateLimitSettings(sign_in_per_account="10/hour;30/day")
    if request.param == "memory":
        request.getfixturevalue("clock")  # so that no hour turns
        return [RateLimiter(settings)]
    monkeypatch.setattr(rate_limits, "REDIS_TIMEOUT_S", 20.0)
    url = f"redis://127.0.0.1:{request.getfixturevalue('redis_port')}"
    return [RateLimiter(settings.model_copy(update={"redis_url": SecretStr(url)})) for _ in range(2)]


async def test_guesses_all_at_once_are_no_more_than_one_after_another(replicas: list[RateLimiter]) -> None:
    name = uuid.uuid4().hex
    tries = [guess(each, name) for each in replicas for _ in range(60 // len(replicas))]
    assert sum(await asyncio.gather(*tries)) == 10
    for each in replicas:
        assert 1 <= await wait_of(each, name) <= FIRST_BLOCK_S  # failing together they are one strike
        await each.close()


async def test_who_succeeds_is_not_slowed_down(replicas: list[RateLimiter]) -> None:
    name = uuid.uuid4().hex
    for _ in range(9):
        assert await guess(replicas[0], name)
    for each in replicas * 20:
        assert await try_sign_in(each, name)
        assert await try_sign_in(each, name, fails=Overloaded())  # which is not the caller's fault
        assert await try_sign_in(each, name, fails=WeakPassword())
    assert await guess(replicas[0], name)
    assert not await try_sign_in(replicas[-1], name)
    for each in replicas:
        await each.close()


async def test_an_attempt_is_taken_back_from_the_window_before(clock: Callable[[float], None]) -> None:
    limiter = RateLimiter(RateLimitSettings(sign_in_per_account="2/minute"))
    async with limiter.attempt_sign_in(make_request(), "ada"):
        clock(60)
    assert await guess(limiter)
    assert await guess(limiter)
    assert not await guess(limiter)


async def test_who_goes_away_before_the_answer_has_failed(clock: Callable[[float], None]) -> None:
    limiter = RateLimiter(RateLimitSettings(sign_in_per_account="2/minute"))
    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            async with limiter.attempt_sign_in(make_request(), "ada"):
                raise asyncio.CancelledError
    assert 1 <= await wait_of(limiter) <= 60


async def test_sign_ups_are_limited_where_the_address_is_known(clock: Callable[[float], None]) -> None:
    limiter = RateLimiter(RateLimitSettings(sign_up_per_address="2/hour"), PROXIES)
    for _ in range(2):
        await limiter.admit_sign_up(make_request(forwarded="192.0.2.1"))
    with pytest.raises(RateLimited):
        await limiter.admit_sign_up(make_request(forwarded="192.0.2.1"))
    await limiter.admit_sign_up(make_request(forwarded="192.0.2.2"))
    for _ in range(9):
        await limiter.admit_sign_up(make_request())
