"""How much one caller may ask, and what slows down whoever guesses passwords."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Concatenate, ParamSpec, TypeVar

from fastapi import Request
from limits import RateLimitItem
from limits.errors import StorageError

from serving.accounts.identities import Identity
from serving.api.client_address import find_address, network_of
from serving.api.rate_counters import MemoryCounters, RedisCounters
from serving.api.rate_windows import RateWindows, Window
from serving.api.route_index import FoundRoute, Group
from serving.errors import RateLimited, RollcallError, SignInFailed
from serving.settings import RateLimitSettings, parse_limits

logger = logging.getLogger("ray.serve")

REDIS_TIMEOUT_S = 0.2
"""Of one round trip; a request makes two. Redis on the same network answers in a millisecond."""
REDIS_REST_S = 1.0
"""After a failure Redis is not asked for so long, so that an outage does not hold up every request."""
WARNING_PERIOD_S = 60.0

P = ParamSpec("P")
T = TypeVar("T")
_NO_ANSWER = (StorageError, asyncio.TimeoutError, OSError)
_Taken = tuple[RateWindows, list[RateLimitItem], str]
"""An attempt that was counted: where, under which limits, and for whom."""


class RateLimiter:
    """Counts what callers ask for, in this process or, for all replicas together, in Redis.

    While Redis does not answer, this process counts for itself, from nothing, and a warning is logged once a
    minute: neither is a limit worth an outage, nor may an outage open the door to whoever guesses passwords.
    """

    def __init__(self, settings: RateLimitSettings, trusted_proxies: Sequence[str] = ()) -> None:
        self._trusted_proxies = trusted_proxies
        self._own = RateWindows(MemoryCounters())
        self._shared: RateWindows | None = None
        if settings.redis_url is not None:
            self._shared = RateWindows(_connect(settings.redis_url.get_secret_value()))
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
        if self._shared is not None:
            await self._shared.close()

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
        taken: list[_Taken] = []
        for items, key in self._sign_in_keys(request, name):
            windows, wait_s = await self._ask(RateWindows.begin_attempt, items, key)
            if wait_s > 0:
                await self._take_back(taken)
                raise RateLimited("Too many sign-ins failed.", retry_after_s=math.ceil(wait_s))
            taken.append((windows, items, key))
        try:
            yield
        except Exception as error:
            if isinstance(error, failures) and error.status < 500:
                for windows, items, key in taken:
                    await self._tell(windows, RateWindows.block_if_spent, items, key)
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
        _, windows = await self._ask(RateWindows.take, items, f"{name}:{key}")
        request.state.rate_limit_headers = _write_headers(name, windows)
        waits_s = [window.reset_s for window in windows if window.is_spent]
        if waits_s:
            raise RateLimited(
                f"The limit is {' and '.join(str(window.item) for window in windows)}.",
                group=name,
                retry_after_s=max(1, math.ceil(max(waits_s))),
            )

    async def _take_back(self, taken: Sequence[_Taken]) -> None:
        for windows, items, key in taken:
            await self._tell(windows, RateWindows.release, items, key)

    async def _ask(
        self, work: Callable[Concatenate[RateWindows, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[RateWindows, T]:
        """What `work` says of the shared counts, or of this replica's own, and which of them it was."""
        if self._shared is not None and time.monotonic() >= self._rests_until:
            try:
                return self._shared, await _hurry(work(self._shared, *args, **kwargs))
            except _NO_ANSWER as error:
                self._rest(error)
        return self._own, await work(self._own, *args, **kwargs)

    async def _tell(
        self,
        windows: RateWindows,
        work: Callable[Concatenate[RateWindows, P], Awaitable[None]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Do `work` on the counts that counted before; nowhere while they do not answer."""
        if windows is self._own:
            await work(windows, *args, **kwargs)
        elif time.monotonic() >= self._rests_until:
            try:
                await _hurry(work(windows, *args, **kwargs))
            except _NO_ANSWER as error:
                self._rest(error)

    def _rest(self, error: BaseException) -> None:
        now = time.monotonic()
        self._rests_until = now + REDIS_REST_S
        if now - self._warned_at >= WARNING_PERIOD_S:
            self._warned_at = now
            logger.warning(
                "rate limits: Redis does not answer (%s); each replica counts for itself",
                type(error).__name__,
            )


async def _hurry(work: Awaitable[T]) -> T:
    return await asyncio.wait_for(work, REDIS_TIMEOUT_S)


def _connect(url: str) -> RedisCounters:
    return RedisCounters(
        f"async+{url}",
        wrap_exceptions=True,
        implementation="redispy",
        key_prefix="rollcall",
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
    )


def _write_headers(name: str, windows: Sequence[Window]) -> list[tuple[bytes, bytes]]:
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
