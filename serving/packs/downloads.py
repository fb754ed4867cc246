"""Large files from the web: resumed where they stopped, bounded in size and time, checked first."""

from __future__ import annotations

import email.utils
import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import PackDownloadFailed
from serving.packs.cache_files import hash_file, write_atomically
from serving.packs.progress import ShowBytes

if TYPE_CHECKING:
    import httpx

DEADLINE_S = 6 * 3600.0
"""For one file, tries and waits included: 360 MB at 17 kB/s."""

CONNECT_TIMEOUT_S = 20.0
READ_TIMEOUT_S = 60.0
MAX_FAILURES = 4
"""Tries in a row that brought no byte."""

MAX_TRIES = 100
"""Tries in all, for a server that drops every connection after a few bytes."""

MAX_WAIT_S = 30.0
MAX_RETRY_AFTER_S = 600.0
"""A server that asks for a longer pause is told of to the user, who may come back later."""

_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Refused(Exception):
    """Trying again would not help."""


class _Interrupted(Exception):
    """Trying again may help, after wait_s seconds where the server said so."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def download_file(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str | None,
    max_bytes: int,
    show: ShowBytes,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Bring a file to target from the first of the addresses that has it; the caller holds a lock on target.

    What arrived before an interruption lies in `<target>.part` and is gone on from, if the server says that
    the file is still the same (`ETag` or `Last-Modified`). Proxies are taken from the environment.

    Args:
        urls: addresses of the same file, best first.
        sha256: lower case hex; None: any file counts.
        max_bytes: more is not accepted.
        show: told of bytes as they arrive.
        sleep: waits between tries.

    Returns:
        The file's SHA-256 in lower case hex.

    Raises:
        PackDownloadFailed: no address gave the file; the message has each with its reason.
    """
    import httpx  # 0.4 s, which a replica with ready files should not pay

    deadline_s = time.monotonic() + DEADLINE_S
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    problems = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with httpx.Client(
            follow_redirects=True,
            timeout=timeout,
            headers={"Accept-Encoding": "identity", "User-Agent": "rollcall"},
        ) as client:
            for url in urls:
                try:
                    return _Download(client, url, target, sha256, max_bytes, show, sleep, deadline_s).run()
                except _Refused as error:
                    problems.append(f"{hide_password(url)}: {error}")
    except OSError as error:
        problems.append(f"{target} cannot be written: {error}")
    except (ValueError, ImportError) as error:  # a proxy in the environment that httpx cannot use
        problems.append(f"the proxy settings cannot be used: {error}")
    raise PackDownloadFailed("; ".join(problems))


def hide_password(url: str) -> str:
    """An address without the name and password that may stand in it, for messages and records."""
    return re.sub(r"(?<=://)[^/?#]*@", "", url)


class _Download:
    """One file from one address."""

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        target: Path,
        sha256: str | None,
        max_bytes: int,
        show: ShowBytes,
        sleep: Callable[[float], None],
        deadline_s: float,
    ) -> None:
        self._client = client
        self._url = url
        self._target = target
        self._part = target.with_name(target.name + ".part")
        self._notes = target.with_name(target.name + ".part.json")
        self._sha256 = sha256
        self._max_bytes = max_bytes
        self._show = show
        self._sleep = sleep
        self._deadline_s = deadline_s
        self._resumed = False

    def run(self) -> str:
        import httpx

        failures = 0
        for _ in range(MAX_TRIES):
            before = self._size()
            try:
                self._try()
                return self._finish()
            except (httpx.TransportError, _Interrupted) as error:
                failures = 1 if self._size() > before else failures + 1
                reason = str(error) or type(error).__name__
                if failures >= MAX_FAILURES:
                    raise _Refused(f"{reason} ({failures} times in a row)") from None
                if time.monotonic() > self._deadline_s:
                    raise _Refused(f"{reason}; {DEADLINE_S / 3600:.0f} hours are over") from None
                asked_s = error.wait_s if isinstance(error, _Interrupted) else None
                backoff_s = min(MAX_WAIT_S, 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)  # noqa: S311
                self._sleep(backoff_s if asked_s is None else asked_s)
            except (httpx.RequestError, httpx.InvalidURL) as error:
                raise _Refused(str(error) or type(error).__name__) from None
        raise _Refused(f"not finished after {MAX_TRIES} tries")

    def _try(self) -> None:
        notes = self._read_notes()
        have = self._size() if notes else 0
        headers = {"Range": f"bytes={have}-", "If-Range": notes["validator"]} if have else {}
        with self._client.stream("GET", self._url, headers=headers) as answer:
            if have and answer.status_code == 206:
                self._resumed = True
                total = self._read_range(answer, have)
            elif answer.status_code == 200:
                have, self._resumed = 0, False
                total = _read_length(answer)
            else:
                self._forget_if_unsatisfiable(answer)
                raise _explain_status(answer)
            self._check_size(total, have)
            if not have:
                self._write_notes(answer)
            self._receive(answer, have, total)

    def _receive(self, answer: httpx.Response, have: int, total: int | None) -> None:
        with self._part.open("ab" if have else "wb") as stream:
            for block in answer.iter_raw():  # as it arrives: what is held back would be lost in a cut
                have += len(block)
                if have > self._max_bytes:
                    stream.close()
                    self._forget()
                    raise _Refused(f"more than the {self._max_bytes} bytes that the manifest allows")
                stream.write(block)
                self._show(have, total)
                if time.monotonic() > self._deadline_s:
                    raise _Refused(f"not finished after {DEADLINE_S / 3600:.0f} hours")
            stream.flush()
            os.fsync(stream.fileno())
        if total is not None and have < total:
            raise _Interrupted(f"the connection ended after {have} of {total} bytes")

    def _finish(self) -> str:
        found = hash_file(self._part)
        if found is None:
            raise _Refused(f"{self._part} cannot be read")
        if self._sha256 not in (None, found):
            self._forget()
            if self._resumed:
                raise _Interrupted("what was resumed does not fit what was there")
            raise _Refused(f"the file there has the sha256 {found}, and {self._sha256} was expected")
        os.replace(self._part, self._target)
        self._notes.unlink(missing_ok=True)
        return found

    def _check_size(self, total: int | None, have: int) -> None:
        if total is None:
            return
        if total > self._max_bytes:
            self._forget()
            raise _Refused(f"{total} bytes, more than the {self._max_bytes} that the manifest allows")
        free = shutil.disk_usage(self._part.parent).free
        if free < total - have:
            raise _Refused(
                f"{total - have} more bytes are needed in {self._part.parent}, and {free} are free"
            )

    def _read_range(self, answer: httpx.Response, have: int) -> int | None:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("content-range", ""))
        if found is None or int(found[1]) != have:
            self._forget()
            raise _Interrupted("the server answered with another part of the file than was asked for")
        return None if found[2] == "*" else int(found[2])

    def _forget_if_unsatisfiable(self, answer: httpx.Response) -> None:
        if answer.status_code == 416:
            self._forget()
            raise _Interrupted("the server has fewer bytes than were fetched before")

    def _size(self) -> int:
        try:
            return self._part.stat().st_size
        except OSError:
            return 0

    def _read_notes(self) -> dict[str, Any]:
        """Address and validator of what lies in the part; empty when it cannot be gone on from."""
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            usable = notes["url"] == hide_password(self._url) and isinstance(notes["validator"], str)
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return notes if usable else {}

    def _write_notes(self, answer: httpx.Response) -> None:
        # If-Range takes strong validators only (RFC 9110, 13.1.5).
        tag = answer.headers.get("etag", "")
        validator = tag if tag and not tag.startswith("W/") else answer.headers.get("last-modified")
        self._part.unlink(missing_ok=True)
        if validator:
            notes = {"url": hide_password(self._url), "validator": validator}
            write_atomically(self._notes, json.dumps(notes).encode())
        else:
            self._notes.unlink(missing_ok=True)

    def _forget(self) -> None:
        self._part.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)


def _explain_status(answer: httpx.Response) -> Exception:
    words = f"the server answered {answer.status_code} {answer.reason_phrase}".rstrip()
    if answer.status_code not in _RETRIED:
        return _Refused(words)
    wait_s = _read_retry_after(answer.headers.get("retry-after", ""))
    if wait_s is not None and wait_s > MAX_RETRY_AFTER_S:
        return _Refused(f"{words} and asks to come back in {wait_s:.0f} s")
    return _Interrupted(words, wait_s)


def _read_retry_after(text: str) -> float | None:
    """Seconds to wait: a number, or a date (RFC 9110, 10.2.3); None when there is neither."""
    if text.strip().isdigit():
        return float(text)
    try:
        until = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())


def _read_length(answer: httpx.Response) -> int | None:
    text = answer.headers.get("content-length", "")
    return int(text) if text.isdigit() else None
