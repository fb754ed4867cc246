"""What the generated groups of methods are built on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol, TypeVar

from rollcall_client.downloads import OpenAsyncDownload, OpenDownload
from rollcall_client.errors import UnexpectedAnswer
from rollcall_client.request import Request

T = TypeVar("T")


class Performer(Protocol):
    """Sends requests and waits for the answers."""

    def perform(self, request: Request[T], timeout_s: float | None = None) -> T: ...

    def open_download(self, request: Request[bytes], timeout_s: float | None = None) -> OpenDownload: ...


class AsyncPerformer(Protocol):
    """Sends requests and awaits the answers."""

    async def perform(self, request: Request[T], timeout_s: float | None = None) -> T: ...

    def open_download(self, request: Request[bytes], timeout_s: float | None = None) -> OpenAsyncDownload: ...


class Routes:
    """A group of methods."""

    def __init__(self, performer: Performer) -> None:
        self._performer = performer

    def _pages(
        self,
        ask: Callable[[str | None], Request[T]],
        read_cursor: Callable[[T], str | None],
        timeout_s: float | None,
        cursor: str | None = None,
    ) -> Iterator[T]:
        while True:
            page = self._performer.perform(ask(cursor), timeout_s)
            yield page
            cursor = _go_on(cursor, read_cursor(page))
            if cursor is None:
                return


def _go_on(cursor: str | None, following: str | None) -> str | None:
    if following is not None and following == cursor:
        raise UnexpectedAnswer("a page says that it is followed by itself", 200)
    return following


class AsyncRoutes:
    """A group of methods, to be awaited."""

    def __init__(self, performer: AsyncPerformer) -> None:
        self._performer = performer

    async def _pages(
        self,
        ask: Callable[[str | None], Request[T]],
        read_cursor: Callable[[T], str | None],
        timeout_s: float | None,
        cursor: str | None = None,
    ) -> AsyncIterator[T]:
        while True:
            page = await self._performer.perform(ask(cursor), timeout_s)
            yield page
            cursor = _go_on(cursor, read_cursor(page))
            if cursor is None:
                return
