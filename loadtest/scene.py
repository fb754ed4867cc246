"""Makes what a load needs on a service: pictures, an event, a gallery, enrolled people; and removes it."""

from __future__ import annotations

import base64
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from loadtest.kinds import Scene
from loadtest.pictures import Box, cut_one_face_pictures, frame_portrait
from serving.packs.samples import prepare_samples

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
MAX_PICTURES = 400
"""Taken from a folder of one's own; they are held in memory and sent to every worker."""

PEOPLE_PER_IMPORT = 10_000
JOB_TIMEOUT_S = 600.0
TIMEOUT_S = 60.0
KNOWN_SAMPLES = 4
"""People of the group picture who are enrolled; the others are strangers."""


class SceneError(Exception):
    """The service, or the folder of pictures, does not allow the load."""


def open_client(url: str, token: str) -> httpx.Client:
    """A client of the service."""
    if not token:
        raise SceneError("a token is needed: ROLLCALL_TOKEN or --token; `rollcall token NAME` prints one")
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S)


def build_scene(client: httpx.Client, *, pictures: Path | None, gallery: int) -> Scene:
    """Two events: one with `gallery` strangers and everybody known, one to enrol people at.

    They are kept for a day at most, should nobody live to remove them.

    Raises:
        SceneError: the service refuses something, or there are too few pictures.
    """
    known, unknown, crowd = _read_folder(pictures) if pictures else _make_samples(client)
    rules = {"quality_level": "off", "retention_days": 1}
    made: list[dict[str, Any]] = []
    try:
        for name in ("load test", "load test, enrolment"):
            made.append(_ask(client, "POST", "/v1/events", json={"name": name, **rules}).json())
        event = made[0]["id"]
        _import_strangers(client, event, made[0]["pack_id"], gallery)
        seen: set[str] = set()
        for person, picture in known:
            if person not in seen:
                query = {"person_id": person, "on_duplicate": "allow"}
                _ask(client, "POST", f"/v1/events/{event}/people", params=query, content=picture)
                seen.add(person)
    except BaseException:
        for each in made:
            client.delete(f"/v1/events/{each['id']}")
        raise
    return Scene(event, made[1]["id"], known, unknown, crowd)


def remove_scene(client: httpx.Client, scene: Scene) -> None:
    """Delete both events."""
    for event in (scene.event, scene.enrol_event):
        _ask(client, "DELETE", f"/v1/events/{event}")


def _make_samples(client: httpx.Client) -> tuple[list[tuple[str, bytes]], list[bytes], list[bytes]]:
    """Pictures out of the sample wheel; the service itself says where their faces are."""

    def find(picture: bytes) -> list[Box]:
        faces = _ask(client, "POST", "/v1/detect?quality=off", content=picture).json()["faces"]
        return [_read_box(face["box"]) for face in faces]

    with tempfile.TemporaryDirectory() as directory:
        samples = prepare_samples(Path(directory))
        group, portrait = samples["group"].read_bytes(), samples["portrait"].read_bytes()
    alone = [picture for picture in cut_one_face_pictures(group, find(group)) if len(find(picture)) == 1]
    if len(alone) <= KNOWN_SAMPLES:
        raise SceneError(f"the service finds one face in {len(alone)} of the sample pictures only")
    known = [(f"guest-{place}", picture) for place, picture in enumerate(alone[:KNOWN_SAMPLES])]
    return known, [*alone[KNOWN_SAMPLES:], frame_portrait(portrait)], [group]


def _read_box(box: dict[str, float]) -> Box:
    return box["x"], box["y"], box["width"], box["height"]


def _read_folder(directory: Path) -> tuple[list[tuple[str, bytes]], list[bytes], list[bytes]]:
    """`DIR/<person>/*.jpg` are known, `DIR/unknown/*` strangers, `DIR/crowd/*` pictures of many."""
    known: list[tuple[str, bytes]] = []
    others: dict[str, list[bytes]] = {"unknown": [], "crowd": []}
    files = sorted(path for path in directory.glob("*/*") if path.suffix.lower() in SUFFIXES)
    for path in files[:: max(1, -(-len(files) // MAX_PICTURES))]:
        name, data = path.parent.name, path.read_bytes()
        if name in others:
            others[name].append(data)
        else:
            known.append((name, data))
    people = sorted({person for person, _ in known})
    if not others["unknown"] and len(people) > 1:
        away = set(people[-max(1, len(people) // 5) :])
        others["unknown"] = [picture for person, picture in known if person in away]
        known = [each for each in known if each[0] not in away]
    if not known or not others["unknown"]:
        raise SceneError(f"{directory} holds too few people: DIR/<person>/<picture>, and two people at least")
    if not others["crowd"]:
        with tempfile.TemporaryDirectory() as samples:
            others["crowd"] = [prepare_samples(Path(samples))["group"].read_bytes()]
    return known, others["unknown"], others["crowd"]


def _import_strangers(client: httpx.Client, event: str, pack_id: str, count: int) -> None:
    """Random unit vectors, which are like nobody."""
    packs = _ask(client, "GET", "/v1/model").json()["packs"]
    dimension = next(pack["dimension"] for pack in packs if pack["pack_id"] == pack_id)
    for first in range(0, count, PEOPLE_PER_IMPORT):
        lines = _make_strangers(first, min(count, first + PEOPLE_PER_IMPORT), pack_id, dimension)
        path = f"/v1/events/{event}/imports?on_duplicate=allow"
        headers = {"Content-Type": "application/x-ndjson"}
        job = _ask(client, "POST", path, content="".join(lines).encode(), headers=headers).json()
        until = time.monotonic() + JOB_TIMEOUT_S
        while job["state"] in ("queued", "running"):
            if time.monotonic() > until:
                raise SceneError(f"the gallery was not imported within {JOB_TIMEOUT_S:g} seconds")
            time.sleep(0.1)
            job = _ask(client, "GET", f"/v1/events/{event}/jobs/{job['id']}").json()
        if job["state"] != "done" or job["rejected"]:
            raise SceneError(f"the gallery was not imported: {job['error'] or job}")


def _make_strangers(first: int, end: int, pack_id: str, dimension: int) -> Iterator[str]:
    rng = np.random.default_rng([7, first])
    for place in range(first, end):
        vector = rng.normal(size=dimension)
        data = (vector / np.linalg.norm(vector)).astype("<f4").tobytes()
        face = {"vector_f32": base64.b64encode(data).decode()}
        yield json.dumps({"person_id": f"stranger-{place}", "pack_id": pack_id, "faces": [face]}) + "\n"


def _ask(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    try:
        answer = client.request(method, path, **options)
    except httpx.TransportError as error:
        raise SceneError(f"{client.base_url} does not answer: {type(error).__name__} {error}") from None
    if not answer.is_success:
        raise SceneError(f"{method} {path.partition('?')[0]}: {answer.status_code} {answer.text[:300]}")
    return answer
