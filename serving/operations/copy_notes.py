"""Telling the registry that a copy of it was written; what was written is good whether or not that works."""

from __future__ import annotations

import asyncio

from serving.operations.registry_session import open_writing
from serving.registry.last_copies import LastCopy, note_copy
from serving.settings import Settings

NOTE_TIMEOUT_S = 30.0
"""Above what a write to SQLite waits for its turn."""


async def try_to_note(settings: Settings, copy: LastCopy) -> str | None:
    """Note a copy; None when it is done, else why it could not be, such as a role that may only read."""
    try:
        await asyncio.wait_for(_note(settings, copy), NOTE_TIMEOUT_S)
    except asyncio.TimeoutError:
        return f"no answer within {NOTE_TIMEOUT_S:g} s"
    except Exception as error:  # whatever it is, the copy is there and whole
        return str(error) or type(error).__name__
    return None


async def _note(settings: Settings, copy: LastCopy) -> None:
    async with open_writing(settings.registry_url) as session:
        await session.run(note_copy, copy)
        await session.commit()
