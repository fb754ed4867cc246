"""The sweep, as it is long after every request has ended."""

from __future__ import annotations

from datetime import datetime, timedelta
from unittest.mock import patch

from serving.database.metadata import now_utc
from serving.graph.lines import Lines
from serving.graph.sweep import Sweep
from serving.registry.registry import Registry


async def sweep_later(registry: Registry, lines: Lines) -> None:
    """One sweep, an hour from now."""

    def later() -> datetime:
        return now_utc() + timedelta(hours=1)

    with (
        patch("serving.registry.registry.now_utc", later),
        patch("serving.registry.erasures.now_utc", later),
    ):
        await Sweep(registry, lines).sweep_once()
