"""Health, readiness and what model serves."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request

import serving
from serving.api.access import IdentityOf
from serving.api.envelope import problems
from serving.api.schemas.operations import CalibrationPoint, Health, LivenessPackView, ModelView, PackView
from serving.api.services import Services, ServicesOf
from serving.errors import RollcallError, StageUnavailable
from serving.graph.lines import ServedPack
from serving.graph.liveness import LivenessStage
from serving.vision.liveness_modes import LivenessMode

router = APIRouter(tags=["operations"])

READY_TIMEOUT_S = 5.0
READY_MEMORY_S = 1.0
SHOWN_FALSE_MATCH_RATES = (
    *(0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5),
    *(5e-6, 2e-6, 1e-6),
)
"""Near enough for whoever reads the curve between two of them. The last one told is the calibration's own."""


@router.get("/healthz", summary="Is this process alive?")
async def get_health() -> Health:
    """Answers without asking anything else; needs no token."""
    return Health(status="ok")


@router.get(
    "/readyz", summary="Can a picture be recognised now?", responses=problems(StageUnavailable, common=())
)
async def get_readiness(request: Request) -> Health:
    """Asks every stage and store; needs no token. The answer is remembered for a second."""
    readiness: Readiness = request.app.state.readiness
    await readiness.check()
    return Health(status="ok")


@router.get("/v1/model", summary="Which model serves?", responses=problems())
async def get_model(services: ServicesOf, identity: IdentityOf) -> ModelView:
    """The default model pack, its licence, its default threshold, what other thresholds cost; and `packs`.

    New events are of the default pack unless they name another one of `packs`.
    """
    packs = [_view_pack(line) for line in services.lines]
    return ModelView(
        **packs[0].model_dump(),
        packs=packs,
        liveness=None if services.liveness is None else _view_liveness(services.liveness),
        version=serving.__version__,
    )


def _view_pack(line: ServedPack) -> PackView:
    pack, calibration = line.pack, line.calibration
    return PackView(
        pack_id=pack.id,
        title=pack.title,
        licence=pack.licence,
        dimension=pack.dimension,
        default_threshold=calibration.default_threshold,
        calibration=[
            CalibrationPoint(false_match_rate=rate, threshold=round(calibration.threshold_for(rate), 5))
            for rate in (
                *(each for each in SHOWN_FALSE_MATCH_RATES if each > calibration.floor),
                calibration.floor,
            )
        ],
    )


def _view_liveness(stage: LivenessStage) -> LivenessPackView:
    pack = stage.pack
    return LivenessPackView(
        pack_id=pack.id,
        title=pack.title,
        licence=pack.licence,
        threshold=stage.threshold,
        threshold_provenance=pack.threshold_provenance if stage.threshold == pack.threshold else None,
    )


class Readiness:
    """Remembers the last answer for a second, good or bad, so that probes from anywhere cost one check."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._checked_at = -READY_MEMORY_S
        self._trouble: RollcallError | None = None
        self._one_at_a_time = asyncio.Lock()

    async def check(self) -> None:
        """Raise StageUnavailable unless every stage and store answers."""
        async with self._one_at_a_time:
            if time.monotonic() - self._checked_at >= READY_MEMORY_S:
                self._trouble = await self._find_trouble()
                self._checked_at = time.monotonic()
        if self._trouble is not None:
            raise StageUnavailable

    async def _find_trouble(self) -> RollcallError | None:
        try:
            await self._services.lines.check(READY_TIMEOUT_S)
            await self._check_liveness()
            await self._services.registry.check()
            self._services.audit.check()
        except RollcallError as error:
            return error
        return None

    async def _check_liveness(self) -> None:
        """Only where events enforce it that do not say: others can be served without."""
        stage, settings = self._services.liveness, self._services.settings.liveness
        if stage is not None and settings.default_mode is LivenessMode.enforce:
            await stage.check(READY_TIMEOUT_S)
