"""Detect and embed: nothing is stored, and each picture fails alone."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from tests.unit.api.api_fakes import DIMENSION, picture, vector_of
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA = picture("ada")
DETECT, EMBED = "/v1/detect", "/v1/embed"


def files(*pictures: bytes) -> dict[str, Any]:
    return {"files": [("picture", ("p", each)) for each in pictures]}


def forms(data: bytes) -> dict[str, dict[str, Any]]:
    encoded = base64.b64encode(data).decode()
    return {
        "raw": {"content": data, "headers": {"Content-Type": "image/png"}},
        "form": files(data),
        "json": {"json": {"picture": encoded}},
        "json list": {"json": {"pictures": [encoded]}},
        "data URI": {"json": {"picture": f"data:image/png;base64,{encoded}"}},
    }


@pytest.mark.parametrize("form", forms(ADA))
@pytest.mark.parametrize("path", [DETECT, EMBED])
async def test_every_form_is_taken(api: Api, path: str, form: str) -> None:
    body = (await api.client.post(path, **forms(ADA)[form])).json()
    faces = body["faces"] if path == DETECT else body["results"][0]["faces"]
    assert [face["box"]["x"] for face in faces] == [10.0]
    assert body["pack_id"] == api.line.pack.id


async def test_detection_names_faults_at_a_level(api: Api) -> None:
    crowd = picture("ada", "bob:1:turned_sideways,blurred", width=90, height=70)
    body = (await api.client.post(DETECT, content=crowd)).json()
    assert (body["width"], body["height"], len(body["faces"])) == (90, 70, 2)
    good, bad = body["faces"]
    assert good["faults"] == []
    assert [fault["reason"] for fault in bad["faults"]] == ["blurred", "turned_sideways"]
    assert bad["quality"]["yaw_degrees"] == -80.0
    assert set(good) == {"box", "landmarks", "detection_score", "quality", "liveness", "faults"}
    off = (await api.client.post(DETECT, params={"quality": "off"}, content=crowd)).json()
    assert [face["faults"] for face in off["faces"]] == [[], []]
    [one] = (await api.client.post(DETECT, params={"faces": "centre"}, content=crowd)).json()["faces"]
    assert one["box"]["x"] == 20.0
    assert api.stages.names() == ["detect"] * 3
    assert (await api.client.post(DETECT, content=picture())).json()["faces"] == []


async def test_vectors_are_given_as_numbers_or_bytes(api: Api) -> None:
    crowd = picture("ada:0.9", "bob")
    body = (await api.client.post(EMBED, content=crowd)).json()
    assert body["dimension"] == DIMENSION == api.line.pack.dimension
    faces = body["results"][0]["faces"]
    for spec, face in zip(("ada:0.9", "bob"), faces, strict=True):
        assert np.array(face["vector"]) == pytest.approx(vector_of(spec), abs=1e-8)
    body = (await api.client.post(EMBED, params={"encoding": "base64"}, content=crowd)).json()
    for spec, face in zip(("ada:0.9", "bob"), body["results"][0]["faces"], strict=True):
        vector = np.frombuffer(base64.b64decode(face["vector"]), "<f4")
        assert np.array_equal(vector, vector_of(spec))


async def test_what_was_embedded_can_be_searched_and_compared(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    embedded = (await gala.client.post(EMBED, content=picture("ada:0.97"))).json()
    vector = embedded["results"][0]["faces"][0]["vector"]
    sent = {"pack_id": embedded["pack_id"], "vectors": [vector]}
    [result] = (await gala.client.post("/v1/events/gala/search", json=sent)).json()["results"]
    assert result["person"]["person_id"] == "ada"
    assert result["best_cosine"] == pytest.approx(0.97, abs=1e-6)


async def test_each_picture_is_embedded_alone(api: Api) -> None:
    sent = [ADA, b"no picture", picture("bob", "cleo"), picture(), picture("dan:1:too_dark")]
    body = (await api.client.post(EMBED, params={"quality": "standard"}, **files(*sent))).json()
    assert [result["status"] for result in body["results"]] == ["ok", "error", "ok", "ok", "ok"]
    assert body["results"][1]["problem"]["code"] == "not_an_image"
    assert [len(result.get("faces", ())) for result in body["results"]] == [1, 0, 2, 0, 1]
    [dark] = body["results"][4]["faces"]
    assert (dark["vector"], dark["faults"][0]["reason"]) == (None, "too_dark")
    largest = (await api.client.post(EMBED, params={"faces": "largest"}, content=sent[2])).json()
    assert len(largest["results"][0]["faces"]) == 1


async def test_detection_takes_one_picture(api: Api) -> None:
    check_problem(await api.client.post(DETECT, **files(ADA, ADA)), "invalid_request")
    check_problem(await api.client.post(DETECT, content=b"no picture"), "not_an_image")


@pytest.mark.parametrize("path", [DETECT, EMBED])
@pytest.mark.parametrize(
    "options", [{"faces": "none"}, {"quality": "x"}, {"encoding": "hex"}, {"threshold": 0.9}, {"x": 1}]
)
async def test_options_nobody_can_mean(api: Api, path: str, options: dict[str, Any]) -> None:
    for form in ({"params": options, "content": ADA}, {"data": options, **files(ADA)}):
        check_problem(await api.client.post(path, **form), "invalid_request")
    assert api.stages.calls == []


@pytest.mark.parametrize("path", [DETECT, EMBED, "/v1/compare"])
async def test_who_may_call_and_nothing_is_stored(gala: Api, path: str) -> None:
    form = files(ADA, ADA) if path == "/v1/compare" else files(ADA)
    calls = len(gala.stages.calls)
    check_problem(await gala.anonymous().post(path, **form), "token_missing")
    assert len(gala.stages.calls) == calls
    answer = await gala.client_for("member", ["elsewhere"]).post(path, **form)
    assert answer.status_code == 200
    assert set(gala.stages.names()) <= {"detect", "embed"}
    assert gala.stages.gallery == {}
    assert json.loads(answer.text)["timings"]["total_ms"] > 0
    assert "total;dur=" in answer.headers["server-timing"]
    assert (gala.services.gate.requests, gala.services.gate.bytes) == (0, 0)
