"""What the routes work with: built once by the ingress, found by every route through `get_services`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from serving.accounts.services import AccountServices
from serving.accounts.tokens import TokenVerifier
from serving.api.admission import AdmissionGate
from serving.api.rate_limits import RateLimiter
from serving.api.statistics import StatisticsRecorder
from serving.audit.trail import AuditTrail
from serving.graph.lines import Lines, ServedPack
from serving.graph.liveness import LivenessStage
from serving.jobs.jobs import Jobs
from serving.registry.attendance import CheckIns
from serving.registry.records import Event
from serving.registry.registry import Registry
from serving.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """The parts behind the routes.

    Attributes:
        liveness: None where no liveness model is configured.
    """

    settings: Settings
    lines: Lines
    registry: Registry
    accounts: AccountServices
    verifier: TokenVerifier
    gate: AdmissionGate
    statistics: StatisticsRecorder
    audit: AuditTrail
    rate_limiter: RateLimiter
    check_ins: CheckIns
    jobs: Jobs
    liveness: LivenessStage | None = None

    def line_of(self, event: Event) -> ServedPack:
        """The line of the event's pack; raises PackMismatch when that does not serve."""
        return self.lines.of(event.pack_id)


async def get_services(request: Request) -> Services:
    """The `Services` of the application that serves `request`; async, since FastAPI gives others a thread."""
    services: Services = request.app.state.services
    return services


ServicesOf = Annotated[Services, Depends(get_services)]
