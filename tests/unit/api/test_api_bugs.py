"""What a caller hears of a bug: that there was one, and nothing of it."""

from __future__ import annotations

import asyncio
import sys
import uuid
from typing import Any

import httpx
import pytest

from tests.unit.api.api_fakes import fail_next, picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA = picture("ada")
PEOPLE, RECOGNISE = "/v1/events/gala/people", "/v1/events/gala/recognise"


async def answer_to_a_bug(api: Api) -> httpx.Response:
    fail_next(api.stages, "detect", KeyError("secret words of a bug"))
    return await api.client.post(RECOGNISE, content=ADA)


async def test_a_bug_is_answered_without_its_words(gala: Api) -> None:
    answer = await answer_to_a_bug(gala)
    body = answer.json()
    assert (answer.status_code, body["code"]) == (500, "internal_error")
    assert answer.headers["content-type"] == "application/problem+json"
    assert uuid.UUID(body["request_id"])
    for word in ("secret", "KeyError", "Traceback", "api_fakes"):
        assert word not in answer.text
    assert (gala.services.gate.requests, gala.services.gate.bytes) == (0, 0)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot tell whose cancellation it is")
@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", PEOPLE, {}),
        ("PATCH", "/v1/events/gala", {"json": {"name": "Gala"}}),
        ("POST", RECOGNISE, {"content": ADA}),
    ],
)
async def test_an_unasked_cancellation_is_a_bug(
    gala: Api, monkeypatch: pytest.MonkeyPatch, method: str, path: str, options: dict[str, Any]
) -> None:
    async def cancel_itself(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(gala.services.accounts.access, "identify_bearer", cancel_itself)
    check_problem(await gala.client.request(method, path, **options), "internal_error")


async def test_the_answer_to_a_bug_carries_the_same_headers_as_any_other(gala: Api) -> None:
    check_problem(await answer_to_a_bug(gala), "internal_error")
