"""This process's place in the log: joins once, and then every line of it goes where all others do."""

from __future__ import annotations

import logging
import logging.handlers
import os
import random
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.settings import LoggingSettings
from serving.telemetry.log_file import SharedFile, Sink, StandardError
from serving.telemetry.log_lines import LineMaker, RecordFormatter, Scrubber, is_ours
from serving.telemetry.log_writer import LogWriter, WritingHandler

FILE_NAMES = {"json": "rollcall.jsonl", "text": "rollcall.log"}

OURS = ("serving", "rollcall")
REQUESTS = "rollcall.requests"
SERVE = "ray.serve"
"""Serve's logger, through which Rollcall speaks in replicas too. It passes nothing on to the root logger."""
FRAMEWORKS = ("ray", "uvicorn", "uvicorn.error")
"""Loggers that pass nothing on to the root logger, or may not."""
TALKATIVE = ("httpx", "httpcore", "alembic", "sqlalchemy", "qdrant_client", "opentelemetry", "asyncio")
"""Libraries whose everyday talk nobody needs."""


@dataclass(frozen=True, slots=True)
class Process:
    """Who writes: `deployment` as the serve config calls it, and its replica's id, where there is one."""

    deployment: str
    replica: str | None = None

    def fields(self) -> dict[str, Any]:
        """What each of its lines holds."""
        replica = {} if self.replica is None else {"replica": self.replica}
        return {"deployment": self.deployment, **replica, "node": os.uname().nodename, "pid": os.getpid()}


@dataclass(frozen=True, slots=True)
class RequestLog:
    """Writes a line for each request that the settings want one for."""

    settings: LoggingSettings
    maker: LineMaker
    writer: LogWriter

    def decide_level(self, status: int, seconds: float) -> str | None:
        """Of the line of a request; None: it gets none."""
        settings = self.settings
        failed = status >= 400
        if failed or seconds >= settings.slow_request_s:
            level = "error" if status == 500 or status == 502 else "warning"
            if failed and status < 500 and status != 429:
                level = "info"
        else:
            if settings.requests == "errors":
                return None
            level = "info"
            share = settings.sample_successes
            if share < 1 and random.random() >= share:  # noqa: S311
                return None
        return level if _RANK[level] >= _RANK[settings.level] else None

    def write(self, level: str, at_s: float, message: str, fields: dict[str, Any]) -> None:
        """A line; it is made when it is written."""
        render = self.maker.render
        self.writer.take(lambda: render(at_s, level, REQUESTS, message, fields), at_once=level == "error")


_RANK = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _Place:
    """What this process has joined; nothing until `join_log`."""

    writer: LogWriter | None = None
    requests: RequestLog | None = None
    undo: list[Callable[[], None]] = []  # noqa: RUF012  # one place for each process


def join_log(
    settings: LoggingSettings, process: Process, *, directory: Path, secrets: Collection[str] = ()
) -> None:
    """Write what this process says to the log, from now on; a second call does nothing.

    Args:
        directory: where the node's file lies, unless the settings name another.
        secrets: texts that must never stand in a line.
    """
    if _Place.writer is not None or not settings.enabled:
        return
    writer = LogWriter(_open_sink(settings, directory))
    maker = LineMaker(
        process.fields(),
        as_text=settings.format == "text",
        scrubber=Scrubber(secrets),
        tells_all=settings.level == "debug",
    )
    _Place.writer = writer
    if settings.requests != "none":
        _Place.requests = RequestLog(settings, maker, writer)
    handler = WritingHandler(writer, maker.render_record)
    handler.addFilter(_LeastLevel(logging.getLevelName(settings.level.upper())))
    _connect(handler, settings)
    _give_form(RecordFormatter(maker))
    sys.excepthook = _log_uncaught


def request_log() -> RequestLog | None:
    """What writes the lines of requests, None where there are none."""
    return _Place.requests


def leave_log() -> None:
    """Write what is there and forget everything; for the end of a command, and for tests."""
    for step in reversed(_Place.undo):
        step()
    _Place.undo = []
    if _Place.writer is not None:
        _Place.writer.close()
    _Place.writer = _Place.requests = None
    sys.excepthook = sys.__excepthook__


def flush_log() -> None:
    """Wait until what was said so far is written."""
    if _Place.writer is not None:
        _Place.writer.flush()


def _open_sink(settings: LoggingSettings, directory: Path) -> Sink:
    if settings.output == "stderr":
        return StandardError()
    path = (settings.directory or directory) / FILE_NAMES[settings.format]
    return SharedFile(path, max_bytes=settings.max_file_bytes, keep=settings.keep_files)


class _LeastLevel(logging.Filter):
    """Ours from the level of the settings on; of all others warnings and errors."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= (self._level if is_ours(record) else max(self._level, logging.WARNING))


class _Listener(logging.Filter):
    """Hears what a logger says that passes nothing on.

    A filter, because Serve throws its logger's handlers away whenever `logging_config` changes.
    """

    def __init__(self, logger: logging.Logger, handler: logging.Handler) -> None:
        super().__init__()
        self._logger, self._handler = logger, handler

    def filter(self, record: logging.LogRecord) -> bool:
        if not self._logger.propagate:
            self._handler.handle(record)
        return True


def _connect(handler: logging.Handler, settings: LoggingSettings) -> None:
    """Hear what is said in this process: by the root logger, and by those that do not pass on to it."""
    root, serve = logging.getLogger(), logging.getLogger(SERVE)
    listener = _Listener(serve, handler)
    serve.addFilter(listener)
    _Place.undo.append(lambda: serve.removeFilter(listener))
    for logger in (root, *map(logging.getLogger, FRAMEWORKS)):
        if logger is root or not logger.propagate:
            logger.addHandler(handler)
            _Place.undo.append(lambda logger=logger: logger.removeHandler(handler))  # type: ignore[misc]
    for name in OURS:
        _set_level(logging.getLogger(name), settings.level.upper())
    if settings.level == "debug" and not serve.isEnabledFor(logging.DEBUG):
        _set_level(serve, "DEBUG")
    for name in TALKATIVE:
        if logging.getLogger(name).level == logging.NOTSET:
            _set_level(logging.getLogger(name), "WARNING")


def _set_level(logger: logging.Logger, level: str) -> None:
    before = logger.level
    logger.setLevel(level)
    _Place.undo.append(lambda: logger.setLevel(before))


def _give_form(formatter: logging.Formatter) -> None:
    """Serve's own file of this replica tells the same in the same form, and hides the same."""
    for handler in logging.getLogger(SERVE).handlers:
        target = handler.target if isinstance(handler, logging.handlers.MemoryHandler) else None
        if target is not None:
            before = target.formatter
            target.setFormatter(formatter)
            _Place.undo.append(lambda target=target, before=before: target.setFormatter(before))  # type: ignore[misc]


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    del trace
    if isinstance(error, Exception):
        logging.getLogger(OURS[0]).critical("ended by %s", kind.__name__, exc_info=error)
        flush_log()
    sys.__excepthook__(kind, error, error.__traceback__)
