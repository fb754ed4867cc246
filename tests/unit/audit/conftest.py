from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from serving.audit.trail import AuditTrail
from serving.database import Database
from serving.settings import AuditSettings
from tests.unit.registry.conftest import database_url

__all__ = ["database_url"]


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open one of each engine."""
    opened = Database(database_url)
    await opened.open()
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def trail(database: Database) -> AsyncIterator[AuditTrail]:
    made = AuditTrail(database, AuditSettings())
    yield made
    await made.stop()
