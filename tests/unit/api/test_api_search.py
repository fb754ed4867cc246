"""Search by vectors that the caller brings along."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from serving.api.vectors import normalise_vectors
from serving.errors import InvalidRequest
from tests.unit.api.api_fakes import DIMENSION, picture, vector_of
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

SEARCH = "/v1/events/gala/search"


@pytest_asyncio.fixture
async def gala(make_api: Callable[..., Any]) -> Api:
    """An event with Ada and Bob, at which requests decide by themselves."""
    api: Api = await make_api()
    await api.create_event(request_policy="any")
    await api.enrol("ada", picture("ada"), name="Ada")
    await api.enrol("bob", picture("bob"))
    return api


def ask(api: Api, *specs: str, **fields: Any) -> dict[str, Any]:
    return {
        "pack_id": api.line.pack.id,
        "vectors": [vector_of(spec).tolist() for spec in specs],
        **fields,
    }


async def test_each_vector_is_answered_in_order(gala: Api) -> None:
    body = (await gala.client.post(SEARCH, json=ask(gala, "bob", "stranger", "ada:0.95", top_k=2))).json()
    assert [result["outcome"] for result in body["results"]] == ["match", "unknown", "match"]
    assert [result["person"] and result["person"]["person_id"] for result in body["results"]] == [
        "bob", None, "ada"
    ]  # fmt: skip
    assert body["results"][2]["best_cosine"] == pytest.approx(0.95, abs=1e-6)
    assert len(body["results"][0]["candidates"]) == 2
    assert (body["pack_id"], body["timings"]["detect_ms"]) == (gala.line.pack.id, 0)
    assert gala.stages.calls[-1][0] == "search"
    assert "detect" not in gala.stages.names()[-1:]


@pytest.mark.parametrize("length", [1e-300, 1e-20, 0.5, 7, 1e150, 1e307])
async def test_the_length_of_a_vector_does_not_matter(gala: Api, length: float) -> None:
    sent = ask(gala)
    sent["vectors"] = [[length * float(number) for number in vector_of("ada:0.95")]]
    [result] = (await gala.client.post(SEARCH, json=sent)).json()["results"]
    assert result["best_cosine"] == pytest.approx(0.95, abs=1e-6)


def test_normalising_keeps_directions() -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(50, 16)) * np.geomspace(1e-250, 1e250, 50)[:, None]
    unit = normalise_vectors(rows.tolist(), 16)
    assert unit.dtype == np.float32
    scaled = rows / np.abs(rows).max(axis=1, keepdims=True)
    assert unit == pytest.approx(scaled / np.linalg.norm(scaled, axis=1, keepdims=True), abs=1e-6)
    for bad in ([0.0] * 16, [1.0] * 15 + [float("inf")], [float("nan")] * 16, [1.0] * 15):
        with pytest.raises(InvalidRequest) as caught:
            normalise_vectors([rows[0].tolist(), bad], 16)
        assert caught.value.context["vector"] == 1


VECTOR = [1.0] * DIMENSION
BAD: dict[str, dict[str, Any]] = {
    "no vectors": {"vectors": []},
    "too many": {"vectors": [VECTOR] * 101},
    "too short": {"vectors": [VECTOR[:-1]]},
    "too long": {"vectors": [[*VECTOR, 1.0]]},
    "empty": {"vectors": [[]]},
    "zero": {"vectors": [VECTOR, [0.0] * DIMENSION]},
    "texts": {"vectors": [["1.0"] * DIMENSION]},
    "truths": {"vectors": [[True] * DIMENSION]},
    "not lists": {"vectors": [1.0]},
    "beyond": {"vectors": [[1e400] * DIMENSION]},
    "top_k": {"top_k": 21},
    "top_k 0": {"top_k": 0},
    "two policies": {"threshold": 0.9, "strictness": "strict"},
    "strictness": {"strictness": "severe"},
    "unknown": {"treshold": 0.9},
    "pack of another kind": {"pack_id": 5},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD.keys())
async def test_questions_nobody_can_answer(gala: Api, fields: dict[str, Any]) -> None:
    calls = len(gala.stages.calls)
    sent = json.dumps({**ask(gala, "ada"), **fields})
    answer = await gala.client.post(SEARCH, content=sent, headers={"Content-Type": "application/json"})
    check_problem(answer, "invalid_request")
    assert len(gala.stages.calls) == calls


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"vectors": NaN}', b"[" * 100_000])
async def test_what_is_no_question(gala: Api, content: bytes) -> None:
    check_problem(await gala.client.post(SEARCH, content=content), "invalid_request")


async def test_the_place_of_a_bad_vector_is_told(gala: Api) -> None:
    sent = ask(gala, "ada", "bob", "ada")
    sent["vectors"][2] = [1.0]
    context = check_problem(await gala.client.post(SEARCH, json=sent), "invalid_request")["context"]
    assert context == {"vector": 2, "dimension": DIMENSION}


async def test_vectors_of_another_pack(gala: Api) -> None:
    answer = await gala.client.post(SEARCH, json=ask(gala, "ada", pack_id="arcface-r100"))
    context = check_problem(answer, "pack_mismatch")["context"]
    assert context == {"pack_id": "arcface-r100", "serving": [gala.line.pack.id]}


async def test_a_question_that_is_too_long(gala: Api) -> None:
    check_problem(await gala.client.post(SEARCH, content=b" " * 600_000), "body_too_large")
    most = [[-0.12345678901234567e-100] * DIMENSION] * 100
    answer = await gala.client.post(SEARCH, json={"pack_id": gala.line.pack.id, "vectors": most})
    assert answer.status_code == 200
    assert (gala.services.gate.requests, gala.services.gate.bytes) == (0, 0)


async def test_policies_and_privacy_are_those_of_recognition(gala: Api) -> None:
    member = gala.client_for("member")
    [shown] = (await member.post(SEARCH, json=ask(gala, "ada:0.9", top_k=5))).json()["results"]
    assert (shown["outcome"], shown["best_cosine"], shown["candidates"]) == ("unknown", None, [])
    [shown] = (await member.post(SEARCH, json=ask(gala, "ada:0.9", threshold=0.8))).json()["results"]
    assert (shown["outcome"], shown["person"]["name"]) == ("match", "Ada")
    await gala.create_event("door", request_policy="none")
    answer = await gala.client.post("/v1/events/door/search", json=ask(gala, "ada", threshold=0.99))
    check_problem(answer, "policy_not_allowed")
