"""What requests carry: JSON, pictures as a form, and uploads that are never in memory as a whole."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, cast

import httpx

CHUNK_BYTES = 256 * 1024
"""Of an upload, at a time in memory."""


class Unset:
    """The type of `UNSET`."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()
"""Left out of a change: what is there stays. None is something else: it takes away what is there."""

Picture: TypeAlias = bytes | str | os.PathLike[str] | BinaryIO
"""A JPEG, PNG or WebP file: its bytes, its path, or the open file. URLs are never fetched."""

Upload: TypeAlias = bytes | str | os.PathLike[str] | BinaryIO | Iterable[bytes]
"""A file to upload: its path or the open file, read piece by piece; or its bytes, or an iterable of them.

An open file is read from where it stands. One that cannot be sought, and an iterable that is an iterator, can
be sent once only: such requests are not repeated.
"""

UPLOAD_TYPES = {
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".tgz": "application/gzip",
    ".gz": "application/gzip",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
}
"""Kinds of uploads by how their paths end."""


@dataclass(slots=True)
class JsonBody:
    """JSON; pictures in it travel as base64."""

    value: Mapping[str, Any] = field(repr=False)
    content_type: str = "application/json"
    holds_pictures: bool = False
    can_repeat: bool = True

    def load(self) -> dict[str, Any]:
        """Keyword arguments of `httpx.Request`; reads files, so it may block."""
        value = _to_json(_encode_pictures(self.value) if self.holds_pictures else self.value)
        return {"content": json.dumps(value).encode(), "headers": {"Content-Type": self.content_type}}


@dataclass(slots=True)
class FormBody:
    """Pictures, each in a field `picture`, with options beside them."""

    pictures: Sequence[Picture] = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    can_repeat: bool = True

    def load(self) -> dict[str, Any]:
        """Keyword arguments of `httpx.Request`; reads files, so it may block."""
        files = [("picture", (_name_of(each), read_picture(each))) for each in self.pictures]
        return {"files": files, "data": {name: _to_text(value) for name, value in self.options.items()}}


@dataclass(slots=True)
class UploadBody:
    """A file, read while it is sent."""

    source: Upload = field(repr=False)
    content_type: str | None = None
    _start: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if isinstance(self.source, (str, os.PathLike)) and self.content_type is None:
            self.content_type = UPLOAD_TYPES.get(Path(self.source).suffix.lower())
        if self.content_type is None:
            raise ValueError(
                f"say what the upload is: content_type, one of {sorted(set(UPLOAD_TYPES.values()))}"
            )
        if hasattr(self.source, "read") and _can_seek(cast(BinaryIO, self.source)):
            self._start = cast(BinaryIO, self.source).tell()

    @property
    def can_repeat(self) -> bool:
        """Whether it can be sent a second time."""
        return self._start is not None or not (
            hasattr(self.source, "read") or isinstance(self.source, Iterator)
        )

    def load(self) -> dict[str, Any]:
        """Keyword arguments of `httpx.Request`; looks at the file, so it may block."""
        headers = {"Content-Type": str(self.content_type)}
        size = self._find_size()
        if size is None:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(size)
        return {"stream": _Pieces(self._read), "headers": headers}

    def _find_size(self) -> int | None:
        if isinstance(self.source, (bytes, bytearray)):
            return len(self.source)
        if isinstance(self.source, (str, os.PathLike)):
            return os.stat(self.source).st_size
        if self._start is None:
            return None
        file = cast(BinaryIO, self.source)
        end = file.seek(0, os.SEEK_END)
        file.seek(self._start)
        return end - self._start

    def _read(self) -> Iterator[bytes]:
        source = self.source
        if isinstance(source, (bytes, bytearray)):
            yield bytes(source)
        elif isinstance(source, (str, os.PathLike)):
            with open(source, "rb") as opened:
                yield from _read_file(opened)
        elif hasattr(source, "read"):
            file = cast(BinaryIO, source)
            if self._start is not None:
                file.seek(self._start)
            yield from _read_file(file)
        else:
            yield from source


Body: TypeAlias = JsonBody | FormBody | UploadBody


def make_picture_body(
    pictures: Picture | Sequence[Picture] | None,
    options: Mapping[str, Any],
    json_only: Mapping[str, Any] | None = None,
) -> Body:
    """A form; JSON where something is given that a form cannot hold.

    Args:
        options: those that are None are left out.
        json_only: likewise.
    """
    chosen = {name: value for name, value in options.items() if value is not None}
    rest = {name: value for name, value in (json_only or {}).items() if value is not None}
    listed = list_pictures(pictures)
    if rest:
        return JsonBody({**({"pictures": listed} if listed else {}), **rest, **chosen}, holds_pictures=True)
    return FormBody(listed, chosen)


def list_pictures(pictures: Picture | Sequence[Picture] | None) -> list[Picture]:
    """One picture or several as a list."""
    if pictures is None:
        return []
    if isinstance(pictures, (bytes, bytearray, str, os.PathLike)) or hasattr(pictures, "read"):
        return [cast(Picture, pictures)]
    return list(pictures)


def read_picture(picture: Picture) -> bytes:
    """The file's bytes.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """
    if isinstance(picture, (bytes, bytearray)):
        return bytes(picture)
    if isinstance(picture, (str, os.PathLike)):
        return Path(picture).read_bytes()
    return picture.read()


def _name_of(picture: Picture) -> str:
    name = picture if isinstance(picture, (str, os.PathLike)) else getattr(picture, "name", None)
    return Path(name).name if isinstance(name, (str, os.PathLike)) else "picture"


def _encode_pictures(body: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with base64 for what stands under `pictures`, or under `picture` in `query` and `references`."""

    def encode(picture: Any) -> str:
        return base64.b64encode(read_picture(picture)).decode()

    def encode_sample(sample: Mapping[str, Any]) -> dict[str, Any]:
        picture = sample.get("picture")
        return {**sample, **({} if picture is None else {"picture": encode(picture)})}

    found = dict(body)
    if "pictures" in found:
        found["pictures"] = [encode(each) for each in found["pictures"]]
    if "query" in found:
        found["query"] = encode_sample(found["query"])
    if "references" in found:
        found["references"] = [encode_sample(each) for each in found["references"]]
    return found


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _to_json(each) for name, each in value.items() if not isinstance(each, Unset)}
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return [_to_json(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value


def _to_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(_to_json(value))


def write_query(query: Mapping[str, Any]) -> dict[str, str]:
    """Query parameters as text; those that are None are left out."""
    return {name: _to_text(value) for name, value in query.items() if value is not None}


def _can_seek(file: BinaryIO) -> bool:
    try:
        return file.seekable()
    except (AttributeError, ValueError):
        return False


def _read_file(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(CHUNK_BYTES):
        yield piece


class _Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The same pieces for both kinds of client; an async one reads them in a thread."""

    def __init__(self, read: Any) -> None:
        self._read = read

    def __iter__(self) -> Iterator[bytes]:
        yield from self._read()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self._read()
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece
