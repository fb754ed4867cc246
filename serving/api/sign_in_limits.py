"""Failed sign-ins slow down, for each account name and each client address."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from serving.api.services import Services


def find_limiter(services: Services) -> Any:
    """What counts failed sign-ins; None where nothing is counted."""
    return getattr(services, "rate_limiter", None)


async def check_sign_in(request: Request, services: Services, name: str) -> None:
    """Raise RateLimited when too many sign-ins failed for this name or from this address."""
    limiter = find_limiter(services)
    if limiter is not None:
        await limiter.check_sign_in(request, name)


async def note_failed_sign_in(request: Request, services: Services, name: str) -> None:
    """Count a failed sign-in against the name and the address."""
    limiter = find_limiter(services)
    if limiter is not None:
        await limiter.note_failed_sign_in(request, name)
