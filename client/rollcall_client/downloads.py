"""Answers that come piece by piece."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

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

        The file is there only once it is whole. What is no plain file, as /dev/stdout, is written as it is.

        Raises:
            OSError: it cannot be written.
            ConnectionFailed: the answer was cut off.
            DeadlinePassed: it did not come within `timeout_s`, where one was given.
        """
        size = 0
        with _open_new(path) as file:
            for piece in self:
                size += file.write(piece)
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
        size = 0
        with _open_new(path) as file:
            async for piece in self:
                size += file.write(piece)
        return size


OpenDownload = AbstractContextManager[Download]
OpenAsyncDownload = AbstractAsyncContextManager[AsyncDownload]


@contextmanager
def _open_new(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    given = Path(path)
    if given.exists() and not given.is_file():  # /dev/stdout, a pipe: nothing to put in its place
        with given.open("wb") as there:
            yield there
        return
    target = Path(os.path.realpath(given))
    partial = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
