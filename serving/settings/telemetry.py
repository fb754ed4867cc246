"""What operators can read afterwards: log lines and traces."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from serving.settings.section import Section

Level = Literal["debug", "info", "warning", "error"]


class LoggingSettings(Section):
    """Log lines of every process of the service; docs/logs.md explains them."""

    enabled: bool = Field(True, description="Off: only what Ray and Serve write of their own.")
    level: Level = Field(
        "info",
        description="The least that is written; `debug` adds batches and what libraries' errors say.",
    )
    format: Literal["json", "text"] = "json"
    output: Literal["file", "stderr"] = Field(
        "file", description="`stderr` is of use where Ray leaves it alone: with RAY_LOG_TO_STDERR=1."
    )
    directory: Path | None = Field(
        None,
        description="Where the file of a node lies; none: `data_dir/logs` with `rollcall serve`, else Ray's "
        "session folder.",
    )
    max_file_bytes: int = Field(
        20 * 2**20, ge=2**16, le=2**34, description="From here on a new file is begun."
    )
    keep_files: int = Field(5, ge=1, le=100, description="Full files that are kept beside it.")
    requests: Literal["all", "errors", "none"] = Field(
        "all", description="Which requests get a line; `errors`: those that failed or were slow."
    )
    sample_successes: float = Field(
        1.0, ge=0, le=1, description="Share of the other requests that get one, with `all`."
    )
    slow_request_s: float = Field(
        2.0, gt=0, le=300, description="From here on a request is slow: a warning, whatever the sample."
    )

    @field_validator("directory")
    @classmethod
    def _is_absolute(cls, path: Path | None) -> Path | None:
        return _absolute(path)


class TracingSettings(Section):
    """OpenTelemetry traces; docs/tracing.md explains them."""

    endpoint: str | None = Field(
        None,
        description="A collector that takes OTLP, `http://host:4318/v1/traces`; none: no traces.",
    )
    headers: SecretStr | None = Field(
        None, min_length=3, description="Sent along, `name=value`, several with commas between them."
    )
    ca_file: Path | None = Field(None, description="Certificates to trust instead of the system's.")
    sample_ratio: float = Field(
        0.05, ge=0, le=1, description="Share of the requests that are traced, of those that no caller traces."
    )
    follow_caller: bool = Field(
        True, description="Whether a `traceparent` header decides instead; off: it names the trace only."
    )
    service_name: str = Field("rollcall", min_length=1, max_length=100)
    timeout_s: float = Field(5.0, gt=0, le=60, description="For one export; nothing waits for it.")
    max_queued_spans: int = Field(
        4096, ge=128, le=10**6, description="Spans a process holds for the collector; more are dropped."
    )

    @field_validator("ca_file")
    @classmethod
    def _is_absolute(cls, path: Path | None) -> Path | None:
        return _absolute(path)

    @field_validator("endpoint")
    @classmethod
    def _is_a_url(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an http:// or https:// URL")
        if parts.username or parts.password:
            raise ValueError("no password in a URL; tracing.headers holds it")
        return endpoint

    @field_validator("headers")
    @classmethod
    def _are_pairs(cls, headers: SecretStr | None) -> SecretStr | None:
        for pair in () if headers is None else headers.get_secret_value().split(","):
            name, equals, value = pair.partition("=")
            if not (name.strip() and equals and value.strip()) or not pair.isprintable():
                raise ValueError("not of the form name=value,name=value")
        return headers

    def header_pairs(self) -> dict[str, str]:
        """`headers` taken apart; the values are secrets."""
        if self.headers is None:
            return {}
        pairs = (pair.partition("=") for pair in self.headers.get_secret_value().split(","))
        return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _absolute(path: Path | None) -> Path | None:
    # Replicas run in other working directories.
    return path if path is None else path.expanduser().absolute()
