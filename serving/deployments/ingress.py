"""Ingress: HTTP in and out. Checks who asks, which event and what kind of picture; runs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from serving.deployments.line_handles import LineHandles
from serving.deployments.replica import settle_heap
from serving.settings import DeployedSettings

if TYPE_CHECKING:
    from serving.deployments.ingress_parts import IngressParts


@serve.ingress()
class Ingress:
    """Drives each request through the stages. Scale it by the requests that arrive."""

    _parts: IngressParts

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        deployed: DeployedSettings,
        lines: Sequence[LineHandles],
        liveness: DeploymentHandle[Any] | None = None,
    ) -> None:
        # Not with this module: who builds the graph imports it too, before any replica can start.
        from serving.deployments.ingress_parts import IngressParts

        self._parts = IngressParts()
        await self._parts.open(deployed.load(), lines, liveness)

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = self._parts.make_app()
        settle_heap()
        return app

    def reconfigure(self, user_config: Mapping[str, Any] | None) -> None:
        self._parts.tune(user_config)

    async def check_health(self) -> None:
        """Raises when the registry does not answer."""
        await self._parts.check()
