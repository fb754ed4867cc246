"""Made by client_generator from docs/openapi.json: requests of operations."""

from __future__ import annotations

from rollcall_client.models import Health, ModelView
from rollcall_client.request import Request


def get_health() -> Request[Health]:
    """Is this process alive?"""
    return Request(
        "GET",
        "/healthz",
        Health,
        can_repeat=True,
    )


def get_readiness() -> Request[Health]:
    """Can a picture be recognised now?"""
    return Request(
        "GET",
        "/readyz",
        Health,
        can_repeat=True,
    )


def get_model() -> Request[ModelView]:
    """Which model serves?"""
    return Request(
        "GET",
        "/v1/model",
        ModelView,
        can_repeat=True,
    )


def get_metrics() -> Request[str]:
    """What Prometheus reads."""
    return Request(
        "GET",
        "/metrics",
        str,
        can_repeat=True,
    )
