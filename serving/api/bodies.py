"""Reading pictures out of a request: raw bytes, multipart form, or JSON with base64.

Nothing is buffered beyond the configured bounds, nothing is written to disk, and no URL or path that a
caller names is ever followed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import codecs
import json
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from serving.api.admission import Admission
from serving.api.deadlines import Deadline
from serving.api.json_size import MAX_PICTURE_VALUES, check_value_count
from serving.api.services import Services
from serving.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidRequest,
    PictureTooLarge,
    RollcallError,
    UnsupportedPictureType,
)
from serving.vision.picture import read_header

PICTURE_FIELDS = ("picture", "pictures")
DATA_URI = "data:"
MAX_FIELDS = 32
CHARSETS = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252"})
"""Of form fields, as `codecs` names them. Python has others whose decoding fails oddly or takes long."""


@dataclass(slots=True)
class PictureBody:
    """Pictures of one request, their headers checked, and the text fields sent beside them.

    `faults` holds, by place, what is wrong with single pictures, when `read_pictures` was told to keep them
    apart; such a picture is not to be worked on.
    """

    pictures: list[bytes]
    fields: dict[str, str] = field(default_factory=dict)
    faults: dict[int, RollcallError] = field(default_factory=dict)


async def read_pictures(
    request: Request,
    services: Services,
    admission: Admission,
    deadline: Deadline,
    *,
    apart: bool = False,
    numbers: Collection[str] = (),
    objects: Collection[str] = (),
) -> PictureBody:
    """The pictures in `request`, at least one, each within the limits by its header.

    Args:
        apart: keep the fault of a single picture in `PictureBody.faults` instead of raising it.
        numbers: the JSON fields that may be numbers; they come as their text.
        objects: the JSON fields that may be objects; they come as JSON text, as a form would send them.

    Raises:
        BodyTooLarge, PictureTooLarge, TooManyPixels, PictureTooSmall: beyond a limit.
        NotAnImage, UnsupportedPictureType, TruncatedPicture: not a picture we take.
        InvalidRequest: the form or JSON is not as documented, or holds no or too many pictures.
        Overloaded: the service holds as many bytes as it may.
        DeadlineExceeded: the body did not arrive in time.
    """
    try:
        body = await asyncio.wait_for(
            _parse(request, services, admission, apart, numbers, objects), deadline.remaining_s()
        )
    except asyncio.TimeoutError:
        raise DeadlineExceeded("the request body did not arrive in time") from None
    if not body.pictures:
        raise InvalidRequest(f"the request holds no picture; send it in the field {PICTURE_FIELDS[0]!r}")
    most = services.settings.picture.max_per_request
    if len(body.pictures) > most:
        raise InvalidRequest(f"{len(body.pictures)} pictures in one request", max_pictures=most)
    limits = services.settings.picture.limits
    for place, picture in enumerate(body.pictures):
        if place in body.faults:
            continue
        try:
            read_header(picture, limits)
        except RollcallError as error:
            if apart:
                body.faults[place] = error
                continue
            if len(body.pictures) > 1:
                error.context.setdefault("picture", place)
            raise
    return body


async def read_body(request: Request, admission: Admission, deadline: Deadline, max_bytes: int) -> bytes:
    """The whole body of `request`, for a route that reads it itself.

    Raises:
        BodyTooLarge: more than `max_bytes`.
        Overloaded: the service holds as many bytes as it may.
        DeadlineExceeded: the body did not arrive in time.
    """
    try:
        return await asyncio.wait_for(
            _read_all(request, admission, max_bytes, BodyTooLarge), deadline.remaining_s()
        )
    except asyncio.TimeoutError:
        raise DeadlineExceeded("the request body did not arrive in time") from None


async def _parse(
    request: Request,
    services: Services,
    admission: Admission,
    apart: bool,
    numbers: Collection[str],
    objects: Collection[str],
) -> PictureBody:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _parse_multipart(request, services, admission)
    max_body_bytes = services.settings.load.max_body_bytes
    if kind == "application/json":
        raw = await _read_all(request, admission, max_body_bytes, BodyTooLarge)
        return _parse_json(raw, services, admission, apart, numbers, objects)
    if kind.startswith("image/") or kind in ("application/octet-stream", ""):
        max_bytes = min(services.settings.picture.max_bytes, max_body_bytes)
        return PictureBody([await _read_all(request, admission, max_bytes, PictureTooLarge)])
    detail = f"Content-Type {kind[:80]!r} is not one of image/*, multipart/form-data, application/json"
    if kind == "application/x-www-form-urlencoded":  # what curl says of `-d` and `--data-binary`
        detail += (
            "; for a JSON body add -H 'Content-Type: application/json', for a picture -H 'Content-Type: "
            "image/jpeg', or send a form with -F picture=@file"
        )
    raise UnsupportedPictureType(detail)


async def _stream(
    request: Request, admission: Admission, max_bytes: int, too_large: type[RollcallError]
) -> AsyncIterator[bytes]:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise too_large(f"{announced} bytes announced", max_bytes=max_bytes)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise too_large(max_bytes=max_bytes)
        admission.add_bytes(len(chunk))
        yield chunk


async def _read_all(
    request: Request, admission: Admission, max_bytes: int, too_large: type[RollcallError]
) -> bytes:
    return b"".join([chunk async for chunk in _stream(request, admission, max_bytes, too_large)])


async def _parse_multipart(request: Request, services: Services, admission: Admission) -> PictureBody:
    _check_charset(request.headers["content-type"])
    max_bytes = services.settings.load.max_body_bytes
    parser = MultiPartParser(
        request.headers,
        _stream(request, admission, max_bytes, BodyTooLarge),  # type: ignore[arg-type]
        max_files=services.settings.picture.max_per_request + 1,
        max_fields=MAX_FIELDS,
        max_part_size=64 * 1024,
    )
    parser.spool_max_size = max_bytes + 1  # pictures stay in memory: no photo touches the disk
    try:
        form = await parser.parse()
    except (MultiPartException, MultipartParseError, KeyError, UnicodeError) as error:
        raise InvalidRequest(f"the multipart form cannot be read: {str(error)[:200]}") from None
    body = PictureBody([])
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name not in PICTURE_FIELDS:
                raise InvalidRequest(
                    f"unknown file field {name[:80]!r}; pictures go in {PICTURE_FIELDS[0]!r}"
                )
            body.pictures.append(await value.read())
        elif name in body.fields:
            raise _given_twice(name)
        else:
            body.fields[name] = value
    return body


def _check_charset(content_type: str) -> None:
    charset = parse_options_header(content_type)[1].get(b"charset", b"utf-8").decode("latin-1")
    try:
        known = codecs.lookup(charset).name in CHARSETS
    except (LookupError, ValueError):
        known = False
    if not known:
        raise InvalidRequest(f"the multipart form has the charset {charset[:80]!r}; send UTF-8")


def _given_twice(name: str) -> InvalidRequest:
    return InvalidRequest(f"the field {name[:80]!r} is given twice", field=name[:80])


def _parse_json(
    raw: bytes,
    services: Services,
    admission: Admission,
    apart: bool,
    numbers: Collection[str],
    objects: Collection[str],
) -> PictureBody:
    most = services.settings.picture.max_per_request
    check_value_count(raw, MAX_PICTURE_VALUES + 2 * most)  # a data URI has a comma too
    try:
        content = json.loads(raw, object_pairs_hook=_make_object)
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not valid JSON") from None
    if not isinstance(content, Mapping):
        raise InvalidRequest("the JSON body must be an object")
    pictures: list[bytes] = []
    fields: dict[str, str] = {}
    faults: dict[int, RollcallError] = {}
    for name, value in content.items():
        if name in PICTURE_FIELDS:
            texts = value if isinstance(value, list) else [value]
            if len(pictures) + len(texts) > most:
                raise InvalidRequest(
                    f"{len(pictures) + len(texts)} pictures in one request", max_pictures=most
                )
            for text in texts:
                try:
                    pictures.append(decode_picture_text(text, len(pictures), admission))
                except InvalidRequest as error:
                    if not apart:
                        raise
                    faults[len(pictures)] = error
                    pictures.append(b"")
        elif isinstance(value, str):
            fields[name] = value
        elif name in numbers and isinstance(value, (int, float)) and not isinstance(value, bool):
            fields[name] = repr(value)
        elif name in objects and isinstance(value, dict):
            fields[name] = json.dumps(value)
        elif value is not None:
            kind = "an object" if name in objects else "a string"
            raise InvalidRequest(f"the JSON field {name[:80]!r} must be {kind}")
    return PictureBody(pictures, fields, faults)


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise _given_twice(name)
        made[name] = value
    return made


def decode_picture_text(text: Any, place: int, admission: Admission) -> bytes:
    """Base64 (standard or URL-safe alphabet, padded or not) or a `data:image/...;base64,` URI.

    Raises:
        InvalidRequest: it is neither; `context["picture"]` is `place`.
        Overloaded: the service holds as many bytes as it may.
    """
    if not isinstance(text, str):
        raise InvalidRequest("a picture in JSON is a base64 string", picture=place)
    if text[: len(DATA_URI)].lower() == DATA_URI:
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise InvalidRequest("a data URI must be of the form data:image/jpeg;base64,...", picture=place)
    elif "://" in text[:16]:
        raise InvalidRequest("pictures are sent, not fetched: give base64, not a URL", picture=place)
    try:
        encoded = text.encode("ascii").translate(_URL_SAFE, _BLANKS)
        if not encoded.endswith(b"="):
            encoded += b"=" * (-len(encoded) % 4)
        admission.add_bytes(len(encoded) // 4 * 3)  # beside the body, which is held meanwhile
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("the picture is not valid base64", picture=place) from None


_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n"
