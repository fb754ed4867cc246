"""Where face vectors and the registry live, and how they are reached."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pydantic import Field, SecretStr, field_validator, model_validator

from serving.settings.section import Section

MIB = 2**20


def sqlite_url(path: Path | str) -> str:
    """The URL of an SQLite file, whatever characters its path has."""
    return f"sqlite:///{quote(str(Path(path).absolute()))}"


class GallerySettings(Section):
    """Where face vectors live. "Of a new collection" counts when one is created, not for one that exists."""

    engine: Literal["embedded", "server"] = Field(
        "embedded", description="`embedded`: Qdrant's engine inside the service; `server`: a Qdrant server."
    )
    timeout_s: float = Field(5.0, gt=0, le=60, description="Deadline of a call, its retries included.")
    min_free_bytes: int = Field(
        256 * MIB,
        ge=0,
        description="Engine `embedded`: below so much free disk space writes are refused and searches go on.",
    )

    url: str | None = Field(
        None, description="Engine `server`: `https://host:6333`. With `http` only on this machine."
    )
    api_key: SecretStr | None = Field(None, description="The server's key; needed beyond this machine.")
    ca_file: Path | None = Field(
        None, description="Certificate authorities (PEM) that vouch for the server, instead of the system's."
    )
    allow_insecure: bool = Field(
        False,
        description="Use a server beyond this machine without TLS or a key: only on a network you trust.",
    )
    prefer_grpc: bool = Field(False, description="Talk gRPC instead of REST; TLS as `url` says.")
    grpc_port: int = Field(6334, ge=1, le=65535)
    most_attempts: int = Field(4, ge=1, le=10, description="Tries of a request within `timeout_s`.")
    read_consistency: Literal["majority", "quorum", "all"] | None = Field(
        None,
        description="Copies that must agree on what is read; none: one answers. A cluster: `majority`.",
    )

    replication_factor: int | None = Field(
        None,
        ge=1,
        le=16,
        description="Copies of each shard of a new collection; none: the server's. A cluster: 3.",
    )
    write_consistency_factor: int | None = Field(
        None, ge=1, le=16, description="Copies that must accept a write, of a new collection. Of three: 2."
    )
    shard_number: int | None = Field(
        None, ge=1, le=256, description="Shards of a new collection; none: the server's."
    )
    promote_events: bool = Field(
        False,
        description="Of a new collection: large events can get own shards (`rollcall gallery promote`).",
    )
    quantized: bool = Field(
        False, description="Of a new collection: search large events by 4-bit codes, decide by the vectors."
    )
    oversampling: float = Field(16.0, ge=1, le=64, description="Codes looked at for each face wanted.")
    exact_search_kib: int = Field(
        51_200,
        ge=1000,
        le=2**30,
        description="Of a new collection: events of at most so many KiB of vectors are searched exactly.",
    )
    graph_edges: int = Field(
        16, ge=4, le=128, description="Of a new collection: edges of a face in the graph."
    )
    graph_build_ef: int = Field(
        128, ge=16, le=4096, description="Of a new collection: care in building the graph."
    )
    graph_search_ef: int = Field(
        256, ge=16, le=4096, description="Care in searching the graph; more is exacter."
    )

    @field_validator("ca_file")
    @classmethod
    def _is_a_file(cls, path: Path | None) -> Path | None:
        return path if path is None else path.expanduser().absolute()

    @model_validator(mode="after")
    def _fits_together(self) -> GallerySettings:
        if self.engine == "server" and not self.url:
            raise ValueError("engine `server` needs gallery.url")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError("gallery.url must begin with http:// or https://")
        wanted, copies = self.write_consistency_factor, self.replication_factor
        if wanted is not None and wanted > (copies or 1):
            raise ValueError(
                f"gallery.write_consistency_factor is {wanted}, above replication_factor, {copies or 1}"
            )
        return self


class DatabaseSettings(Section):
    """How PostgreSQL is used, when `database_url` names one."""

    allow_insecure: bool = Field(
        False, description="Use a server beyond this machine without TLS: only on a network you trust."
    )
    pool_size: int = Field(4, ge=1, le=64, description="Connections that each ingress replica keeps.")
    pool_overflow: int = Field(4, ge=0, le=64, description="Connections beyond these while it is busy.")
    pool_wait_s: float = Field(
        5.0, gt=0, le=60, description="How long a request waits for a connection; then it is `overloaded`."
    )
    connect_timeout_s: float = Field(5.0, gt=0, le=60)
    statement_timeout_s: float = Field(
        10.0, gt=0, le=600, description="How long one statement may take; then the server ends it."
    )
