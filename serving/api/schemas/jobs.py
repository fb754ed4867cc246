"""Background jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from serving.api.schemas.base import Schema
from serving.jobs.records import JobKind, JobState

_JOB: dict[str, Any] = {
    "id": "5f0c6f1b2b8e4a6f9a3d1c7e8b4a2f10",
    "event_id": "gala-2026",
    "kind": "import_pictures",
    "state": "done",
    "created_by": "ada",
    "created_at": "2026-05-01T18:00:00Z",
    "started_at": "2026-05-01T18:00:01Z",
    "finished_at": "2026-05-01T18:06:40Z",
    "total": 1200,
    "done": 1200,
    "rejected": 3,
    "has_result": False,
}


class JobError(Schema):
    """Why a job failed."""

    code: str = Field(description="As in error answers.", examples=["bad_archive"])
    detail: str


class JobView(Schema):
    """A job."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_JOB]})

    id: str
    event_id: str
    kind: JobKind
    state: JobState = Field(description="`done`, `failed` and `cancelled` are final.")
    created_by: str = Field(description="The account that asked for it.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    total: int | None = Field(description="Pictures or people in all; null until they are counted.")
    done: int = Field(description="How many are finished, the rejected among them.")
    rejected: int = Field(description="How many were rejected; `/rejections` lists them.")
    error: JobError | None = Field(None, description="Why it failed; what was done before stays.")
    has_result: bool = Field(description="Whether `/result` can be fetched.")


class JobPage(Schema):
    """One page of jobs, the newest first."""

    jobs: list[JobView]
    next_cursor: str | None


class RejectionView(Schema):
    """One item that was not imported."""

    item: int = Field(description="Its place, from 0.")
    name: str = Field(description="Of the archive's entry, or of the line.", examples=["ada/blurred.jpg"])
    code: str = Field(description="As in error answers.", examples=["no_face"])
    detail: str


class RejectionPage(Schema):
    """One page of a job's rejected items, in the order in which they were worked on."""

    rejections: list[RejectionView]
    next_cursor: str | None
