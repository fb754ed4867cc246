"""What an overloaded ingress spends on a recognition that it refuses: next to nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from serving.accounts.access_check import AccessCheck
from tests.unit.api.api_fakes import picture
from tests.unit.api.api_problems import check_problem

ADA = picture("ada")
RECOGNITIONS = (
    "/v1/events/gala/recognise",
    "/v1/events/gala/recognise/batch",
    "/v1/events/gala/identify",
    "/v1/events/gala/people/ada/verify",
    "/v1/events/gala/search",
    "/v1/detect",
    "/v1/embed",
    "/v1/compare",
)


@pytest.mark.parametrize("path", RECOGNITIONS)
async def test_without_a_place_a_recognition_is_refused_before_anything_is_looked_up(
    make_api: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    api = await make_api(load={"max_pending_requests": 2})
    await api.create_event()
    await api.enrol("ada", ADA)
    callers: list[str] = []
    identify = AccessCheck.identify_bearer

    async def note_and_identify(self: AccessCheck, claims: Any) -> Any:
        callers.append(claims.subject)
        return await identify(self, claims)

    monkeypatch.setattr(AccessCheck, "identify_bearer", note_and_identify)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(api.services.gate.admit())
        for client in (api.client, api.anonymous()):
            answer = await client.post(path, content=ADA)
            check_problem(answer, "overloaded")
            assert answer.headers["retry-after"]
        assert callers == []
        assert api.services.gate.requests == 2
    assert (await api.anonymous().post(path, content=ADA)).status_code == 401  # a place is free again
    assert (await api.client.post(path, content=ADA)).status_code < 500
    assert len(callers) == 1  # so the count counts


async def test_a_full_gate_keeps_nobody_from_the_rest(make_api: Callable[..., Any]) -> None:
    api = await make_api(load={"max_pending_requests": 1})
    await api.create_event()
    with api.services.gate.admit():
        assert (await api.client.get("/v1/events/gala")).status_code == 200
        assert (await api.anonymous().get("/v1/events/gala")).status_code == 401
        check_problem(await api.client.post("/v1/events/gala/people", content=ADA), "overloaded")
        check_problem(await api.anonymous().post("/v1/events/gala/people", content=ADA), "token_missing")
