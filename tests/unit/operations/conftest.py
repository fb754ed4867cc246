"""A service's data without the service: registry on each engine, a real embedded gallery, keys, jobs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.accounts.accounts import Accounts
from serving.accounts.keys import KeyRing
from serving.audit.records import AuditEntry
from serving.audit.store import add_entries
from serving.database import Database
from serving.gallery import FaceRecord, Probe
from serving.gallery.embedded import EmbeddedGallery, InProcessGallery
from serving.operations.doctor.checks import Subject
from serving.packs.configured import find_configured_pack
from serving.registry import Registry
from serving.registry.records import NewFace
from serving.settings import Settings
from tests.unit.registry.conftest import database_url  # noqa: F401


def vector_of(seed: int, dimension: int = 128) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=dimension).astype(np.float32)
    return vector / np.linalg.norm(vector)


@dataclass
class Data:
    """The data of a service that is not running."""

    settings: Settings

    @property
    def pack(self) -> Any:
        return find_configured_pack(self.settings)

    def open_gallery(self) -> InProcessGallery:
        core = EmbeddedGallery(self.settings.gallery_dir, self.pack.id, self.pack.dimension, lock_wait_s=5)
        core.open()
        return InProcessGallery(core)

    async def with_registry(self, work: Callable[[Registry, Database], Any]) -> Any:
        database = Database(self.settings.registry_url)
        registry = Registry(database)
        await registry.open()
        try:
            return await work(registry, database)
        finally:
            await registry.close()

    async def fill(self, people: int = 5, event: str = "gala") -> str:
        """An event with so many people of two faces each, an account, an audit entry; the event's key."""
        gallery = self.open_gallery()
        KeyRing(self.settings.keys_dir).load_or_create()

        async def work(registry: Registry, database: Database) -> str:
            created = await registry.create_event(event, "Gala", self.pack.id, {"threshold": 0.5})
            for number in range(people):
                faces = [f"f{number}a", f"f{number}b"]
                await self.enrol(registry, gallery, created.key, f"p{number}", faces, f"Näme {number}")
            accounts = Accounts(database)
            if await accounts.find("ada@example.org") is None:
                await accounts.create_administrator("ada@example.org", "correct horse")
            actor = "ada@example.org"
            entry = AuditEntry("account", "people.enrol", actor=actor, event_key=created.key, person_id="p0")
            await database.write(add_entries, [entry])
            return created.key

        try:
            return await self.with_registry(work)
        finally:
            await gallery.close()

    async def enrol(
        self, registry: Registry, gallery: Any, key: str, person: str, faces: list[str], name: str
    ) -> None:
        await registry.begin_enrolment(
            key, person, name, [NewFace(face, 0.9) for face in faces], metadata={"seat": 1.5, "vip": True}
        )
        await gallery.upsert(
            [FaceRecord(key, person, face, vector_of(hash_of(key, face)), 1.7e9 + 0.125) for face in faces]
        )
        await registry.finish_enrolment(key, person, faces)

    async def find(self, key: str, face: str) -> str | None:
        """Who has this face, by a search."""
        gallery = self.open_gallery()
        try:
            [hits] = await gallery.search([Probe(key, vector_of(hash_of(key, face)), 1)])
        finally:
            await gallery.close()
        return hits[0].person if hits and hits[0].cosine > 0.999 else None


def hash_of(key: str, face: str) -> int:
    return int.from_bytes(f"{key[:4]}{face}".encode(), "big") % 2**32


@pytest.fixture
def make_data(tmp_path: Path) -> Callable[..., Data]:
    """Builds `Data` in a directory of its own; keyword arguments are settings."""

    def make(name: str = "data", **settings: Any) -> Data:
        return Data(Settings(_env_file=None, data_dir=tmp_path / name, **settings))  # type: ignore[call-arg]

    return make


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    """A place for backups that nobody else can look into."""
    path = tmp_path / "backups"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def subject(tmp_path: Path, open_folder: Path) -> Subject:
    """A place in which all is well, with a kernel of its own and a directory that others may enter."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    settings = Settings(_env_file=None, data_dir=data, cache_dir=tmp_path / "cache")  # type: ignore[call-arg]
    proc, sys_ = tmp_path / "proc", tmp_path / "sys"
    (proc / "self").mkdir(parents=True)
    (proc / "net").mkdir()
    (proc / "self" / "mountinfo").write_text("29 1 253:0 / / rw - ext4 /dev/dm-0 rw\n")
    (proc / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\n")
    device = sys_ / "dev" / "block" / "253:0" / "dm"
    device.mkdir(parents=True)
    (device / "uuid").write_text("CRYPT-LUKS2-0123-data")
    return Subject(settings, proc=proc, sys=sys_, directory=open_folder)
