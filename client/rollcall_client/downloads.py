"""Answers that come piece by piece."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Any

import httpx

from rollcall_client.errors import ConnectionFailed


class Download(Iterator[bytes]):
    """An answer's body; iterate over its pieces, or save it."""

    def __init__(self, response: httpx.Response) -> None:
        self._pieces = response.iter_bytes()

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except httpx.TransportError as error:
            raise ConnectionFailed(f"the answer was cut off: {type(error).__name__}") from error

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write it to a new file, for this user alone, and return its size in bytes.

        The file is there only once it is whole.

        Raises:
            OSError: it cannot be written.
            ConnectionFailed: the answer was cut off.
        """
        partial = _name_partial(path)
        size = 0
        try:
            with _open_private(partial) as file:
                for piece in self:
                    size += file.write(piece)
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return size


class AsyncDownload(AsyncIterator[bytes]):
    """An answer's body; iterate over its pieces, or save it."""

    def __init__(self, response: httpx.Response) -> None:
        self._pieces = response.aiter_bytes()

    async def __anext__(self) -> bytes:
        try:
            return await self._pieces.__anext__()
        except httpx.TransportError as error:
            raise ConnectionFailed(f"the answer was cut off: {type(error).__name__}") from error

    async def save(self, path: str | os.PathLike[str]) -> int:
        """Write it to a new file, as `Download.save` does."""
        partial = _name_partial(path)
        size = 0
        try:
            with _open_private(partial) as file:
                async for piece in self:
                    size += file.write(piece)
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return size


OpenDownload = AbstractContextManager[Download]
OpenAsyncDownload = AbstractAsyncContextManager[AsyncDownload]


def _name_partial(path: str | os.PathLike[str]) -> Path:
    whole = Path(path)
    return whole.with_name(f".{whole.name}.{os.urandom(4).hex()}")


def _open_private(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
