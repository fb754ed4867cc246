"""Ingress: HTTP in and out. Checks who asks, which event and what kind of picture; runs no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from serving.accounts.keys import KeyRing
from serving.accounts.services import make_account_services
from serving.accounts.tokens import TokenVerifier
from serving.api.admission import AdmissionGate
from serving.api.app import create_app
from serving.api.bulk_enrolment import BulkEnroller
from serving.api.rate_limits import RateLimiter
from serving.api.services import Services
from serving.api.statistics import StatisticsRecorder
from serving.audit.trail import AuditTrail
from serving.database import Database
from serving.graph.retention import RetentionJob
from serving.graph.stages import Stages
from serving.graph.sweep import Sweep
from serving.graph.tuning import IngressTuning, read_tuning
from serving.jobs.files import JobFiles
from serving.jobs.jobs import Jobs
from serving.jobs.runner import JobRunner
from serving.packs.calibration import load_calibration
from serving.packs.configured import find_configured_pack
from serving.registry.attendance import CheckIns
from serving.registry.registry import Registry
from serving.registry.retention import Retention
from serving.settings import Settings


@serve.ingress()
class Ingress:
    """Drives each request through the stages. Scale it by the requests that arrive."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        settings: Settings,
        detector: DeploymentHandle[Any],
        embedder: DeploymentHandle[Any],
        matcher: DeploymentHandle[Any],
    ) -> None:
        load = settings.load
        self._stages = Stages(detector, embedder, matcher, max_waiting=load.max_pending_requests)
        database = Database(settings.registry_url)
        registry = Registry(database)
        await registry.open()
        key_ring = KeyRing(settings.keys_dir)
        key_ring.load_or_create()
        pack = find_configured_pack(settings)
        self._sweep = Sweep(registry, self._stages)
        self._sweep.start()
        self._services = Services(
            settings=settings,
            pack=pack,
            calibration=load_calibration(pack),
            stages=self._stages,
            registry=registry,
            accounts=make_account_services(database, key_ring, settings.auth),
            verifier=TokenVerifier(
                key_ring, settings.auth.issuer, settings.auth.audience, leeway_s=settings.auth.leeway_s
            ),
            gate=AdmissionGate(load.max_pending_requests, load.max_pending_bytes),
            statistics=StatisticsRecorder(registry),
            audit=AuditTrail(database, settings.audit),
            rate_limiter=RateLimiter(settings.rate_limits),
            check_ins=CheckIns(database),
            jobs=Jobs(database, JobFiles(settings.jobs_dir), max_unfinished=settings.jobs.max_unfinished),
        )
        self._services.statistics.start()
        self._retention = RetentionJob(
            registry,
            Retention(database),
            self._stages,
            self._services.audit,
            pack_id=pack.id,
            idempotency_s=settings.enrolment.idempotency_s,
            period_s=settings.retention.period_s,
        )
        self._retention.start()

        self._job_runner = JobRunner(
            self._services.jobs,
            registry,
            self._stages,
            BulkEnroller(self._services),
            self._services.audit,
            pack,
            settings,
        )
        self._job_runner.start()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self._services, self._job_runner)

    def reconfigure(self, user_config: Mapping[str, Any] | None) -> None:
        self._stages.tune(read_tuning(IngressTuning, user_config))

    async def check_health(self) -> None:
        """Raises when the registry does not answer."""
        await self._services.registry.check()
