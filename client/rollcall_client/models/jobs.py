"""Made by client_generator from docs/openapi.json: answers of jobs."""

from __future__ import annotations

from datetime import datetime

from rollcall_client.models.common import JobKind, JobState
from rollcall_client.request import Answer


class JobError(Answer):
    """Why a job failed."""

    code: str
    """As in error answers."""
    detail: str


class JobView(Answer):
    """A job."""

    id: str
    event_id: str
    kind: JobKind | str
    state: JobState | str
    """`done`, `failed` and `cancelled` are final."""
    created_by: str
    """The account that asked for it."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    total: int | None
    """Pictures or people in all; null until they are counted."""
    done: int
    """How many are finished, the rejected among them."""
    rejected: int
    """How many were rejected; `/rejections` lists them."""
    error: JobError | None = None
    """Why it failed; what was done before stays."""
    has_result: bool
    """Whether `/result` can be fetched."""


class JobPage(Answer):
    """One page of jobs, the newest first."""

    jobs: list[JobView]
    next_cursor: str | None


class RejectionView(Answer):
    """One item that was not imported."""

    item: int
    """Its place, from 0."""
    name: str
    """Of the archive's entry, or of the line."""
    code: str
    """As in error answers."""
    detail: str


class RejectionPage(Answer):
    """One page of a job's rejected items, in the order in which they were worked on."""

    rejections: list[RejectionView]
    next_cursor: str | None
