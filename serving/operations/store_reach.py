"""Whether the stores answer and take the secrets of these settings: a look before anything starts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Literal

from serving.errors import RollcallError
from serving.settings import Settings

Store = Literal["registry", "gallery", "redis"]
NEEDED: tuple[Store, ...] = ("registry", "gallery")
"""What no replica starts without."""
USED: tuple[Store, ...] = (*NEEDED, "redis")
DEADLINE_S = 10.0


async def find_unready(settings: Settings, stores: Collection[Store] = USED) -> list[str]:
    """A line for each server that does not answer, refuses or is of a newer release; files are let be."""
    looks: dict[Store, Callable[[Settings], Awaitable[None]]] = {
        "registry": _ask_registry,
        "gallery": _ask_gallery,
        "redis": _ask_redis,
    }
    found = await asyncio.gather(*(_describe(store, looks[store](settings)) for store in stores))
    return [line for line in found if line]


async def _describe(store: Store, answer: Awaitable[None]) -> str:
    try:
        await asyncio.wait_for(answer, DEADLINE_S)
    except asyncio.TimeoutError:
        return f"{store}: no answer within {DEADLINE_S:g} s"
    except RollcallError as error:
        return f"{store}: {error.detail}"
    return ""


async def _ask_registry(settings: Settings) -> None:
    if settings.registry_url.startswith("sqlite"):
        return
    from serving.database.migration import current_revision  # only where a server is: they take half a second
    from serving.database.migrations import HEAD
    from serving.operations.registry_session import open_snapshot

    async with open_snapshot(settings.registry_url, check_tables=False) as session:
        revision = await session.run(current_revision)
    if revision is not None and revision > HEAD:
        raise RollcallError(f"tables of revision {revision}, newer than this release's {HEAD}")


async def _ask_gallery(settings: Settings) -> None:
    if settings.gallery.engine != "server":
        return
    from serving.gallery.engines import make_address
    from serving.gallery.retries import Transient
    from serving.gallery.server_faults import translate_fault

    client = make_address(settings.gallery).connect(DEADLINE_S)
    try:
        await client.get_collections()
    except Exception as error:
        fault = translate_fault(error)
        raise fault.final if isinstance(fault, Transient) else fault from None
    finally:
        await client.close()


async def _ask_redis(settings: Settings) -> None:
    url = settings.rate_limits.redis_url
    if url is None:
        return
    import redis.asyncio  # only where it is used

    client = redis.asyncio.Redis.from_url(
        url.get_secret_value(), socket_timeout=DEADLINE_S, socket_connect_timeout=DEADLINE_S
    )
    try:
        await client.ping()
    except redis.RedisError as error:
        raise RollcallError(f"does not answer: {type(error).__name__}") from None
    finally:
        await client.aclose()
