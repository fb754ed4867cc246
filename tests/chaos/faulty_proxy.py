"""A TCP proxy on loopback that can make the server behind it slow, silent, refusing or cut off."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from tests.chaos.stores import find_port

T = TypeVar("T")

CHUNK_BYTES = 65536
START_TIMEOUT_S = 10.0


class FaultyProxy:
    """Stands before `host:port`; runs in a thread of its own, so synchronous and asyncio tests can use it.

    Passes everything on until told otherwise. What it is told holds for open connections too.

    Attributes:
        port: where it listens on 127.0.0.1, the same from start to end.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._delay_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._flowing: asyncio.Event | None = None
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty-proxy", daemon=True)
        self.port = find_port()

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        self._run(self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_TIMEOUT_S)
        self._loop.close()

    def heal(self) -> None:
        """Pass everything on at once again; what a black hole held back is delivered late."""
        self._run(lambda: self._change(delay_s=0.0, flows=True, listens=True))

    def slow_down(self, delay_s: float) -> None:
        """Hold every piece of data back for so long, in each direction."""
        self._run(lambda: self._change(delay_s=delay_s, flows=True, listens=True))

    def swallow(self) -> None:
        """Accept connections and let nothing through, as a network that drops every packet does."""
        self._run(lambda: self._change(delay_s=0.0, flows=False, listens=True))

    def refuse(self) -> None:
        """Reset all connections and refuse new ones, as a machine without the server does."""
        self._run(lambda: self._change(delay_s=0.0, flows=True, listens=False))

    def cut(self) -> None:
        """Reset the connections that are open; new ones are served as before."""
        self._run(self._cut)

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(START_TIMEOUT_S)

    async def _start(self) -> None:
        self._flowing = asyncio.Event()
        await self._change(delay_s=0.0, flows=True, listens=True)

    async def _stop(self) -> None:
        await self._change(delay_s=0.0, flows=True, listens=False)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    async def _change(self, *, delay_s: float, flows: bool, listens: bool) -> None:
        assert self._flowing is not None
        self._delay_s = delay_s
        if flows:
            self._flowing.set()
        else:
            self._flowing.clear()
        if listens and self._listener is None:
            self._listener = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, reuse_address=True
            )
        if not listens and self._listener is not None:
            self._listener.close()
            self._listener = None
            await self._cut()

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        onward: asyncio.StreamWriter | None = None
        try:
            back, onward = await asyncio.open_connection(*self._target)
            self._writers.add(onward)
            ways = [asyncio.create_task(self._pump(*way)) for way in ((reader, onward), (back, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
        except OSError:
            pass
        finally:
            for each in (writer, onward):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._flowing is not None
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                await self._flowing.wait()
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                writer.write(chunk)
                await writer.drain()
        except (OSError, ConnectionError):
            return
