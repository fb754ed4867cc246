"""Small JSON bodies, read after the caller has been checked, within a size and a time."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from serving.api.json_size import check_value_count
from serving.errors import BodyTooLarge, DeadlineExceeded

MAX_BYTES = 64 * 1024

ModelT = TypeVar("ModelT", bound=BaseModel)


async def read_json(
    request: Request, kind: type[ModelT], timeout_s: float, max_bytes: int = MAX_BYTES
) -> ModelT:
    """The body of `request` as `kind`. FastAPI itself would read it before it asks for a token.

    Raises:
        BodyTooLarge: more than `max_bytes`.
        DeadlineExceeded: it did not arrive within `timeout_s` seconds.
        RequestValidationError: it is not JSON of that form.
    """
    try:
        body = await asyncio.wait_for(_read(request, max_bytes), timeout_s)
    except asyncio.TimeoutError:
        raise DeadlineExceeded("the request body did not arrive in time") from None
    return parse_json(body, kind)


def parse_json(body: bytes, kind: type[ModelT], max_values: int = MAX_BYTES) -> ModelT:
    """`body` as `kind`.

    Raises:
        InvalidRequest: it holds more than about `max_values` values.
        RequestValidationError: it is not JSON of that form.
    """
    check_value_count(body, max_values)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(
            [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors(include_url=False)]
        ) from None


async def _read(request: Request, max_bytes: int) -> bytes:
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > max_bytes:
            raise BodyTooLarge(max_bytes=max_bytes)
    return bytes(received)
