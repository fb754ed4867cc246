from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from serving.audit.records import AuditEntry
from serving.database import Database, sqlite_url
from serving.database.metadata import now_utc
from serving.errors import RollcallError
from serving.jobs.files import JobFiles
from serving.jobs.jobs import Jobs
from serving.jobs.records import Actor, ImportOptions, Job, JobKind, PersonFacts
from serving.jobs.runner import JobRunner
from serving.packs.configured import find_configured_pack
from serving.registry import Registry
from serving.registry.records import Event, NewFace
from serving.settings import Settings
from tests.unit.registry.conftest import NEEDS_POSTGRES, POSTGRES_URL
from tests.unit.served import serve_alone

EVERY_ENGINE = pytest.mark.parametrize(
    "engine", ["sqlite", pytest.param("postgresql", marks=NEEDS_POSTGRES)], indirect=True
)
OPERATOR = Actor("olga", "api_key", "key-1")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.moment = now_utc()

    def __call__(self) -> datetime:
        return self.moment

    def pass_s(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class FakeEnroller:
    """Enrols into the registry alone. A picture says its own fate: `no_face: ...` is rejected.

    `failures` are raised first, one at each call; `before` runs in each call.
    """

    registry: Registry
    pictures: list[tuple[str, bytes]] = field(default_factory=list)
    people: dict[str, PersonFacts] = field(default_factory=dict)
    options: list[ImportOptions] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    before: Callable[[], Awaitable[None]] | None = None
    calls: int = 0
    in_flight: int = 0
    most_in_flight: int = 0

    async def enrol_pictures(
        self, event: Event, person: PersonFacts, pictures: Any, options: ImportOptions, timeout_s: float
    ) -> None:
        self.calls += 1
        self.in_flight += len(pictures)
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.before is not None:
                await self.before()
            if self.failures:
                raise self.failures.pop(0)
            for picture in pictures:
                code, _, _ = picture.partition(b":")
                for kind in RollcallError.__subclasses__():
                    if kind.code == code.decode():
                        raise kind
            faces = [NewFace(f"f{hash(picture) % 10**12}") for picture in pictures]
            await self.registry.begin_enrolment(event.key, person.id, person.details.name, faces)
            await self.registry.finish_enrolment(event.key, person.id, [face.id for face in faces])
            self.pictures += [(person.id, picture) for picture in pictures]
            self.people[person.id] = person
            self.options.append(options)
        finally:
            self.in_flight -= len(pictures)

    async def enrol_vectors(
        self, event: Event, people: Any, options: ImportOptions, timeout_s: float
    ) -> None:
        raise NotImplementedError


class FakeAudit:
    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    async def record(self, entry: AuditEntry) -> bool:
        self.entries.append(entry)
        return True


class HealthyStages:
    def __init__(self) -> None:
        self.failure: RollcallError | None = None

    async def check(self, remaining_s: float) -> None:
        if self.failure is not None:
            raise self.failure


@dataclass
class Place:
    """A registry with an event, its jobs, and runners as they are needed."""

    registry: Registry
    jobs: Jobs
    event: Event
    enroller: FakeEnroller
    audit: FakeAudit
    stages: HealthyStages
    settings: Settings
    clock: Clock

    def make_runner(self, jobs: Jobs | None = None, **overrides: Any) -> JobRunner:
        return JobRunner(
            jobs or self.jobs,
            self.registry,
            serve_alone(overrides.get("stages", self.stages)),
            overrides.get("enroller", self.enroller),
            self.audit,  # type: ignore[arg-type]
            self.settings,
        )

    async def upload(self, data: bytes, kind: JobKind = JobKind.import_pictures, **fields: Any) -> Job:
        """A queued job with this upload."""
        id = f"{len(list(self.settings.jobs_dir.glob('*'))) + 1:032x}"
        name, file = self.jobs.files.create(id, "upload")
        with file:
            file.write(data)
        return await self.jobs.create(self.event.key, kind, OPERATOR, id=id, file=name, **fields)

    async def look(self, job: Job) -> Job:
        return await self.jobs.get(self.event.key, job.id)

    def files(self) -> list[str]:
        """What lies in the jobs directory."""
        return sorted(path.name for path in self.settings.jobs_dir.glob("*"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """By engine a database that is migrated and empty; copying it takes less than migrating another."""
    path = tmp_path_factory.mktemp("jobs") / "empty.sqlite3"
    found = {"sqlite": sqlite_url(path)}
    if POSTGRES_URL:
        name = f"rollcall_test_{uuid.uuid4().hex}"
        await _on_server(f"CREATE DATABASE {name}")
        found["postgresql"] = f"{POSTGRES_URL.rpartition('/')[0]}/{name}"
    for url in found.values():
        database = Database(url)
        await database.open()
        await database.close()
    yield found
    if "postgresql" in found:
        await _on_server(f"DROP DATABASE {name} WITH (FORCE)")


async def _on_server(statement: str) -> None:
    server = await asyncpg.connect(POSTGRES_URL)
    await server.execute(statement)
    await server.close()


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """SQLite, unless a test asks for EVERY_ENGINE."""
    return getattr(request, "param", "sqlite")


@pytest_asyncio.fixture
async def database_url(engine: str, migrated: dict[str, str], tmp_path: Path) -> AsyncIterator[str]:
    """The URL of an empty database."""
    if engine == "sqlite":
        shutil.copy(migrated["sqlite"].removeprefix("sqlite:///"), tmp_path / "registry.sqlite3")
        yield sqlite_url(tmp_path / "registry.sqlite3")
        return
    server, _, template = migrated["postgresql"].rpartition("/")
    name = f"rollcall_test_{uuid.uuid4().hex}"
    await _on_server(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield f"{server}/{name}"
    await _on_server(f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture
async def place(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr("serving.jobs.patience.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("serving.jobs.patience.LONGEST_PAUSE_S", 0.004)
    monkeypatch.setattr("serving.jobs.reporting.REPORT_PERIOD_S", 0.02)
    monkeypatch.setattr("serving.jobs.runner.POLL_S", 0.02)
    settings = Settings(_env_file=None, data_dir=tmp_path / "data")  # type: ignore[call-arg]
    database = Database(database_url, migrate_on_open=False)
    registry = Registry(database)
    await registry.open()
    clock = Clock()
    jobs = Jobs(database, JobFiles(settings.jobs_dir), max_unfinished=3, clock=clock)
    event = await registry.create_event("gala", None, find_configured_pack(settings).id)
    yield Place(registry, jobs, event, FakeEnroller(registry), FakeAudit(), HealthyStages(), settings, clock)
    await registry.close()
