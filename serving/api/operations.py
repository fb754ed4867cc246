"""Health, readiness and what model serves."""

from __future__ import annotations

import time

from fastapi import APIRouter

import serving
from serving.api.access import IdentityOf
from serving.api.envelope import problems
from serving.api.schemas import CalibrationPoint, Health, ModelView
from serving.api.services import Services, ServicesOf
from serving.errors import StageUnavailable

router = APIRouter(tags=["operations"])

READY_TIMEOUT_S = 5.0
READY_MEMORY_S = 1.0
SHOWN_FALSE_MATCH_RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


@router.get("/healthz", summary="Is this process alive?")
async def get_health() -> Health:
    """Answers without asking anything else; needs no token."""
    return Health(status="ok")


@router.get("/readyz", summary="Can a picture be recognised now?", responses=problems(StageUnavailable))
async def get_readiness(services: ServicesOf) -> Health:
    """Asks every stage and store; needs no token. The answer is remembered for a second."""
    await readiness.check(services)
    return Health(status="ok")


@router.get("/v1/model", summary="Which model serves?")
async def get_model(services: ServicesOf, identity: IdentityOf) -> ModelView:
    """The model pack, its licence, its default threshold, and what other thresholds cost."""
    pack = services.pack
    calibration = services.calibration
    return ModelView(
        pack_id=pack.id,
        title=pack.title,
        licence=pack.licence,
        dimension=pack.dimension,
        default_threshold=calibration.default_threshold,
        calibration=[
            CalibrationPoint(false_match_rate=rate, threshold=round(calibration.threshold_for(rate), 5))
            for rate in SHOWN_FALSE_MATCH_RATES
            if rate >= calibration.floor
        ],
        version=serving.__version__,
    )


class Readiness:
    """Remembers a good answer, so that probes from anywhere cost one check a second at most."""

    def __init__(self) -> None:
        self._good_until = 0.0

    async def check(self, services: Services) -> None:
        """Raise StageUnavailable unless every part answers."""
        if time.monotonic() < self._good_until:
            return
        await services.stages.check(READY_TIMEOUT_S)
        await services.registry.list_events(None, 1)
        self._good_until = time.monotonic() + READY_MEMORY_S


readiness = Readiness()
