"""What of the erased is left in any file of data_dir, once its time is over: a byte scan.

The application, its registry and audit trail are real, and the gallery is the embedded engine's files. Names
are searched as text and as UTF-16, vectors as float32 and float64 of either order, as CBOR and as base64.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import struct
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from sqlalchemy import Connection, text

from serving.database import compaction, sqlite_url
from serving.gallery import FaceRecord, Probe
from serving.gallery.embedded import EmbeddedGallery, InProcessGallery
from serving.graph.messages import Candidate, Decision
from serving.graph.sweep import Sweep
from serving.operations.archive import BackupFile, read_rows
from serving.operations.backing_up import back_up
from serving.settings import Settings
from tests.unit.api import conftest as api_conftest
from tests.unit.api.api_fakes import FakeStages, picture
from tests.unit.api.conftest import (  # noqa: F401
    Api,
    cheap_passwords,
    empty_registry,
    make_api,
    ring,
    shared_app,
)

PEOPLE = 30
NAME = "Zdeňka Příjmení"
PERSON = "zdenka-7f3a91"
OTHER_PERSON = "bystander-55e1"
EVENT = "doomed-event-c4d2"
ACCOUNT = "zdenka.account@example.org"


def embed_name(name: str) -> np.ndarray:
    """A vector of a person's own, none of whose numbers is anybody else's."""
    vector = np.random.default_rng(list(name.encode())).normal(size=128).astype(np.float32)
    return vector / np.linalg.norm(vector)


class EmbeddedStages(FakeStages):
    """The fake detector and embedder, over the real files of an embedded gallery."""

    def __init__(self, calibration: Any, gallery: InProcessGallery) -> None:
        super().__init__(calibration)
        self._real = gallery

    async def embed(self, crops: Any, remaining_s: float) -> Any:
        names = [self._specs[int(crop[0, 0, 0]) * 256 + int(crop[0, 0, 1])] for crop in crops]
        return np.stack([embed_name(name) for name in names])

    async def search(self, event_key, vectors, top_k, threshold, remaining_s, person_id=None):  # type: ignore[no-untyped-def]
        hits = await self._real.search([Probe(event_key, each, top_k, person_id) for each in vectors])
        return [
            Decision(
                bool(found) and found[0].cosine >= threshold,
                [Candidate(hit.person, hit.face, hit.cosine, 0.0) for hit in found],
            )
            for found in hits
        ]

    async def enrol(self, faces: Sequence[FaceRecord], remaining_s: float) -> None:
        await self._real.upsert(faces)

    async def faces_of(self, event_key, person_id, remaining_s, *, pack_id=None):  # type: ignore[no-untyped-def]
        return await self._real.faces_of(event_key, person_id)

    async def read_faces(self, event_key, after, limit, remaining_s, person_id=None):  # type: ignore[no-untyped-def]
        return await self._real.read_faces(event_key, after, limit, person_id)

    async def erase_faces(self, event_key, faces, remaining_s, *, pack_id=None):  # type: ignore[no-untyped-def]
        await self._real.erase_faces(event_key, faces)

    async def erase_person(self, event_key, person_id, remaining_s, *, pack_id=None):  # type: ignore[no-untyped-def]
        await self._real.erase_person(event_key, person_id)

    async def erase_event(self, event_key, remaining_s, *, pack_id=None):  # type: ignore[no-untyped-def]
        await self._real.erase_event(event_key)


def text_needles(text: str) -> list[bytes]:
    return [text.encode(), text.encode("utf-16-le"), text.casefold().encode(), text.encode("unicode_escape")]


def vector_needles(vector: np.ndarray) -> list[bytes]:
    """Eight numbers in a row that are not zero, in every form in which they could lie in a file."""
    start = int(np.flatnonzero(vector)[0])
    part = vector[start : start + 8].astype(np.float64)
    raw = part.astype("<f4").tobytes()
    return [
        raw,
        part.astype(">f4").tobytes(),
        part.astype("<f8").tobytes(),
        part.astype(">f8").tobytes(),
        b"".join(b"\xfa" + struct.pack(">f", value) for value in part),  # CBOR
        b"".join(b"\xfb" + struct.pack(">d", value) for value in part),
        base64.b64encode(vector.astype("<f4").tobytes())[8:40],
    ]


def scan(directory: Path, needles: Sequence[bytes]) -> list[str]:
    """The files that hold any of these."""
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file() and any(needle in path.read_bytes() for needle in needles):
            found.append(str(path.relative_to(directory)))
    return found


def without_audit_trail(path: Path, copy: Path) -> bytes:
    """The registry's file as it would be without the entries of the audit trail, which are to stay."""
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("DELETE FROM audit_entry")
        connection.execute("VACUUM")
    return copy.read_bytes()


class World:
    """The application, and the files it leaves."""

    def __init__(self, api: Api, gallery: InProcessGallery, registry_path: Path, tmp_path: Path) -> None:
        self.api = api
        self.gallery = gallery
        self.registry_path = registry_path
        self.data_dir = api.services.settings.data_dir
        self.tmp_path = tmp_path

    async def erase_from_disk(self) -> None:
        """What the service does by itself an hour later."""
        self.gallery.core.compact()
        await self.api.services.audit.stop()
        assert compaction.compact_if_due(self.registry_path, after_s=0.0)

    def left_in_files(self, needles: Sequence[bytes]) -> list[str]:
        found = scan(self.data_dir, needles)
        return [name for name in found if not name.startswith("registry")]

    def left_in_registry(self, needles: Sequence[bytes]) -> bool:
        clean = without_audit_trail(self.registry_path, self.tmp_path / "copy.sqlite3")
        return any(needle in clean for needle in needles)


@pytest_asyncio.fixture
async def world(make_api: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:  # noqa: F811
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    registry_path = data_dir / "registry.sqlite3"
    core = EmbeddedGallery(data_dir / "gallery", "starter-int8-mirror", 128)
    core.open()
    gallery = InProcessGallery(core)

    def place(made: Path) -> str:
        made.rename(registry_path)
        return sqlite_url(registry_path)

    monkeypatch.setattr(api_conftest, "FakeStages", lambda calibration: EmbeddedStages(calibration, gallery))
    monkeypatch.setattr(api_conftest, "sqlite_url", place)
    yield World(await make_api(), gallery, registry_path, tmp_path)
    core.close()


async def fill(api: Api) -> None:
    """Many people, so that pages are split and joined; among them those to be erased."""
    for event in ("gala", EVENT):
        await api.create_event(event)
    for number in range(PEOPLE):
        await api.enrol(f"guest-{number:03d}", picture(f"guest{number}"), name=f"Guest number {number}")
    answer = await api.client.post(
        "/v1/events/gala/people",
        files=[("picture", ("p.png", picture("zdenka"), "image/png"))],
        data={"person_id": PERSON, "name": NAME, "metadata": json.dumps({"note": NAME})},
        headers={"Idempotency-Key": "once"},
    )
    assert answer.status_code == 201, answer.text
    await api.enrol(OTHER_PERSON, picture("bystander"), event=EVENT, name=NAME)
    assert await api.outcomes(picture("zdenka")) == [("match", PERSON)]
    checked = await api.client.post(
        "/v1/events/gala/check-ins", content=picture("zdenka"), headers={"Content-Type": "image/png"}
    )
    assert checked.status_code == 200, checked.text


async def test_nothing_of_the_erased_is_left_but_what_the_pages_say(
    world: World,
    cheap_passwords: None,  # noqa: F811
) -> None:
    api, vectors = world.api, vector_needles(embed_name("zdenka")) + vector_needles(embed_name("bystander"))
    await fill(api)
    signed_up = await api.client.post("/v1/accounts", json={"name": ACCOUNT, "password": "correct horse 9"})
    account_id = signed_up.json()["id"]
    link = {"event_id": "gala", "person_id": PERSON}
    assert (await api.client.put(f"/v1/accounts/{account_id}/person", json=link)).status_code == 200
    await api.services.statistics.stop()
    world.gallery.core.flush()
    names = text_needles(NAME)
    # The scan finds what is there: without this, all below would prove nothing.
    assert world.left_in_files(vectors)
    assert world.left_in_registry(names)
    assert world.left_in_registry(text_needles(PERSON))
    assert world.left_in_registry(text_needles(ACCOUNT))

    assert (
        await api.client.delete(f"/v1/accounts/{account_id}")
    ).status_code == 204  # and the person it owns
    assert (await api.client.delete(f"/v1/events/{EVENT}")).status_code == 204
    await forget_plans(world)
    await world.erase_from_disk()

    assert world.left_in_files(vectors + names + text_needles(PERSON) + text_needles(OTHER_PERSON)) == []
    for needles in (vectors, names, *map(text_needles, (PERSON, OTHER_PERSON, EVENT, ACCOUNT))):
        assert not world.left_in_registry(needles), needles[0]
    assert scan(world.data_dir, vectors + names) == [], (
        "names and vectors are in no file, audit trail included"
    )
    # What stays, and docs/privacy.md and docs/audit.md say so: the trail's ids and the accounts that acted.
    assert scan(world.data_dir, text_needles(PERSON)) == ["registry.sqlite3"]
    assert (await api.outcomes(picture("guest3"))) == [("match", "guest-003")]

    world.gallery.core.close()  # as a service that has stopped: the backup opens the files itself
    backup = await back_up(settings_of(world), world.tmp_path / "safe" / "backup", key=None)
    found = [
        row for part in BackupFile(backup.path).parts() if part.name.endswith(".gz") for row in rows_of(part)
    ]
    assert len(found) > PEOPLE
    for needles in (vectors, names, text_needles(OTHER_PERSON)):
        assert not any(needle in row for needle in needles for row in found)


def rows_of(part: Any) -> list[bytes]:
    """Its rows as text and, of vectors, as bytes; not those of the audit trail, whose ids stay."""
    if part.name.startswith("registry/audit_entry"):
        return []
    rows = [json.dumps(row, ensure_ascii=False).encode() for row in read_rows(part)]
    if part.name.startswith("vectors/"):
        rows += [base64.b64decode(row[3]) for row in read_rows(part)]
    return rows


async def forget_plans(world: World) -> None:
    """Carry out the erasures that are planned for a quarter of an hour later."""

    def make_due(connection: Connection) -> None:
        connection.execute(text("UPDATE erasure SET due_at = '2020-01-01 00:00:00.000000'"))

    registry = world.api.registry
    await registry._database.write(make_due)
    await Sweep(registry, world.api.services.lines).sweep_once()
    assert await registry.erasures.due() == []


def settings_of(world: World) -> Settings:
    return world.api.services.settings
