"""Comparison: two pictures, or a query against references, in either metric."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import pytest

from serving.errors import Overloaded
from tests.unit.api.api_fakes import DIMENSION, fail_next, picture, vector_of
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA = picture("ada")
COMPARE = "/v1/compare"


def files(*pictures: bytes) -> dict[str, Any]:
    return {"files": [("picture", ("p", each)) for each in pictures]}


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def numbers(spec: str) -> list[float]:
    return [float(each) for each in vector_of(spec)]


@pytest.mark.parametrize("cosine", [1.0, 0.95, 0.929, 0.928, 0.5, 0.0])
async def test_two_pictures(api: Api, cosine: float) -> None:
    calibration = api.line.calibration
    pair = (ADA, picture(f"ada:{cosine}", salt="2"))
    for form in (files(*pair), {"json": {"pictures": [text(each) for each in pair]}}):
        body = (await api.client.post(COMPARE, **form)).json()
        [result] = body["results"]
        assert result == body["best"]
        assert result["cosine"] == result["score"] == pytest.approx(cosine, abs=1e-6)
        assert result["false_match_rate"] == calibration.false_match_rate(result["cosine"])
        assert result["band"] == calibration.band_of(result["cosine"])
        assert result["same_person"] is (cosine >= calibration.default_threshold)
        assert (result["index"], result["id"], body["failed"]) == (0, None, [])
        assert body["query_face"]["box"]["x"] == result["face"]["box"]["x"] == 10.0
        assert (body["pack_id"], body["dimension"]) == (api.line.pack.id, DIMENSION)
        assert (body["metric"], body["threshold"]) == ("cosine", calibration.default_threshold)


def references(api: Api, **fields: Any) -> dict[str, Any]:
    return {
        "pack_id": api.line.pack.id,
        "query": {"vector": numbers("ada")},
        "references": [
            {"vector": numbers("ada:0.5")},
            {"id": "x", "picture": text(picture("ada:0.9"))},
            {"id": "y", "vector": [7 * number for number in numbers("ada:0.99")]},
        ],
        **fields,
    }


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
async def test_references_are_ranked(api: Api, metric: str) -> None:
    body = (await api.client.post(COMPARE, json=references(api, metric=metric))).json()
    assert [(result["index"], result["id"]) for result in body["results"]] == [(2, "y"), (1, "x"), (0, None)]
    for result, cosine in zip(body["results"], (0.99, 0.9, 0.5), strict=True):
        assert result["cosine"] == pytest.approx(cosine, abs=1e-6)
        score = cosine if metric == "cosine" else math.sqrt(2 - 2 * cosine)
        assert result["score"] == pytest.approx(score, abs=1e-5)
    assert (body["metric"], body["best"]) == (metric, body["results"][0])
    assert body["query_face"] is None
    assert [result["face"] is None for result in body["results"]] == [True, False, True]
    assert api.stages.calls[-1] == ("embed", 1)


async def test_both_metrics_rank_as_the_vectors_do(api: Api) -> None:
    rng = np.random.default_rng(11)
    query, *others = rng.normal(size=(40, DIMENSION))
    unit = [each / np.linalg.norm(each) for each in (query, *others)]
    distances = [float(np.linalg.norm(each - unit[0])) for each in unit[1:]]
    sent = {
        "pack_id": api.line.pack.id,
        "query": {"vector": query.tolist()},
        "references": [{"vector": each.tolist()} for each in others],
        "metric": "euclidean",
    }
    results = (await api.client.post(COMPARE, json=sent)).json()["results"]
    assert [result["index"] for result in results] == sorted(range(39), key=distances.__getitem__)
    assert [result["score"] for result in results] == pytest.approx(sorted(distances), abs=1e-5)


async def test_a_reference_fails_alone_unless_none_is_left(api: Api) -> None:
    bad = [
        {"id": "short", "vector": [1.0]},
        {"id": "zero", "vector": [0.0] * DIMENSION},
        {"id": "text", "picture": "!!!!"},
        {"id": "file", "picture": text(b"no picture")},
        {"id": "empty", "picture": text(picture())},
        {"id": "blurred", "picture": text(picture("ada:1:blurred"))},
    ]
    codes = ["invalid_request"] * 3 + ["not_an_image", "no_face", "quality_too_low"]
    sent = references(api, quality="standard")
    sent["references"] = [*bad, {"id": "good", "vector": numbers("ada")}]
    body = (await api.client.post(COMPARE, json=sent)).json()
    assert [(each["index"], each["id"]) for each in body["results"]] == [(6, "good")]
    assert [each["id"] for each in body["failed"]] == [each["id"] for each in bad]
    assert [each["problem"]["code"] for each in body["failed"]] == codes
    for reference, code in zip(bad, codes, strict=True):
        sent["references"] = [reference]
        assert check_problem(await api.client.post(COMPARE, json=sent), code)["context"]["picture"] == 1


async def test_a_query_that_cannot_be_used(api: Api) -> None:
    for query, code in (
        ({"picture": text(picture())}, "no_face"),
        ({"picture": text(b"no picture")}, "not_an_image"),
        ({"vector": [1.0]}, "invalid_request"),
    ):
        problem = check_problem(await api.client.post(COMPARE, json=references(api, query=query)), code)
        assert problem["context"]["picture"] == 0
    problem = check_problem(await api.client.post(COMPARE, **files(picture(), ADA)), "no_face")
    assert problem["context"] == {"picture": 0}
    problem = check_problem(await api.client.post(COMPARE, **files(ADA, b"x", picture())), "not_an_image")
    assert problem["context"] == {"picture": 1}


async def test_the_policy_of_a_comparison(api: Api) -> None:
    pair = files(ADA, picture("ada:0.9"))
    calibration = api.line.calibration
    for options, threshold, same in (
        ({"threshold": "0.9"}, 0.9, True),
        ({"threshold": "0.91"}, 0.91, False),
        ({"false_match_rate": "1"}, calibration.threshold_for(1.0), True),
        ({"strictness": "strict"}, calibration.threshold_for(1e-4), False),
    ):
        for body in (
            (await api.client.post(COMPARE, data=options, **pair)).json(),
            (await api.client.post(COMPARE, params=options, **pair)).json(),
        ):
            assert body["threshold"] == pytest.approx(threshold)
            assert body["best"]["same_person"] is same
    answer = await api.client.post(COMPARE, params={"false_match_rate": 1e-9}, **pair)
    check_problem(answer, "false_match_rate_not_supported")
    answer = await api.client.post(COMPARE, json=references(api, threshold=0.95), params={"threshold": 0.9})
    check_problem(answer, "invalid_request")


async def test_which_face_counts(api: Api) -> None:
    crowd = picture("bob", "ada", "cleo", width=48, height=32)
    centre = (await api.client.post(COMPARE, data={"face": "centre"}, **files(ADA, crowd))).json()
    assert centre["best"]["cosine"] == 1.0
    largest = (await api.client.post(COMPARE, **files(ADA, crowd))).json()
    assert largest["best"]["cosine"] == 0.0
    answer = await api.client.post(COMPARE, data={"face": "only"}, **files(ADA, crowd))
    check_problem(answer, "several_faces")


VECTOR = [1.0] * DIMENSION
BAD: dict[str, dict[str, Any]] = {
    "nothing": {"json": {}},
    "a list": {"json": []},
    "no JSON": {"content": b"{", "headers": {"Content-Type": "application/json"}},
    "one picture": {"json": {"pictures": [text(ADA)]}},
    "one file": files(ADA),
    "a raw picture": {"content": ADA, "headers": {"Content-Type": "image/png"}},
    "query alone": {"json": {"query": {"picture": text(ADA)}}},
    "references alone": {"json": {"references": [{"picture": text(ADA)}]}},
    "no references": {"json": {"query": {"picture": text(ADA)}, "references": []}},
    "all three": {
        "json": {
            "pictures": [text(ADA)] * 2,
            "query": {"picture": text(ADA)},
            "references": [{"picture": text(ADA)}],
        }
    },
    "both": {
        "json": {"query": {"picture": text(ADA), "vector": VECTOR}, "references": [{"picture": text(ADA)}]}
    },
    "neither": {"json": {"query": {}, "references": [{"picture": text(ADA)}]}},
    "no pack": {"json": {"query": {"picture": text(ADA)}, "references": [{"vector": VECTOR}]}},
    "too many pictures": {"json": {"pictures": [text(ADA)] * 11}},
    "too many files": files(*[ADA] * 11),
    "too many references": {
        "json": {"pack_id": "p", "query": {"vector": VECTOR}, "references": [{"vector": VECTOR}] * 101}
    },
    "metric": {"json": {"pictures": [text(ADA)] * 2, "metric": "manhattan"}},
    "unknown": {"json": {"pictures": [text(ADA)] * 2, "treshold": 1}},
    "id": {"json": {"query": {"picture": text(ADA)}, "references": [{"picture": text(ADA), "id": ""}]}},
}


@pytest.mark.parametrize("form", BAD.values(), ids=BAD.keys())
async def test_questions_nobody_can_answer(api: Api, form: dict[str, Any]) -> None:
    check_problem(await api.client.post(COMPARE, **form), "invalid_request")
    assert api.stages.calls == []
    assert (api.services.gate.requests, api.services.gate.bytes) == (0, 0)


async def test_vectors_of_another_pack(api: Api) -> None:
    answer = await api.client.post(COMPARE, json=references(api, pack_id="arcface-r100"))
    check_problem(answer, "pack_mismatch")


async def test_a_stage_that_fails_is_no_references_fault(api: Api) -> None:
    fail_next(api.stages, "detect", Overloaded())
    check_problem(await api.client.post(COMPARE, **files(ADA, ADA, ADA)), "overloaded")
    fail_next(api.stages, "embed", Overloaded())
    check_problem(await api.client.post(COMPARE, **files(ADA, ADA, ADA)), "overloaded")
