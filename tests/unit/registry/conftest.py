from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from serving.database import Database, sqlite_url
from serving.registry import Registry

POSTGRES_URL = os.environ.get("ROLLCALL_TEST_POSTGRES_URL")
NEEDS_POSTGRES = pytest.mark.skipif(not POSTGRES_URL, reason="ROLLCALL_TEST_POSTGRES_URL is not set")


@pytest_asyncio.fixture(params=["sqlite", pytest.param("postgresql", marks=NEEDS_POSTGRES)])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of an empty database on each engine."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "private" / "rollcall.db")
        return
    assert POSTGRES_URL is not None
    name = f"rollcall_test_{uuid.uuid4().hex}"
    server = await asyncpg.connect(POSTGRES_URL)
    await server.execute(f"CREATE DATABASE {name}")
    yield f"{POSTGRES_URL.rpartition('/')[0]}/{name}"
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


@pytest_asyncio.fixture
async def registry(database_url: str) -> AsyncIterator[Registry]:
    opened = Registry(Database(database_url))
    await opened.open()
    yield opened
    await opened.close()
