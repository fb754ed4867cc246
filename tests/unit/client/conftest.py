from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from rollcall_client import AsyncClient, Client
from tests.unit.client.client_script import Script

Work = Callable[[Any], Any]


@pytest.fixture(params=["sync", "async"])
def play(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Do some work with a client of a script, blocking or awaiting."""

    def run(script: Script, work: Work, **options: Any) -> Any:
        options = {"token": "t", **options} if "session" not in options else options
        if request.param == "sync":
            transport: Any = httpx.MockTransport(script)
            with Client(
                "http://rollcall",
                transport=transport,
                clock=lambda: script.now_s,
                sleep=script.pause,
                **options,
            ) as client:
                return work(client)

        async def await_it() -> Any:
            async with AsyncClient(
                "http://rollcall",
                transport=httpx.MockTransport(script.handle),
                clock=lambda: script.now_s,
                sleep=script.pause_async,
                **options,
            ) as client:
                made = work(client)
                return await made if isinstance(made, Awaitable) else made

        return asyncio.run(await_it())

    return run
