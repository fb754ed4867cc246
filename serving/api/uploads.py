"""Uploads that become jobs: streamed into the jobs directory, never held in memory."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from dataclasses import dataclass
from typing import BinaryIO

from fastapi import Request

from serving.api.services import Services
from serving.errors import BadArchive, BodyTooLarge, DeadlineExceeded, StageUnavailable
from serving.jobs.records import JobKind

logger = logging.getLogger("ray.serve")

MAX_UPLOAD_S = 3600.0
"""For the whole of an upload; beside it each chunk must come within `load.request_timeout_s`."""
CHUNK_BYTES = 2**20
_HEAD_BYTES = 512

ZIP_TYPES = ("application/zip", "application/x-zip-compressed")
TAR_TYPES = ("application/x-tar", "application/gzip", "application/x-gzip", "application/x-gtar")
LINES_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that has been received and is on disk; `job_id` is the one it is named after."""

    job_id: str
    kind: JobKind
    file: str
    size: int


async def receive_upload(request: Request, services: Services) -> Upload:
    """Receive the body into a file; whatever fails, no file is left.

    Raises:
        BadArchive: the Content-Type is none of those taken, or the body is obviously not of it.
        BodyTooLarge: more than `jobs.max_upload_bytes`.
        DeadlineExceeded: it did not arrive in time.
        Overloaded: as many uploads are under way as may be.
        StageUnavailable: it cannot be written.
    """
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type not in (*ZIP_TYPES, *TAR_TYPES, *LINES_TYPES):
        raise BadArchive(
            f"Content-Type {content_type[:80]!r} is not taken",
            accepted=[ZIP_TYPES[0], TAR_TYPES[0], TAR_TYPES[1], LINES_TYPES[0]],
        )
    most = services.settings.jobs.max_upload_bytes
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise BodyTooLarge(f"{announced} bytes announced", max_bytes=most)
    job_id = uuid.uuid4().hex
    files = services.jobs.files
    with services.jobs.hold_upload():
        name = f"{job_id}.upload"
        try:
            name, file = await asyncio.to_thread(files.create, job_id, "upload")
            with file:
                size = await _receive(request, file, content_type, most, services)
                await asyncio.to_thread(_bring_to_disk, file)
        except OSError as error:
            await asyncio.shield(asyncio.to_thread(files.remove, name))
            logger.error("an upload cannot be written: %s", error)
            raise StageUnavailable("An upload cannot be written.") from None
        except BaseException:
            await asyncio.shield(asyncio.to_thread(files.remove, name))
            raise
    kind = JobKind.import_vectors if content_type in LINES_TYPES else JobKind.import_pictures
    return Upload(job_id, kind, name, size)


async def _receive(request: Request, file: BinaryIO, content_type: str, most: int, services: Services) -> int:
    chunk_timeout_s = services.settings.load.request_timeout_s
    ends_at = time.monotonic() + MAX_UPLOAD_S
    received, is_checked = 0, False
    waiting = bytearray()
    chunks = request.stream().__aiter__()
    while True:
        timeout_s = min(chunk_timeout_s, ends_at - time.monotonic())
        try:
            chunk = await asyncio.wait_for(chunks.__anext__(), max(timeout_s, 0))
        except StopAsyncIteration:
            break
        except asyncio.TimeoutError:
            raise DeadlineExceeded("the request body did not arrive in time") from None
        received += len(chunk)
        if received > most:
            raise BodyTooLarge(max_bytes=most)
        waiting += chunk
        if not is_checked and len(waiting) >= _HEAD_BYTES:
            _check_head(bytes(waiting[:_HEAD_BYTES]), content_type)
            is_checked = True
        if len(waiting) >= CHUNK_BYTES:
            await asyncio.to_thread(file.write, bytes(waiting))
            waiting.clear()
    if not is_checked:
        _check_head(bytes(waiting), content_type)
    await asyncio.to_thread(file.write, bytes(waiting))
    return received


def _check_head(head: bytes, content_type: str) -> None:
    """Refuse at once what would only fail as a job."""
    if not head.strip():
        raise BadArchive("the body is empty")
    is_zip = head.startswith(b"PK")
    if content_type in ZIP_TYPES and not is_zip:
        raise BadArchive("the body is no ZIP file")
    if content_type in TAR_TYPES and not (head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar"):
        raise BadArchive("the body is no TAR file, plain or gzipped")
    if content_type in LINES_TYPES and not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        raise BadArchive("the body does not begin with a JSON object")


def _bring_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
