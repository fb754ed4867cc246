"""Writes log lines behind the back of who makes them: a queue, and a thread that empties it.

Taking a line costs its maker about a microsecond. Lines that come within `GATHER_S` are formatted and written
together; an idle process never wakes. What no disk or reader takes is dropped and counted, and holds nobody.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from serving.telemetry import catalogue
from serving.telemetry.counting import counter
from serving.telemetry.log_file import Sink

Line = str | Callable[[], str]
"""A line, or what makes it when it is written."""

GATHER_S = 0.2
"""What a process that is killed can take with it."""
MAX_WAITING = 20_000
"""Lines; ten seconds of two thousand requests a second, some ten megabytes."""
CLOSE_TIMEOUT_S = 2.0
MAX_WRITE_BYTES = 2**20


class LogWriter:
    """One for each process.

    Args:
        sink: where lines go.
        max_waiting: lines held; more are dropped.
    """

    def __init__(self, sink: Sink, *, max_waiting: int = MAX_WAITING) -> None:
        self._sink = sink
        self._max_waiting = max_waiting
        self._waiting: deque[Line | threading.Event] = deque()
        self._woken, self._urgent = threading.Event(), threading.Event()
        self._closing = False
        self._dropped = counter(catalogue.LOG_LINES_DROPPED).of()
        self._dropped.add(0)
        self._thread = threading.Thread(target=self._run, name="rollcall-logs", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def take(self, line: Line, *, at_once: bool = False) -> None:
        """Write it soon; `at_once`: without gathering others first."""
        if len(self._waiting) >= self._max_waiting:
            self._dropped.add()
            return
        self._waiting.append(line)
        if not self._woken.is_set():
            self._woken.set()
        if at_once:
            self._urgent.set()

    def flush(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until what was taken is written; whether that came about."""
        written = threading.Event()
        self._waiting.append(written)
        self._woken.set()
        self._urgent.set()
        return written.wait(timeout_s)

    def close(self) -> None:
        """Write what is there and end; once is enough."""
        if self._closing:
            return
        self._closing = True
        self._urgent.set()
        self._woken.set()
        self._thread.join(CLOSE_TIMEOUT_S)
        atexit.unregister(self.close)

    def _run(self) -> None:
        while True:
            self._woken.wait()
            if not self._closing:
                self._urgent.wait(GATHER_S)
            self._urgent.clear()
            self._woken.clear()  # before emptying: who comes now wakes us again
            self._empty()
            if self._closing and not self._waiting:
                self._sink.close()
                return

    def _empty(self) -> None:
        while self._waiting:
            lines: list[str] = []
            waiters: list[threading.Event] = []
            size = 0
            while self._waiting and size < MAX_WRITE_BYTES:
                try:
                    taken = self._waiting.popleft()
                    if isinstance(taken, threading.Event):
                        waiters.append(taken)
                        continue
                    lines.append(taken if isinstance(taken, str) else taken())
                    size += len(lines[-1])
                except Exception:  # one bad line must not silence the rest
                    self._dropped.add()
            try:
                self._sink.write("".join(lines).encode("utf-8", "backslashreplace"))
            except OSError:
                self._dropped.add(len(lines))
            for waiter in waiters:
                waiter.set()


class WritingHandler(logging.Handler):
    """Python's logging, into a writer.

    Args:
        render: makes a line of a record.
    """

    def __init__(self, writer: LogWriter, render: Callable[[logging.LogRecord], str], **options: Any) -> None:
        super().__init__(**options)
        self.writer = writer
        self._render = render

    def emit(self, record: logging.LogRecord) -> None:
        """Rendered here, because what a record speaks of may change."""
        try:
            self.writer.take(self._render(record), at_once=record.levelno >= logging.ERROR)
        except Exception:
            self.handleError(record)
