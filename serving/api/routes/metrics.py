"""What Prometheus scrapes where one node serves; of several, each has an exporter of its own."""

from __future__ import annotations

import asyncio
import hmac

from fastapi import APIRouter, Request, Response

from serving.accounts.identities import Permission
from serving.api.access import find_credentials, get_identity
from serving.api.services import Services, ServicesOf
from serving.errors import NotFound
from serving.telemetry.exposition import CONTENT_TYPE
from serving.telemetry.node import render_node

router = APIRouter(tags=["operations"])


@router.get("/metrics", include_in_schema=False)
async def get_metrics(request: Request, services: ServicesOf) -> Response:
    """The counts of all replicas of this node; needs `metrics.token`, or an administrator.

    Raises:
        NotFound: metrics are switched off.
        TokenMissing, TokenInvalid, Forbidden and so on: whoever asks may not.
    """
    if not services.settings.metrics.enabled:
        raise NotFound
    if not _has_token(request, services):
        bearer, key = await find_credentials(request)
        identity = await get_identity(request, services, bearer, key)
        identity.require(Permission.read_operations)
    answer = await asyncio.to_thread(render_node)
    return Response(answer, media_type=CONTENT_TYPE)


def _has_token(request: Request, services: Services) -> bool:
    token = services.settings.metrics.token
    if token is None:
        return False
    sent = request.headers.get("authorization", "").encode()
    return hmac.compare_digest(sent, f"Bearer {token.get_secret_value()}".encode())
