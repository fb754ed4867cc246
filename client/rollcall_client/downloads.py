"""Answers that come piece by piece."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Any

import anyio
import httpx

from rollcall_client.errors import ConnectionFailed, DeadlinePassed

TOO_SLOW = "the answer did not come to its end in time"


class Download(Iterator[bytes]):
    """An answer's body; iterate over its pieces, or save it."""

    def __init__(
        self,
        response: httpx.Response,
        ends_at: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pieces = response.iter_bytes()
        self._ends_at, self._clock = ends_at, clock

    def __next__(self) -> bytes:
        if self._ends_at is not None and self._clock() > self._ends_at:
            raise DeadlinePassed(TOO_SLOW)
        try:
            return next(self._pieces)
        except httpx.RequestError as error:
            if isinstance(error, httpx.TimeoutException) and self._ends_at is not None:
                raise DeadlinePassed(TOO_SLOW) from error
            raise ConnectionFailed(f"the answer was cut off: {type(error).__name__}") from error

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write it to a new file, for this user alone, and return its size in bytes.

        The file is there only once it is whole.

        Raises:
            OSError: it cannot be written.
            ConnectionFailed: the answer was cut off.
            DeadlinePassed: it did not come within `timeout_s`, where one was given.
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

    def __init__(
        self,
        response: httpx.Response,
        ends_at: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pieces = response.aiter_bytes()
        self._ends_at, self._clock = ends_at, clock

    async def __anext__(self) -> bytes:
        left_s = None if self._ends_at is None else self._ends_at - self._clock()
        if left_s is not None and left_s < 0:
            raise DeadlinePassed(TOO_SLOW)
        try:
            with anyio.fail_after(left_s):
                return await self._pieces.__anext__()
        except (TimeoutError, httpx.TimeoutException) as error:
            if left_s is not None:
                raise DeadlinePassed(TOO_SLOW) from error
            raise ConnectionFailed(f"the answer was cut off: {type(error).__name__}") from error
        except httpx.RequestError as error:
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
