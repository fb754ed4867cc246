"""What an ingress replica is made of; importing it takes longer than all other stages together."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
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
from serving.api.stream import wire
from serving.audit.trail import AuditTrail
from serving.database import Database
from serving.deployments.line_handles import LineHandles
from serving.deployments.metrics import join_metrics
from serving.deployments.store_wait import wait_for_store
from serving.graph.dormant_events import describe_dormant_events
from serving.graph.lines import Lines, ServedPack, configured_threshold
from serving.graph.liveness import LivenessStage
from serving.graph.retention import RetentionJob
from serving.graph.stages import Stages
from serving.graph.store_gauges import StoreGauges
from serving.graph.sweep import Sweep
from serving.graph.tuning import IngressTuning, read_tuning
from serving.jobs.files import JobFiles
from serving.jobs.jobs import Jobs
from serving.jobs.runner import JobRunner
from serving.packs.configured import find_configured_pack, load_pack_calibration
from serving.packs.configured_liveness import decide_liveness_threshold, require_configured_liveness
from serving.registry.attendance import CheckIns
from serving.registry.registry import Registry
from serving.registry.retention import Retention
from serving.settings import Settings
from serving.telemetry import recording

logger = logging.getLogger("ray.serve")


class IngressParts:
    """Services behind the routes, and what an ingress replica does beside answering."""

    async def open(
        self,
        settings: Settings,
        lines: Sequence[LineHandles],
        liveness: DeploymentHandle[Any] | None,
    ) -> None:
        """Reach the stores and start what runs by itself."""
        join_metrics(settings)
        load = settings.load
        self._lines = Lines([_make_line(settings, *line) for line in lines])
        self._liveness = None if liveness is None else _make_liveness(settings, liveness)
        database = Database(settings.registry_url, settings.database)
        registry = Registry(database)
        await wait_for_store("registry", registry.open)
        for line in describe_dormant_events(await registry.migrations.packs(), self._lines.pack_ids):
            logger.warning("%s", line)
        key_ring = KeyRing(settings.keys_dir)
        key_ring.load_or_create()
        self._sweep = Sweep(registry, self._lines)
        self._sweep.start()
        self._services = Services(
            settings=settings,
            lines=self._lines,
            registry=registry,
            accounts=make_account_services(database, key_ring, settings.auth),
            verifier=TokenVerifier(
                key_ring, settings.auth.issuer, settings.auth.audience, leeway_s=settings.auth.leeway_s
            ),
            gate=AdmissionGate(load.max_pending_requests, load.max_pending_bytes),
            statistics=StatisticsRecorder(registry),
            audit=AuditTrail(database, settings.audit),
            rate_limiter=RateLimiter(settings.rate_limits, settings.web.trusted_proxies),
            check_ins=CheckIns(database),
            jobs=Jobs(database, JobFiles(settings.jobs_dir), max_unfinished=settings.jobs.max_unfinished),
            liveness=self._liveness,
        )
        self._services.statistics.start()
        self._retention = RetentionJob(
            registry,
            Retention(database),
            self._lines,
            self._services.audit,
            idempotency_s=settings.enrolment.idempotency_s,
            period_s=settings.retention.period_s,
            keep_erasures_days=settings.backup.keep_erasures_days,
        )
        self._retention.start()
        recording.begin_ingress([line.pack for line in self._lines])
        self._store_gauges = StoreGauges(database, self._lines.pack_ids)
        if settings.metrics.enabled:
            self._store_gauges.start()

        self._job_runner = JobRunner(
            self._services.jobs,
            registry,
            self._lines,
            BulkEnroller(self._services),
            self._services.audit,
            settings,
        )
        self._job_runner.start()

    def make_app(self) -> FastAPI:
        """The routes over these parts."""
        wire.install()  # Serve starts its HTTP server with what this returns
        return create_app(self._services, self._job_runner)

    def tune(self, user_config: Mapping[str, Any] | None) -> None:
        """Take over the numbers of the serve config that change live."""
        tuning = read_tuning(IngressTuning, user_config)
        self._lines.tune(tuning)
        if self._liveness is not None:
            self._liveness.tune(tuning)

    async def check(self) -> None:
        """Raise when the registry does not answer."""
        await self._services.registry.check()


def _make_liveness(settings: Settings, handle: DeploymentHandle[Any]) -> LivenessStage:
    pack = require_configured_liveness(settings)
    return LivenessStage(
        handle,
        pack,
        threshold=decide_liveness_threshold(settings, pack),
        max_waiting=settings.load.max_pending_requests,
    )


def _make_line(
    settings: Settings,
    pack_id: str,
    detector: DeploymentHandle[Any],
    embedder: DeploymentHandle[Any],
    matcher: DeploymentHandle[Any],
) -> ServedPack:
    is_default = pack_id == find_configured_pack(settings).id
    pack = find_configured_pack(settings, pack_id)
    calibration = load_pack_calibration(settings, pack)
    stages = Stages(
        detector, embedder, matcher, max_waiting=settings.load.max_pending_requests, pack_id=pack.id
    )
    threshold = configured_threshold(settings.recognition, calibration, is_default=is_default)
    return ServedPack(pack, calibration, stages, threshold)
