"""JSON that would become far more in memory than it is, or be answered with far more, is refused in time."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.api.api_fakes import DIMENSION, picture, vector_of
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

EVENT = "/v1/events/gala"
JSON = {"Content-Type": "application/json"}
MANY = 200_000
MAX_ANSWER_BYTES = 8_000

AMPLIFIED = {
    "lists": (f"{EVENT}/recognise", b'{"face": [' + b"[]," * MANY + b"[]]}"),
    "objects": (f"{EVENT}/recognise", b'{"face": [' + b"{}," * MANY + b"{}]}"),
    "names": (f"{EVENT}/people", b"{" + b",".join(b'"%d":1' % n for n in range(MANY)) + b"}"),
    "metadata": (f"{EVENT}/people", b'{"metadata": {"a": [' + b"0," * MANY + b"0]}}"),
    "metadata as text": (f"{EVENT}/people", b'{"metadata": "[' + b"0," * MANY + b'0]"}'),
    "pictures": ("/v1/compare", b'{"pictures": [' + b"1," * MANY + b"1]}"),
    "unknown names": ("/v1/compare", b"{" + b",".join(b'"%d":1' % n for n in range(MANY)) + b"}"),
    "references": ("/v1/compare", b'{"references": [' + b"[]," * MANY + b"[]]}"),
    "nested": ("/v1/detect", b'{"a":' * MANY + b"1" + b"}" * MANY),
}


@pytest.mark.parametrize("path_and_body", AMPLIFIED.values(), ids=AMPLIFIED)
async def test_a_body_of_very_many_values_is_not_parsed(gala: Api, path_and_body: tuple[str, bytes]) -> None:
    path, body = path_and_body
    tracemalloc.start()
    try:
        answer = await gala.client.post(path, content=body, headers=JSON)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    context = check_problem(answer, "invalid_request")["context"]
    assert context["max_values"] < MANY
    assert len(answer.content) < MAX_ANSWER_BYTES
    assert most < 3 * len(body) + 2**20


@pytest.mark.parametrize("place", ["pictures", "vector", "vectors"])
async def test_of_a_list_the_first_wrong_member_is_told(gala: Api, place: str) -> None:
    wrong: list[Any] = [[]] * (5 * DIMENSION)
    body = {
        "pictures": ("/v1/compare", {"pictures": wrong}),
        "vector": ("/v1/compare", {"query": {"vector": wrong}, "references": [{"vector": wrong}]}),
        "vectors": (f"{EVENT}/search", {"pack_id": "x", "vectors": [wrong]}),
    }[place]
    answer = await gala.client.post(body[0], json=body[1])
    told = check_problem(answer, "invalid_request")["context"]["errors"]
    assert 1 <= len(told) <= 2
    assert all(each["field"].endswith(".0") for each in told)


async def test_of_a_thousand_problems_some_are_told(api: Api) -> None:
    """Without a token: the answer may not be many times what was asked."""
    body = json.dumps({f"{n:x}": 1 for n in range(5000)}).encode()
    answer = await api.anonymous().post("/v1/auth/sign-in", content=body, headers=JSON)
    problem = check_problem(answer, "invalid_request")
    assert "more" in problem["detail"]
    assert len(answer.content) < MAX_ANSWER_BYTES
    long_name = {"x" * 50_000: 1}
    answer = await api.anonymous().post("/v1/auth/sign-in", json=long_name)
    check_problem(answer, "invalid_request")
    assert len(answer.content) < MAX_ANSWER_BYTES


async def test_what_any_honest_request_holds_is_parsed(make_api: Callable[..., Any]) -> None:
    """As many pictures as may be, each a data URI; as many vectors as may be; the longest metadata."""
    api = await make_api(picture={"max_per_request": 100}, load={"max_body_bytes": 2**27})
    await api.create_event()
    uri = "data:image/png;base64," + base64.b64encode(picture("ada")).decode()
    people = {"person_id": "ada", "pictures": [uri], "metadata": {"a": [0] * 2000}}
    assert (await api.client.post(f"{EVENT}/people", json=people)).status_code == 201
    assert (await api.client.post("/v1/compare", json={"pictures": [uri] * 100})).status_code == 200
    vector = [float(each) for each in vector_of("ada")]
    samples = {"query": {"vector": vector}, "references": [{"id": "a,[{", "vector": vector}] * 100}
    pack_id = api.line.pack.id
    compared = await api.client.post("/v1/compare", json={"pack_id": pack_id, **samples})
    assert len(compared.json()["results"]) == 100
    found = await api.client.post(f"{EVENT}/search", json={"pack_id": pack_id, "vectors": [vector] * 100})
    assert len(found.json()["results"]) == 100


@pytest.mark.parametrize("text", ["é", "\N{FULLWIDTH LATIN CAPITAL LETTER A}", "\ud800", "\x00"])
async def test_a_picture_with_other_characters_is_none(gala: Api, text: str) -> None:
    body = json.dumps({"picture": base64.b64encode(picture("ada")).decode() + text})
    answer = await gala.client.post(f"{EVENT}/recognise", content=body, headers=JSON)
    assert check_problem(answer, "invalid_request")["context"] == {"picture": 0}
