"""How much one caller may ask, and what slows down whoever guesses passwords."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from fastapi import Request
from limits import RateLimitItem
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from serving.accounts.identities import Identity
from serving.api.client_address import find_address, network_of
from serving.api.rate_counters import MemoryCounters, RedisCounters
from serving.api.route_index import FoundRoute, Group
from serving.errors import RateLimited, RollcallError, SignInFailed
from serving.settings import RateLimitSettings, parse_limits

logger = logging.getLogger("ray.serve")

REDIS_TIMEOUT_S = 0.2
"""Of one round trip; a request makes two. Redis on the same network answers in a millisecond."""
REDIS_REST_S = 1.0
"""After a failure Redis is not asked for so long, so that an outage does not hold up every request."""
WARNING_PERIOD_S = 60.0
FIRST_BLOCK_S = 15
LONGEST_BLOCK_S = 900
"""Long enough to make guessing hopeless, short enough that nobody is locked out of their account for long."""
STRIKES_REMEMBERED_S = 86_400

P = ParamSpec("P")
T = TypeVar("T")


class RateLimiter:
    """Counts what callers ask for, in this process or, for all replicas together, in Redis.

    When Redis does not answer, everything is let through, and a warning is logged once a minute: a limit is
    not worth an outage.
    """

    def __init__(self, settings: RateLimitSettings, trusted_proxies: Sequence[str] = ()) -> None:
        self._trusted_proxies = trusted_proxies
        self._counters: MemoryCounters | RedisCounters = MemoryCounters()
        if settings.redis_url is not None:
            self._counters = _connect(settings.redis_url.get_secret_value())
        self._strategy = SlidingWindowCounterRateLimiter(self._counters)
        self._groups: dict[Group, list[RateLimitItem]] = {
            "recognition": parse_limits(settings.recognition),
            "enrolment": parse_limits(settings.enrolment),
            "management": parse_limits(settings.management),
        }
        self._failures_per_account = parse_limits(settings.sign_in_per_account)
        self._failures_per_address = parse_limits(settings.sign_in_per_address)
        self._sign_ups = parse_limits(settings.sign_up_per_address)
        self._rests_until = 0.0
        self._warned_at = -math.inf

    async def close(self) -> None:
        """Let go of Redis."""
        if isinstance(self._counters, RedisCounters):
            await self._counters.close()

    async def admit(self, request: Request, identity: Identity) -> None:
        """Count one request of this caller under the group of its route.

        What is left stands in the `RateLimit` header of the answer.

        Raises:
            RateLimited: nothing is left.
        """
        route: FoundRoute | None = getattr(request.state, "route", None)
        group: Group = "management" if route is None else route.facts.group
        await self._count(request, group, self._groups[group], f"{identity.kind}:{identity.id}")

    async def admit_sign_up(self, request: Request) -> None:
        """Count one sign-up from the client's address.

        Raises:
            RateLimited: there were too many.
        """
        address = find_address(request.scope, self._trusted_proxies)
        if address is not None:
            await self._count(request, "sign-up", self._sign_ups, network_of(address))

    @asynccontextmanager
    async def attempt_sign_in(
        self, request: Request, name: str, failures: type[RollcallError] = SignInFailed
    ) -> AsyncIterator[None]:
        """Around the look at the credentials of account `name`, whether or not there is such an account.

        An attempt counts as failed from its beginning and is taken back when it succeeds or cannot be made,
        so that many guesses at once are looked at no more often than one after the other. Whoever goes away
        before the answer has failed.

        Args:
            failures: what is raised inside when the attempt has failed; an error of the service's own, of
                status 500 or above, never counts.

        Raises:
            RateLimited: too many sign-ins failed, for this account or from this address; the wait doubles
                each time it happens again within a day.
        """
        taken: list[tuple[list[RateLimitItem], str]] = []
        for items, key in self._sign_in_keys(request, name):
            wait_s = await self._ask(None, self._begin_attempt, items, key)
            if wait_s is None:
                continue
            if wait_s > 0:
                await self._take_back(taken)
                raise RateLimited("Too many sign-ins failed.", retry_after_s=math.ceil(wait_s))
            taken.append((items, key))
        try:
            yield
        except Exception as error:
            if isinstance(error, failures) and error.status < 500:
                for items, key in taken:
                    await self._ask(None, self._block_if_spent, items, key)
            else:
                await self._take_back(taken)
            raise
        await self._take_back(taken)

    def _sign_in_keys(self, request: Request, name: str) -> list[tuple[list[RateLimitItem], str]]:
        # Hashed: what is typed as a name is sometimes the password.
        digest = hashlib.sha256(name.strip().casefold().encode("utf-8", "replace")).hexdigest()[:32]
        keys = [(self._failures_per_account, f"sign-in:account:{digest}")]
        address = find_address(request.scope, self._trusted_proxies)
        if address is not None:
            keys.append((self._failures_per_address, f"sign-in:address:{network_of(address)}"))
        return keys

    async def _count(self, request: Request, name: str, items: Sequence[RateLimitItem], key: str) -> None:
        if not items:
            return
        windows = await self._ask(None, self._take, items, f"{name}:{key}")
        if windows is None:
            return
        request.state.rate_limit_headers = _write_headers(name, windows)
        waits_s = [window.reset_s for window in windows if window.is_spent]
        if waits_s:
            raise RateLimited(
                f"The limit is {' and '.join(str(window.item) for window in windows)}.",
                group=name,
                retry_after_s=max(1, math.ceil(max(waits_s))),
            )

    async def _take(self, items: Sequence[RateLimitItem], key: str) -> list[_Window]:
        """Count one request under each of the items, or under none when one of them is spent."""
        spent = set()
        if len(items) > 1:
            spent = {item for item in items if not await self._strategy.test(item, key)}
        if not spent:
            spent = {item for item in items if not await self._strategy.hit(item, key)}
        windows = []
        for item in items:
            reset_at, remaining = await self._strategy.get_window_stats(item, key)
            windows.append(_Window(item, item in spent, remaining, max(0.0, reset_at - time.time())))
        return windows

    async def _blocked_s(self, key: str) -> float:
        """Seconds for which sign-ins are refused."""
        if not await self._counters.get(f"{key}:block"):
            return 0.0
        return max(0.0, await self._counters.get_expiry(f"{key}:block") - time.time())

    async def _begin_attempt(self, items: Sequence[RateLimitItem], key: str) -> float | None:
        """Count an attempt under each of the items; else, under none, the seconds to wait."""
        wait_s = await self._blocked_s(key)
        if wait_s > 0:
            return wait_s
        for n, item in enumerate(items):
            if not await self._strategy.hit(item, key):
                await self._release(items[:n], key)
                reset_at, _ = await self._strategy.get_window_stats(item, key)
                return max(1.0, reset_at - time.time())
        return 0.0

    async def _take_back(self, taken: Sequence[tuple[Sequence[RateLimitItem], str]]) -> None:
        for items, key in taken:
            await self._ask(None, self._release, items, key)

    async def _release(self, items: Sequence[RateLimitItem], key: str) -> None:
        for item in items:
            await self._counters.release_sliding_window_entry(item.key_for(key), item.get_expiry())

    async def _block_if_spent(self, items: Sequence[RateLimitItem], key: str) -> None:
        """When the last failure allowed has been counted, refuse sign-ins for a while."""
        for item in items:
            if (await self._strategy.get_window_stats(item, key)).remaining:
                continue
            strikes = await self._counters.get(f"{key}:strikes")
            block_s = min(LONGEST_BLOCK_S, FIRST_BLOCK_S * 2 ** min(strikes, 16))
            # Of attempts that fail together only the first is a strike and begins the block.
            if await self._counters.incr(f"{key}:block", block_s) == 1:
                await self._counters.incr(f"{key}:strikes", STRIKES_REMEMBERED_S)
            return

    async def _ask(
        self, otherwise: T, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What `work` says; `otherwise` when Redis does not answer."""
        if isinstance(self._counters, MemoryCounters):
            return await work(*args, **kwargs)
        if time.monotonic() < self._rests_until:
            return otherwise
        try:
            return await asyncio.wait_for(work(*args, **kwargs), REDIS_TIMEOUT_S)
        except (StorageError, asyncio.TimeoutError, OSError) as error:
            now = time.monotonic()
            self._rests_until = now + REDIS_REST_S
            if now - self._warned_at >= WARNING_PERIOD_S:
                self._warned_at = now
                logger.warning(
                    "rate limits: Redis does not answer (%s); nothing is limited", type(error).__name__
                )
            return otherwise


@dataclass(frozen=True, slots=True)
class _Window:
    """What is left of one limit."""

    item: RateLimitItem
    is_spent: bool
    remaining: int
    reset_s: float


def _connect(url: str) -> RedisCounters:
    return RedisCounters(
        f"async+{url}",
        wrap_exceptions=True,
        implementation="redispy",
        key_prefix="rollcall",
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
    )


def _write_headers(name: str, windows: Sequence[_Window]) -> list[tuple[bytes, bytes]]:
    """`RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-10."""
    policies, states = [], []
    for window in windows:
        label = name if len(windows) == 1 else f"{name}-{window.item.get_expiry()}s"
        policies.append(f'"{label}";q={window.item.amount};w={window.item.get_expiry()}')
        states.append(f'"{label}";r={window.remaining};t={math.ceil(window.reset_s)}')
    return [
        (b"ratelimit-policy", ", ".join(policies).encode()),
        (b"ratelimit", ", ".join(states).encode()),
    ]
