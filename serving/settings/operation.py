"""How much work is held, background work, and what operators are told."""

from __future__ import annotations

import ipaddress

from pydantic import Field, SecretStr, model_validator

from serving.settings.section import Section


class LoadSettings(Section):
    """How much work one ingress replica holds, and for how long."""

    request_timeout_s: float = Field(20.0, gt=0, le=300)
    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="Whole request body, all pictures together.")
    max_pending_requests: int = Field(
        128, ge=1, description="Picture requests one ingress replica holds; more are answered 503."
    )
    max_pending_bytes: int = Field(256 * 2**20, ge=2**20, description="Bytes of pictures held, likewise.")

    @model_validator(mode="after")
    def _largest_body_may_be_held(self) -> LoadSettings:
        if self.max_body_bytes > self.max_pending_bytes:
            raise ValueError(
                f"max_body_bytes is {self.max_body_bytes}, above max_pending_bytes, {self.max_pending_bytes}"
            )
        return self


class JobSettings(Section):
    """Imports and exports in the background."""

    max_upload_bytes: int = Field(
        2 * 2**30, ge=2**20, description="Largest upload, and all that its archive unpacks to."
    )
    max_items: int = Field(200_000, ge=1, description="Most pictures or people in one import.")
    max_unfinished: int = Field(10, ge=1, le=1000, description="Jobs of one event that wait or run.")
    parallel_pictures: int = Field(4, ge=1, le=256, description="Pictures one running job has in flight.")
    keep_result_s: int = Field(86400, ge=60, description="How long an export may be fetched.")


class MetricsSettings(Section):
    """What Prometheus is told; docs/metrics.md says how to scrape."""

    enabled: bool = True
    token: SecretStr | None = Field(
        None,
        min_length=1,
        description="What a scrape carries as bearer token; none: `/metrics` asks for an administrator.",
    )
    host: str = Field("127.0.0.1", min_length=1, description="Where the exporter of each node listens.")
    port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Its port, which asks for `token` if there is one; none: no exporter.",
    )
    event_label: bool = Field(
        False, description="Whether recognitions are counted by event, under the event's id."
    )
    max_event_labels: int = Field(50, ge=1, le=1000, description="Events with a label; others are `other`.")

    @model_validator(mode="after")
    def _asks_for_a_token_beyond_loopback(self) -> MetricsSettings:
        if self.port is not None and self.token is None and not _is_loopback(self.host):
            raise ValueError(f"host is {self.host!r}: beyond loopback the exporter needs metrics.token")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class RetentionSettings(Section):
    """When what has expired is erased."""

    period_s: float = Field(3600.0, ge=1, le=86400, description="Between two looks for what has expired.")
