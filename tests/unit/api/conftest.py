from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import Connection, insert

from serving.accounts import passwords
from serving.accounts.keys import KeyRing
from serving.accounts.services import make_account_services
from serving.accounts.tables import account
from serving.accounts.tokens import TokenIssuer, TokenVerifier
from serving.api.admission import AdmissionGate
from serving.api.app import create_app
from serving.api.rate_limits import RateLimiter
from serving.api.routes.operations import Readiness
from serving.api.services import Services
from serving.api.statistics import StatisticsRecorder
from serving.audit.trail import AuditTrail
from serving.database import Database, sqlite_url
from serving.database.metadata import now_utc
from serving.errors import RateLimited, SignInFailed
from serving.graph.lines import Lines, ServedPack, configured_threshold
from serving.jobs.files import JobFiles
from serving.jobs.jobs import Jobs
from serving.packs.calibration import load_calibration
from serving.packs.configured import find_configured_pack
from serving.registry.attendance import CheckIns
from serving.registry.registry import Registry
from serving.settings import Settings, load_settings
from tests.unit.api.api_fakes import FakeLiveness, FakeStages

ISSUER, AUDIENCE = "rollcall", "rollcall"
TESTER_ID = "0" * 32
"""Of the account `tester`, an administrator, whose tokens may say a lesser role."""


def insert_tester(connection: Connection) -> None:
    values = {"id": TESTER_ID, "name": "tester", "role": "administrator", "created_at": now_utc()}
    connection.execute(insert(account), values)


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return KeyRing(tmp_path_factory.mktemp("keys") / "ring").load_or_create()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file with one account; each test gets a copy, for migrating takes longer than it."""
    path = tmp_path_factory.mktemp("registry") / "empty.sqlite3"
    database = Database(sqlite_url(path))
    registry = Registry(database)
    await registry.open()
    await database.write(insert_tester)
    await registry.close()
    return path


@dataclass
class Api:
    """The application over fake stages, and a client of it."""

    app: FastAPI
    services: Services
    stages: FakeStages
    registry: Registry
    client: httpx.AsyncClient
    token_for: Callable[..., str]

    @property
    def liveness(self) -> FakeLiveness:
        """The stage, where `liveness.model` is set."""
        return self.services.liveness  # type: ignore[return-value]

    @property
    def line(self) -> ServedPack:
        """Of the default pack."""
        return self.services.lines.default

    def client_for(self, role: str = "administrator", events: list[str] | None = None) -> httpx.AsyncClient:
        """A client with a token of its own."""
        return self.anonymous(Authorization=f"Bearer {self.token_for(role, events)}")

    def anonymous(self, **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(
            transport=transport, base_url="http://rollcall", headers=headers, trust_env=False
        )

    async def create_event(self, event: str = "gala", **fields: Any) -> str:
        """Create an event; returns its key in the gallery."""
        answer = await self.client.post("/v1/events", json={"id": event, **fields})
        assert answer.status_code == 201, answer.text
        return (await self.registry.get_event(event)).key

    async def enrol(
        self, person: str, *pictures: bytes, event: str = "gala", name: str | None = None
    ) -> dict:
        files = [("picture", ("p.png", each, "image/png")) for each in pictures]
        data = {"person_id": person, **({"name": name} if name else {})}
        answer = await self.client.post(f"/v1/events/{event}/people", files=files, data=data)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def recognise(self, data: bytes, event: str = "gala", **query: Any) -> dict:
        answer = await self.client.post(
            f"/v1/events/{event}/recognise", content=data, params=query, headers={"Content-Type": "image/png"}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def outcomes(self, data: bytes, event: str = "gala", **query: Any) -> list[tuple[str, str | None]]:
        """(outcome, person id) of each face."""
        faces = (await self.recognise(data, event, **query))["faces"]
        return [(face["outcome"], face["person"] and face["person"]["person_id"]) for face in faces]


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hashes that take no time, for tests that are not about them."""
    cheap = {"argon2__memory_cost": 64, "argon2__rounds": 1, "argon2__parallelism": 1}
    monkeypatch.setattr(passwords, "_context", passwords._context.copy(**cheap))
    passwords._make_stand_in.cache_clear()
    yield
    passwords._make_stand_in.cache_clear()


@pytest.fixture(scope="session")
def shared_app() -> FastAPI:
    """Building the routes takes longer than most tests; the services are put into its state by each test."""
    return create_app(SimpleNamespace(settings=load_settings()))  # type: ignore[arg-type]


@pytest_asyncio.fixture
async def make_api(
    empty_registry: Path, tmp_path: Path, ring: KeyRing, shared_app: FastAPI
) -> AsyncIterator[Callable[..., Any]]:
    """Builds an `Api`; keyword arguments are sections of the settings."""
    opened: list[Api] = []

    async def make(**sections: dict[str, Any]) -> Api:
        settings = Settings(_env_file=None, data_dir=tmp_path / "data", **sections)  # type: ignore[arg-type]
        pack = find_configured_pack(settings)
        calibration = load_calibration(pack)
        path = tmp_path / f"registry{len(opened)}.sqlite3"
        shutil.copy(empty_registry, path)
        database = Database(sqlite_url(path), migrate_on_open=False)
        registry = Registry(database)
        await registry.open()
        stages = FakeStages(calibration)
        threshold = configured_threshold(settings.recognition, calibration, is_default=True)
        load = settings.load
        services = Services(
            settings=settings,
            lines=Lines([ServedPack(pack, calibration, stages, threshold)]),  # type: ignore[arg-type]
            registry=registry,
            accounts=make_account_services(database, ring, settings.auth),
            verifier=TokenVerifier(ring, ISSUER, AUDIENCE),
            gate=AdmissionGate(load.max_pending_requests, load.max_pending_bytes),
            statistics=StatisticsRecorder(registry),
            audit=AuditTrail(database, settings.audit),
            rate_limiter=RateLimiter(settings.rate_limits, settings.web.trusted_proxies),
            check_ins=CheckIns(database),
            jobs=Jobs(database, JobFiles(settings.jobs_dir), max_unfinished=settings.jobs.max_unfinished),
            liveness=None if settings.liveness.model is None else FakeLiveness(),  # type: ignore[arg-type]
        )
        shared_app.state.services = services
        shared_app.state.readiness = Readiness(services)
        issuer = TokenIssuer(ring, ISSUER, AUDIENCE)

        def token_for(
            role: str = "administrator", events: list[str] | None = None, lifetime_s: int = 600
        ) -> str:
            return issuer.issue(TESTER_ID, role, events, lifetime_s)

        api = Api(shared_app, services, stages, registry, None, token_for)  # type: ignore[arg-type]
        api = replace(api, client=api.client_for())
        opened.append(api)
        return api

    yield make
    for api in opened:
        await api.client.aclose()
        await api.services.audit.stop()
        await api.registry.close()


@pytest_asyncio.fixture
async def api(make_api: Callable[..., Any]) -> Api:
    """The application with the default settings."""
    return await make_api()


@pytest_asyncio.fixture
async def gala(api: Api) -> Api:
    """The application with an empty event `gala`."""
    await api.create_event()
    return api


class Limiter:
    """Refuses a name after three failures."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    @contextlib.asynccontextmanager
    async def attempt_sign_in(
        self, request: Any, name: str, failures: type[Exception] = SignInFailed
    ) -> AsyncIterator[None]:
        if self.failures.count(name) >= 3:
            raise RateLimited
        try:
            yield
        except failures:
            self.failures.append(name)
            raise


@pytest.fixture
def limiter(monkeypatch: pytest.MonkeyPatch) -> Limiter:
    made = Limiter()
    monkeypatch.setattr(RateLimiter, "attempt_sign_in", staticmethod(made.attempt_sign_in))
    return made
