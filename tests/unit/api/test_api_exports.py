"""Exports: what they hold, and that they can be imported elsewhere."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timezone

import numpy as np

from tests.unit.api.api_fakes import DIMENSION, picture, vector_of
from tests.unit.api.api_jobs import FILES, LINES, PACK, exported, imported, line
from tests.unit.api.conftest import Api
from tests.unit.jobs.archives import make_zip


async def test_an_export_imported_elsewhere_answers_the_same(gala: Api) -> None:
    await imported(gala, make_zip(FILES))
    content = await exported(gala)
    people = {each["person_id"]: each for each in map(json.loads, content.splitlines())}
    assert {name: len(each["faces"]) for name, each in people.items()} == {"ada": 2, "bob": 1}
    assert people["ada"]["name"] == "Ada Lovelace"
    vector = np.frombuffer(base64.b64decode(people["bob"]["faces"][0]["vector_f32"]), "<f4")
    np.testing.assert_array_equal(vector, vector_of("bob"))
    await gala.create_event("expo")
    job = await imported(gala, content, LINES, "expo")
    assert (job["state"], job["done"], job["rejected"]) == ("done", 2, 0)
    probe = picture("ada:0.8", "bob", "eve")
    answers = [(await gala.recognise(probe, event))["faces"] for event in ("gala", "expo")]
    assert answers[0] == answers[1]
    ada = (await gala.client.get("/v1/events/expo/people/ada")).json()
    assert (ada["name"], ada["metadata"]) == ("Ada Lovelace", {"table": 4})
    again = [json.loads(each) for each in (await exported(gala, "expo")).splitlines()]
    assert {each["person_id"]: _faces(each) for each in again} == {
        name: _faces(each) for name, each in people.items()
    }


def _faces(person: dict) -> list[dict]:
    return sorted(person["faces"], key=lambda face: face["face_id"])


async def test_a_thousand_people_there_and_back_in_seconds(gala: Api) -> None:
    random = np.random.default_rng(1)
    vectors = random.normal(size=(1000, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lines = "".join(
        json.dumps(
            {
                "person_id": f"p{number}",
                "pack_id": PACK,
                "faces": [{"face_id": "f", "vector_f32": base64.b64encode(vector.tobytes()).decode()}],
            }
        )
        + "\n"
        for number, vector in enumerate(vectors)
    )
    job = await imported(gala, lines.encode(), LINES, on_duplicate="allow")
    content = await exported(gala)
    assert gala.stages.counts["enrol"] <= 40  # each of them is two commits
    assert (job["done"], job["rejected"]) == (1000, 0)
    found = {
        each["person_id"]: each["faces"][0]["vector_f32"] for each in map(json.loads, content.splitlines())
    }
    assert len(found) == 1000
    for number in (0, 499, 999):
        np.testing.assert_array_equal(
            np.frombuffer(base64.b64decode(found[f"p{number}"]), "<f4"), vectors[number]
        )


async def test_what_is_not_enrolled_is_not_exported(gala: Api) -> None:
    """A vector that the registry does not know of stays behind, and so does a person without faces."""
    await gala.enrol("ada", picture("ada"))
    key = (await gala.registry.get_event("gala")).key
    gala.stages.gallery[key, "ada", "stray"] = vector_of("eve")
    gala.stages.gallery[key, "ghost", "stray"] = vector_of("eve")
    (only,) = map(json.loads, (await exported(gala)).splitlines())
    assert [face["face_id"] for face in only["faces"]] == (
        (await gala.client.get("/v1/events/gala/people/ada")).json()["face_ids"]
    )


async def test_times_of_faces_travel(gala: Api) -> None:
    moment = datetime(2020, 2, 3, 4, 5, 6, 789, tzinfo=timezone.utc)
    face = {"face_id": "f", "vector": vector_of("ada").tolist(), "created_at": moment.isoformat()}
    await imported(gala, line("ada", faces=[face]).encode(), LINES)
    (only,) = map(json.loads, (await exported(gala)).splitlines())
    assert datetime.fromisoformat(only["faces"][0]["created_at"]) == moment
