from __future__ import annotations

import math

import httpx

from serving.errors import ALL_ERRORS

KEYS = {"type", "title", "status", "detail", "code", "cure", "context", "request_id"}
BY_CODE = {kind.code: kind for kind in ALL_ERRORS}


def check_problem(answer: httpx.Response, code: str) -> dict:
    """The whole envelope of an error answer, checked against the class it stands for."""
    body = answer.json()
    assert body.get("code") == code, (answer.status_code, answer.text)
    kind = BY_CODE[code]
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(body) == KEYS
    assert body["type"] == f"urn:rollcall:error:{code}"
    assert (body["status"], answer.status_code) == (kind.status, kind.status)
    assert (body["title"], body["cure"]) == (kind.title, kind.cure)
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert isinstance(body["context"], dict)
    retry_after_s = body["context"].get("retry_after_s", kind.retry_after_s)
    retry_after = None if retry_after_s is None else str(math.ceil(retry_after_s))
    assert answer.headers.get("retry-after") == retry_after
    assert ("www-authenticate" in answer.headers) == (kind.status == 401)
    assert answer.headers["x-request-id"] == body["request_id"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "Traceback" not in answer.text
    return body
