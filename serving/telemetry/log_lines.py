"""One form for every log line: fields first, then JSON or text.

Nothing here writes what a caller sent: of an exception its type and the places in the code stand in the
line, never its arguments; its words only where they are Rollcall's own, or at level `debug`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import serving
from serving.errors import RollcallError
from serving.telemetry import request_notes

Fields = dict[str, Any]

MAX_MESSAGE_CHARS = 2000
MAX_FRAMES = 30
"""Of one exception: the innermost, where it was raised."""
MAX_CAUSES = 4
MIN_SECRET_CHARS = 4
"""Shorter than that a configured secret is no secret, and would blacken half of every line."""

HIDDEN = "[hidden]"
OURS = ("serving.", "rollcall.")
"""How the names of Rollcall's loggers begin."""
_PACKAGE = Path(serving.__file__).parent
_SITE = "site-packages/"
_CREDENTIALS = re.compile(
    r"rck_[\w-]+"  # API keys
    r"|eyJ[\w-]{5,}(?:\.[\w-]*){0,2}"  # tokens
    r"|(?<=://)[^/\s@]+@"  # user and password in a URL
    r"|(?i:(?<=bearer )|(?<=basic ))\S+"
    r"|(?i:(?<=password=)|(?<=password: )|(?<=api_key=)|(?<=api-key: )|(?<=token=)|(?<=secret=))[^\s,;&)]+"
)


class Scrubber:
    """Takes secrets out of texts: whatever looks like a credential, and those that are configured."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        known = sorted({each for each in secrets if len(each) >= MIN_SECRET_CHARS}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def scrub(self, text: str) -> str:
        """`text` without them, and not above `MAX_MESSAGE_CHARS`."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        return _CREDENTIALS.sub(HIDDEN, text)[:MAX_MESSAGE_CHARS]


class LineMaker:
    """Makes lines of what happens in this process.

    Args:
        process: fields that every line of it has.
        as_text: for people; otherwise one JSON object a line.
        scrubber: of everything that libraries say.
        tells_all: also the words of exceptions that are not Rollcall's.
    """

    def __init__(
        self,
        process: Mapping[str, Any],
        *,
        as_text: bool = False,
        scrubber: Scrubber | None = None,
        tells_all: bool = False,
    ) -> None:
        self._process = dict(process)
        self._as_text = as_text
        self._scrubber = scrubber or Scrubber()
        self._tells_all = tells_all
        self._encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode

    def render(self, at_s: float, level: str, logger: str, message: str, fields: Mapping[str, Any]) -> str:
        """One line, with its end.

        Args:
            at_s: seconds since 1970.
            fields: those that are None are left out.
        """
        time = datetime.fromtimestamp(at_s, timezone.utc).isoformat(timespec="milliseconds")
        told = {name: value for name, value in fields.items() if value is not None}
        if self._as_text:
            return self._write_text(time, level, logger, message, told)
        line = {"time": time[:-6] + "Z", "level": level, "logger": logger, "message": message}
        return self._encode({**line, **told, **self._process}) + "\n"

    def render_record(self, record: logging.LogRecord) -> str:
        """A line of what was said through Python's logging."""
        logger = name_logger(record)
        message = self._scrubber.scrub(_message_of(record))
        return self.render(record.created, record.levelname.lower(), logger, message, self._fields_of(record))

    def _fields_of(self, record: logging.LogRecord) -> Fields:
        fields: Fields = {}
        note = request_notes.current()
        if note is not None:
            fields["request_id"], fields["trace_id"] = note.request_id, note.trace_id
        fields |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = self.describe_error(record.exc_info[1])
        return fields

    def describe_error(self, error: BaseException) -> Fields:
        """An exception and what caused it, without any argument's value."""
        described = self._describe_one(error)
        causes: list[Fields] = []
        cause = _cause_of(error)
        while cause is not None and len(causes) < MAX_CAUSES:
            causes.append(self._describe_one(cause))
            cause = _cause_of(cause)
        if causes:
            described["causes"] = causes
        return described

    def _describe_one(self, error: BaseException) -> Fields:
        kind = type(error)
        described: Fields = {"type": kind.__qualname__}
        if kind.__module__ != "builtins":
            described["type"] = f"{kind.__module__}.{kind.__qualname__}"
        if isinstance(error, RollcallError):
            described |= {"code": error.code, "message": self._scrubber.scrub(error.detail)}
        elif self._tells_all:
            described["message"] = self._scrubber.scrub(str(error))
        elif isinstance(error, OSError) and error.strerror:
            described["message"] = error.strerror
        described["stack"] = list(_list_frames(error.__traceback__))[-MAX_FRAMES:]
        return described

    def _write_text(self, time: str, level: str, logger: str, message: str, fields: Fields) -> str:
        who = self._process.get("deployment", "")
        error = fields.pop("error", None)
        told = " ".join(f"{name}={_plain(value)}" for name, value in fields.items())
        line = f"{time[:-6]}Z {level.upper():<7} {who} {logger}: {_plain(message)}"
        if told:
            line += f"  {told}"
        if error is not None:
            line += "".join(_write_error(error))
        return line + "\n"


class RecordFormatter(logging.Formatter):
    """The same lines for a handler that is not ours."""

    def __init__(self, maker: LineMaker) -> None:
        super().__init__()
        self._maker = maker

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end, which the handler adds."""
        return self._maker.render_record(record).rstrip("\n")


def name_logger(record: logging.LogRecord) -> str:
    """Who says it: our own module by its name, also where it speaks through Serve's logger."""
    if record.name == "ray.serve" and is_ours(record):
        path = Path(record.pathname).relative_to(_PACKAGE.parent)
        return ".".join(path.with_suffix("").parts)
    return record.name


def is_ours(record: logging.LogRecord) -> bool:
    """Whether code of Rollcall says it."""
    return record.name.startswith(OURS) or record.pathname.startswith(f"{_PACKAGE}/")


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # a library's mistake must not become ours
        return str(record.msg)


def _cause_of(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def _list_frames(trace: TracebackType | None) -> Iterator[str]:
    """`path:line in function` of each place, outermost first; paths from the package on."""
    while trace is not None:
        code = trace.tb_frame.f_code
        path = code.co_filename
        if _SITE in path:
            path = path.rpartition(_SITE)[2]
        elif path.startswith(f"{_PACKAGE.parent}/"):
            path = path[len(str(_PACKAGE.parent)) + 1 :]
        yield f"{path}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next


def _plain(value: Any) -> str:
    """A value within a line of text: no line breaks, nested ones as `a:1,b:2`."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{_plain(each)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return ",".join(map(_plain, value))
    text = str(value)
    return text if text.isprintable() else json.dumps(text)


def _write_error(error: Fields) -> Iterator[str]:
    for each in (error, *error.get("causes", ())):
        yield f"\n    {each['type']}: {_plain(each.get('message', ''))}"
        yield from (f"\n      {frame}" for frame in each["stack"])
