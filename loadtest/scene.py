"""Makes what a load needs on a service: pictures, an event, a gallery, enrolled people; and removes it."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from loadtest.kinds import Scene
from loadtest.pictures import Box, cut_one_face_pictures, frame_portrait
from rollcall_client import Client, RollcallError
from rollcall_client.models import EventView
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


@contextmanager
def open_client(url: str, token: str) -> Iterator[Client]:
    """A client of the service, while the block runs.

    Raises:
        SceneError: what the client raises within the block; there is no token, or no such URL.
    """
    if not token:
        raise SceneError("a token is needed: ROLLCALL_TOKEN or --token; `rollcall token NAME` prints one")
    try:
        with Client(url, token=token, timeout_s=TIMEOUT_S) as client:
            yield client
    except (RollcallError, ValueError) as error:
        raise SceneError(f"{url}: {error}") from None


def build_scene(client: Client, *, pictures: Path | None, gallery: int) -> Scene:
    """Two events: one with `gallery` strangers and everybody known, one to enrol people at.

    They are kept for a day at most, should nobody live to remove them.

    Raises:
        SceneError: there are too few pictures.
        RollcallError: the service refuses something, or does not answer.
    """
    known, unknown, crowd = _read_folder(pictures) if pictures else _make_samples(client)
    made: list[EventView] = []
    try:
        for name in ("load test", "load test, enrolment"):
            made.append(client.events.create(name=name, quality_level="off", retention_days=1))
        event = made[0].id
        _import_strangers(client, event, made[0].pack_id, gallery)
        seen: set[str] = set()
        for person, picture in known:
            if person not in seen:
                client.people.enrol(event, picture, person_id=person, on_duplicate="allow")
                seen.add(person)
    except BaseException:
        for each in made:
            with suppress(RollcallError):
                client.events.delete(each.id)
        raise
    return Scene(event, made[1].id, known, unknown, crowd)


def remove_scene(client: Client, scene: Scene) -> None:
    """Delete both events."""
    for event in (scene.event, scene.enrol_event):
        client.events.delete(event)


def _make_samples(client: Client) -> tuple[list[tuple[str, bytes]], list[bytes], list[bytes]]:
    """Pictures out of the sample wheel; the service itself says where their faces are."""

    def find(picture: bytes) -> list[Box]:
        boxes = [face.box for face in client.analysis.detect(picture, quality="off").faces]
        return [(box.x, box.y, box.width, box.height) for box in boxes]

    with tempfile.TemporaryDirectory() as directory:
        samples = prepare_samples(Path(directory))
        group, portrait = samples["group"].read_bytes(), samples["portrait"].read_bytes()
    alone = [picture for picture in cut_one_face_pictures(group, find(group)) if len(find(picture)) == 1]
    if len(alone) <= KNOWN_SAMPLES:
        raise SceneError(f"the service finds one face in {len(alone)} of the sample pictures only")
    known = [(f"guest-{place}", picture) for place, picture in enumerate(alone[:KNOWN_SAMPLES])]
    return known, [*alone[KNOWN_SAMPLES:], frame_portrait(portrait)], [group]


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


def _import_strangers(client: Client, event: str, pack_id: str, count: int) -> None:
    """Random unit vectors, which are like nobody."""
    dimension = next(pack.dimension for pack in client.operations.model().packs if pack.pack_id == pack_id)
    for first in range(0, count, PEOPLE_PER_IMPORT):
        lines = _make_strangers(first, min(count, first + PEOPLE_PER_IMPORT), pack_id, dimension)
        job = client.jobs.import_people(
            event, "".join(lines).encode(), content_type="application/x-ndjson", on_duplicate="allow"
        )
        done = client.wait_for_job(event, job.id, poll_s=0.1, timeout_s=JOB_TIMEOUT_S)
        if done.rejected:
            raise SceneError(f"the gallery was not imported: {done.rejected} were rejected")


def _make_strangers(first: int, end: int, pack_id: str, dimension: int) -> Iterator[str]:
    rng = np.random.default_rng([7, first])
    for place in range(first, end):
        vector = rng.normal(size=dimension)
        data = (vector / np.linalg.norm(vector)).astype("<f4").tobytes()
        face = {"vector_f32": base64.b64encode(data).decode()}
        yield json.dumps({"person_id": f"stranger-{place}", "pack_id": pack_id, "faces": [face]}) + "\n"
