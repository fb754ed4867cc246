"""Enrol a face, recognise it: the requests of the README against the real service."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx

FREE = {"request_policy": "any"}
"""Events whose requests may ask for any threshold."""


def test_a_guest_is_found_in_a_group_and_the_others_are_unknown(
    client: httpx.Client, event: str, samples: dict[str, Path]
) -> None:
    enrolled = client.post(
        f"{event}/people",
        data={"person_id": "guest", "name": "A guest"},
        files={"picture": samples["guest"].read_bytes()},
    )
    assert enrolled.status_code == 201, enrolled.text
    answer = client.post(f"{event}/recognise", files={"picture": samples["group"].read_bytes()})
    assert answer.status_code == 200, answer.text
    faces = answer.json()["faces"]
    assert len(faces) == 6
    matches = [face for face in faces if face["outcome"] == "match"]
    assert [face["person"]["name"] for face in matches] == ["A guest"]
    assert matches[0]["person"]["cosine"] >= answer.json()["threshold"]
    assert matches[0]["person"]["false_match_rate"] <= 0.01
    for face in faces:
        if face["outcome"] == "unknown":
            assert face["person"] is None
            assert face["candidates"][0]["cosine"] < answer.json()["threshold"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "detect;dur=" in answer.headers["server-timing"]


def test_three_forms_of_body_give_the_same_answer(
    client: httpx.Client, event: str, samples: dict[str, Path]
) -> None:
    portrait = samples["portrait"].read_bytes()
    encoded = base64.b64encode(portrait).decode()
    bodies = [
        {"files": {"picture": portrait}},
        {"json": {"picture": encoded}},
        {"json": {"picture": f"data:image/png;base64,{encoded}"}},
        {"content": portrait, "headers": {"Content-Type": "image/png"}},
    ]
    for place, body in enumerate(bodies):
        enrolled = client.post(
            f"{event}/people", params={"person_id": f"person-{place}", "on_duplicate": "allow"}, **body
        )
        assert enrolled.status_code == 201, enrolled.text
    answers = [client.post(f"{event}/recognise", params={"top_k": 4}, **body) for body in bodies]
    assert [answer.status_code for answer in answers] == [200] * 4
    faces = [answer.json()["faces"] for answer in answers]
    assert len(faces[0]) == 1
    assert faces[0] == faces[1] == faces[2] == faces[3]
    assert len(faces[0][0]["candidates"]) == 4
    assert all(candidate["cosine"] > 0.999 for candidate in faces[0][0]["candidates"])


def test_people_of_another_event_are_never_found(
    client: httpx.Client, event: str, samples: dict[str, Path]
) -> None:
    guest = {"picture": samples["guest"].read_bytes()}
    assert client.post(f"{event}/people", params={"person_id": "guest"}, files=guest).status_code == 201
    other = f"/v1/events/{client.post('/v1/events', json=FREE).json()['id']}"
    face = client.post(f"{other}/recognise", params={"threshold": -1}, files=guest).json()["faces"][0]
    assert face["outcome"] == "unknown"
    assert face["candidates"] == []
    assert client.get(f"{other}/people").json()["people"] == []
    assert client.delete(other).status_code == 204
    assert client.post(f"{event}/recognise", files=guest).json()["faces"][0]["outcome"] == "match"


def test_erased_people_and_events_are_gone(client: httpx.Client, samples: dict[str, Path]) -> None:
    guest = {"picture": samples["guest"].read_bytes()}
    assert client.post("/v1/events", json={"id": "short-lived", **FREE}).status_code == 201
    event = "/v1/events/short-lived"
    for person in ("one", "two"):
        assert (
            client.post(
                f"{event}/people", params={"person_id": person, "on_duplicate": "allow"}, files=guest
            ).status_code
            == 201
        )
    assert client.delete(f"{event}/people/one").status_code == 204
    assert client.delete(f"{event}/people/one").json()["code"] == "unknown_person"
    found = client.post(f"{event}/recognise", params={"top_k": 5}, files=guest).json()["faces"][0]
    assert [candidate["person_id"] for candidate in found["candidates"]] == ["two"]
    assert client.delete(event).status_code == 204
    assert client.post(f"{event}/recognise", files=guest).json()["code"] == "unknown_event"
    assert client.post("/v1/events", json={"id": "short-lived", **FREE}).status_code == 201
    again = client.post(f"{event}/recognise", params={"threshold": -1}, files=guest).json()["faces"][0]
    assert again["candidates"] == []
    client.delete(event)


def test_several_pictures_of_one_person_are_one_person(
    client: httpx.Client, event: str, samples: dict[str, Path]
) -> None:
    guest, portrait = samples["guest"].read_bytes(), samples["portrait"].read_bytes()
    files = [("picture", guest), ("picture", portrait)]
    enrolled = client.post(f"{event}/people", data={"person_id": "both"}, files=files)
    assert enrolled.status_code == 201, enrolled.text
    assert len(set(enrolled.json()["person"]["face_ids"])) == 2
    assert client.get(f"{event}/people").json()["people"][0]["faces"] == 2
    for picture in (guest, portrait):
        face = client.post(f"{event}/recognise", files={"picture": picture}).json()["faces"][0]
        assert face["person"]["person_id"] == "both"
    assert client.get(event).json()["faces"] == 2


def test_the_model_and_the_document_are_served(client: httpx.Client) -> None:
    model = client.get("/v1/model").json()
    assert model["pack_id"].startswith("starter")
    assert -1 < model["default_threshold"] < 1
    assert [point["false_match_rate"] for point in model["calibration"]] == sorted(
        (point["false_match_rate"] for point in model["calibration"]), reverse=True
    )
    assert client.get("/docs").status_code == 200
    document = client.get("/openapi.json").json()
    assert "/v1/events/{event}/recognise" in document["paths"]
