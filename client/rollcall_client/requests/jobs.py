"""Made by client_generator from docs/openapi.json: requests of jobs."""

from __future__ import annotations

from typing import Literal

from rollcall_client.bodies import Upload, UploadBody
from rollcall_client.models import JobPage, JobView, QualityLevel, RejectionPage
from rollcall_client.request import Request, fill_path


def import_job(
    event: str,
    upload: Upload,
    *,
    content_type: Literal["application/zip", "application/x-tar", "application/gzip", "application/x-ndjson"]
    | None = None,
    on_duplicate: Literal["refuse", "allow"] | None = None,
    quality: QualityLevel | None = None,
    consent_reference: str | None = None,
) -> Request[JobView]:
    """Import people in bulk."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/imports", event=event),
        JobView,
        query={"on_duplicate": on_duplicate, "quality": quality, "consent_reference": consent_reference},
        body=UploadBody(upload, content_type),
        is_long=True,
    )


def export_job(event: str) -> Request[JobView]:
    """Export people in bulk."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/exports", event=event),
        JobView,
    )


def list_jobs(event: str, *, cursor: str | None = None, limit: int | None = None) -> Request[JobPage]:
    """List jobs."""
    return Request(
        "GET",
        fill_path("/v1/events/{event}/jobs", event=event),
        JobPage,
        query={"cursor": cursor, "limit": limit},
        can_repeat=True,
    )


def get_job(event: str, job: str) -> Request[JobView]:
    """Look at a job."""
    return Request(
        "GET",
        fill_path("/v1/events/{event}/jobs/{job}", event=event, job=job),
        JobView,
        can_repeat=True,
    )


def cancel_job(event: str, job: str) -> Request[None]:
    """Cancel a job, or delete what an export wrote."""
    return Request(
        "DELETE",
        fill_path("/v1/events/{event}/jobs/{job}", event=event, job=job),
        None,
        can_repeat=True,
    )


def get_rejections(
    event: str, job: str, *, cursor: str | None = None, limit: int | None = None
) -> Request[RejectionPage]:
    """List what an import rejected."""
    return Request(
        "GET",
        fill_path("/v1/events/{event}/jobs/{job}/rejections", event=event, job=job),
        RejectionPage,
        query={"cursor": cursor, "limit": limit},
        can_repeat=True,
    )


def get_result(event: str, job: str) -> Request[bytes]:
    """Fetch what an export wrote."""
    return Request(
        "GET",
        fill_path("/v1/events/{event}/jobs/{job}/result", event=event, job=job),
        bytes,
        can_repeat=True,
        is_long=True,
    )
