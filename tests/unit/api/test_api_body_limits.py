"""Bodies that are too large, too many, too slow or a stranger's."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from serving.api.unread_bodies import MAX_DRAINED_BYTES
from tests.unit.api.api_fakes import picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA = picture("ada")
PEOPLE, RECOGNISE = "/v1/events/gala/people", "/v1/events/gala/recognise"


async def test_the_limits_stand_in_the_context(make_api: Callable[..., Any]) -> None:
    api = await make_api(picture={"max_pixels": 50_000, "max_bytes": 8000}, load={"max_body_bytes": 30_000})
    await api.create_event()
    post = api.client.post
    context = check_problem(await post(RECOGNISE, content=picture(width=300, height=200)), "too_many_pixels")[
        "context"
    ]
    assert (context["max_pixels"], context["pixels"]) == (50_000, 60_000)
    context = check_problem(await post(RECOGNISE, content=picture(width=31)), "picture_too_small")["context"]
    assert context["min_side_px"] == 32
    context = check_problem(await post(RECOGNISE, content=bytes(8001)), "picture_too_large")["context"]
    assert context["max_bytes"] == 8000
    context = check_problem(await post(RECOGNISE, json={"picture": "A" * 30_000}), "body_too_large")[
        "context"
    ]
    assert context["max_bytes"] == 30_000


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "streamed"])
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("image/png", "picture_too_large"),
        ("application/json", "body_too_large"),
        ("multipart/form-data; boundary=b", "body_too_large"),
    ],
)
async def test_too_long_a_body_is_not_kept(
    make_api: Callable[..., Any], announced: bool, kind: str, code: str
) -> None:
    api = await make_api(picture={"max_bytes": 8192}, load={"max_body_bytes": 16384})
    await api.create_event()
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        if kind.startswith("multipart"):
            yield b'--b\r\nContent-Disposition: form-data; name="picture"; filename="p"\r\n\r\n'
        for _ in range(1000):
            sent += 4096
            held.append(api.services.gate.bytes)
            yield bytes(4096)

    held: list[int] = []
    headers = {"Content-Type": kind, **({"Content-Length": str(4096 * 1000)} if announced else {})}
    answer = await api.client.post(RECOGNISE, content=body(), headers=headers)
    check_problem(answer, code)
    assert sent == 4096 * 1000  # taken off the connection, so that its next request is heard
    assert "connection" not in answer.headers
    assert max(held) <= (0 if announced else 16384)
    assert set(held[6:]) == {0}


async def test_a_body_at_the_very_limit_is_taken(make_api: Callable[..., Any]) -> None:
    api = await make_api(picture={"max_bytes": len(ADA) + 1000})
    await api.create_event()
    assert (await api.client.post(RECOGNISE, content=ADA + bytes(1000))).status_code == 200
    check_problem(await api.client.post(RECOGNISE, content=ADA + bytes(1001)), "picture_too_large")


@pytest.mark.parametrize(
    "headers",
    [{"Content-Length": "1"}, {"Content-Length": "-5"}, {"Content-Length": "٣"}, {"Content-Length": "1e9"}],
)
async def test_a_content_length_that_lies_gains_nothing(
    make_api: Callable[..., Any], headers: dict[str, str]
) -> None:
    api = await make_api(picture={"max_bytes": 8192})
    await api.create_event()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield bytes(4096)

    raw = {name: value.encode() for name, value in headers.items()}
    check_problem(await api.client.post(RECOGNISE, content=body(), headers=raw), "picture_too_large")


async def test_pictures_are_counted(make_api: Callable[..., Any]) -> None:
    api = await make_api(picture={"max_per_request": 3})
    await api.create_event()
    four = [picture("ada", salt=str(n)) for n in range(4)]
    encoded = [base64.b64encode(each).decode() for each in four]
    refused = [
        {"files": [("picture", ("p", each)) for each in four]},
        {"files": [("picture", ("p", each)) for each in four * 3]},
        {"json": {"pictures": encoded}},
        {"json": {"pictures": encoded[:2], "picture": encoded[2:]}},
    ]
    for form in refused:
        check_problem(await api.client.post(PEOPLE, **form), "invalid_request")
    assert api.stages.calls == []
    answer = await api.client.post(PEOPLE, json={"pictures": encoded[:3]})
    assert len(answer.json()["person"]["face_ids"]) == 3


async def test_recognising_takes_one_picture_and_nothing_else(gala: Api) -> None:
    two = {"files": [("picture", ("a", ADA)), ("picture", ("b", ADA))]}
    check_problem(await gala.client.post(RECOGNISE, **two), "invalid_request")
    named = {"files": {"picture": ADA}, "data": {"name": "x"}}
    check_problem(await gala.client.post(RECOGNISE, **named), "invalid_request")
    assert gala.stages.calls == []


async def test_the_place_of_a_picture_counts_through_all_json_fields(gala: Api) -> None:
    encoded = base64.b64encode(ADA).decode()
    answer = await gala.client.post(PEOPLE, json={"pictures": [encoded, encoded], "picture": "!!!!"})
    assert check_problem(answer, "invalid_request")["context"]["picture"] == 2


async def test_a_body_that_comes_too_slowly(make_api: Callable[..., Any]) -> None:
    api = await make_api(load={"request_timeout_s": 0.1})
    await api.create_event()

    async def drip() -> AsyncIterator[bytes]:
        for byte in b'--b\r\nContent-Disposition: form-data; name="picture"':
            yield bytes([byte])
            await asyncio.sleep(0.03)

    for kind in ("image/png", "multipart/form-data; boundary=b", "application/json"):
        answer = await api.client.post(RECOGNISE, content=drip(), headers={"Content-Type": kind})
        problem = check_problem(answer, "deadline_exceeded")
        assert "body" in problem["detail"]
    assert (api.services.gate.requests, api.services.gate.bytes) == (0, 0)


async def test_no_picture_is_written_to_disk(gala: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("tempfile._TemporaryFile", refuse, raising=False)
    large = picture("ada", width=2000, height=1200) + bytes(3 * 2**20)
    answer = await gala.client.post(PEOPLE, files={"picture": large})
    assert answer.status_code == 201, answer.text


async def test_a_stranger_cannot_make_the_service_take_any_body(api: Api) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(500):
            sent += 2**20
            yield bytes(2**20)

    answer = await api.anonymous().post(
        "/v1/events", content=body(), headers={"Content-Type": "application/json"}
    )
    assert sent <= MAX_DRAINED_BYTES + 2 * 2**20
    assert answer.headers["connection"] == "close"
    assert answer.status_code == 401


async def test_a_new_event_that_comes_too_slowly(make_api: Callable[..., Any]) -> None:
    api = await make_api(load={"request_timeout_s": 0.1})

    async def drip() -> AsyncIterator[bytes]:
        for character in json.dumps({"id": "gala"}) + " " * 12:
            yield character.encode()
            await asyncio.sleep(0.03)

    answer = await api.client.post("/v1/events", content=drip(), headers={"Content-Type": "application/json"})
    check_problem(answer, "deadline_exceeded")
