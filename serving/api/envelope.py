"""The one form of every error: an RFC 9457 problem document with our stable `code` and a cure."""

from __future__ import annotations

import logging
import math
import re
import uuid
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from serving.errors import (
    ALL_ERRORS,
    ApiKeyInvalid,
    BodyTooLarge,
    DeadlineExceeded,
    Forbidden,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    RateLimited,
    RollcallError,
    StageUnavailable,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    TokenRevoked,
)
from serving.front.shedding import REQUEST_ID_FORM

logger = logging.getLogger("ray.serve")

MEDIA_TYPE = "application/problem+json"
REQUEST_ID_HEADER = "x-request-id"
MAX_PROBLEMS = 20
"""Shown of what is wrong with one request: more help nobody, and a body of 60 KB can have thousands."""
MAX_FIELD_CHARS = 200
"""Of a field's name, which the caller may have made up."""
_REQUEST_ID = re.compile(REQUEST_ID_FORM)


class Problem(BaseModel):
    """What every error answer holds."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="Stable URI of the kind of error.", examples=["urn:rollcall:error:no_face"])
    title: str = Field(examples=["No face was found in the picture"])
    status: int = Field(examples=[422])
    detail: str = Field(description="What happened this time.")
    code: str = Field(description="Stable; branch on this.", examples=["no_face"])
    cure: str = Field(description="What to do about it.")
    context: dict[str, Any] = Field(description="Limits and positions that the detail speaks of.")
    request_id: str = Field(description="Name it when asking the operator.")


def find_request_id(request: HTTPConnection) -> str:
    """The caller's or the proxy's id for this request; a new one when there is none of that form."""
    known = getattr(request.state, "request_id", None)
    if known is None:
        known = request.headers.get(REQUEST_ID_HEADER, "")
        if not _REQUEST_ID.fullmatch(known):
            known = str(uuid.uuid4())
        request.state.request_id = known
    return str(known)


def describe(error: RollcallError, request_id: str) -> dict[str, Any]:
    """The problem document of `error`."""
    return {
        "type": f"urn:rollcall:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "cure": error.cure,
        "context": error.context,
        "request_id": request_id,
    }


def answer_error(request: HTTPConnection, error: RollcallError) -> JSONResponse:
    """`error` as an HTTP answer; its code is `request.state.error_code` from then on."""
    request.state.error_code = error.code
    headers = {}
    retry_after_s = error.context.get("retry_after_s", error.retry_after_s)
    if retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(retry_after_s))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        describe(error, find_request_id(request)), error.status, headers=headers, media_type=MEDIA_TYPE
    )


def install_error_answers(app: FastAPI) -> None:
    """Make `app` answer every failure, ours and FastAPI's, with a `Problem`; `AnswerHeaders` sees to bugs."""

    @app.exception_handler(RollcallError)
    async def answer_ours(request: Request, error: RollcallError) -> JSONResponse:
        if type(error) not in ALL_ERRORS or isinstance(error, (InternalError, StageUnavailable)):
            # What a store or stage said of itself is for the log alone.
            logger.error("request %r: %s: %s", find_request_id(request), error.code, error.detail)
            error = type(error)() if type(error) in ALL_ERRORS else InternalError()
        return answer_error(request, error)

    @app.exception_handler(RequestValidationError)
    async def answer_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()
        problems = [
            {"field": ".".join(str(part) for part in p["loc"])[:MAX_FIELD_CHARS], "problem": p["msg"]}
            for p in found[:MAX_PROBLEMS]
        ]
        detail = "; ".join(f"{p['field']}: {p['problem']}" for p in problems)[:1000]
        if len(found) > MAX_PROBLEMS:
            detail += f"; and {len(found) - MAX_PROBLEMS} more"
        return answer_error(request, InvalidRequest(detail, errors=problems))

    @app.exception_handler(HTTPException)
    async def answer_starlette(request: Request, error: HTTPException) -> JSONResponse:
        kinds: dict[int, type[RollcallError]] = {404: NotFound, 405: MethodNotAllowed, 413: BodyTooLarge}
        kind = kinds.get(error.status_code, InvalidRequest)
        answer = answer_error(request, kind())
        if error.headers and "allow" in {name.lower() for name in error.headers}:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer


GUARDED = (
    TokenMissing,
    TokenInvalid,
    TokenExpired,
    TokenRevoked,
    ApiKeyInvalid,
    Forbidden,
    RateLimited,
    InvalidRequest,
    InternalError,
    Overloaded,
    StageUnavailable,
    DeadlineExceeded,
)
"""What every route that needs a token may answer."""


def problems(
    *kinds: type[RollcallError], common: tuple[type[RollcallError], ...] = GUARDED
) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that can answer with `kinds` and `common`, by status, with examples."""
    grouped: dict[int, list[type[RollcallError]]] = {}
    for kind in dict.fromkeys((*common, *kinds)):
        grouped.setdefault(kind.status, []).append(kind)
    return {status: _document(members) for status, members in sorted(grouped.items())}


def _document(kinds: Iterable[type[RollcallError]]) -> dict[str, Any]:
    members = list(kinds)
    examples = {kind.code: {"summary": kind.title, "value": describe(kind(), "7f9c2ba4")} for kind in members}
    return {
        "description": ", ".join(kind.code for kind in members),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }
