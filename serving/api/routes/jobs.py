"""Bulk import and export of an event's people, as background jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from serving.accounts.identities import Identity, Permission
from serving.api.access import AllowedAtEvent, IdentityOf
from serving.api.enrolment import decide_level
from serving.api.envelope import problems
from serving.api.paging import Cursor, Limit
from serving.api.schemas.jobs import JobError, JobPage, JobView, RejectionPage, RejectionView
from serving.api.services import ServicesOf
from serving.api.uploads import LINES_TYPES, TAR_TYPES, ZIP_TYPES, receive_upload
from serving.errors import (
    BadArchive,
    BodyTooLarge,
    EventClosed,
    Forbidden,
    JobFinished,
    JobNotFinished,
    NotFound,
    PackMismatch,
    PolicyNotAllowed,
    StageUnavailable,
    TooManyJobs,
    UnknownEvent,
    UnknownJob,
)
from serving.jobs.records import Actor, ImportOptions, Job, JobKind, JobState
from serving.registry.person_details import check_consent_reference
from serving.registry.records import Event
from serving.vision.quality_gates import QualityLevel

router = APIRouter(prefix="/v1/events/{event}", tags=["jobs"])

CHUNK_BYTES = 256 * 1024
RESULT_TYPE = "application/x-ndjson"

JobId = Annotated[str, Path(description="The job's id.", examples=["5f0c6f1b2b8e4a6f9a3d1c7e8b4a2f10"])]
LookedAt = Annotated[Event, Depends(AllowedAtEvent(Permission.read_events, when_closed=True))]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_LOCATION: dict[int | str, dict[str, Any]] = {
    202: {"headers": {"Location": {"description": "The job's address.", "schema": {"type": "string"}}}}
}


@router.post(
    "/imports",
    status_code=202,
    summary="Import people in bulk",
    responses={
        **problems(
            UnknownEvent, PackMismatch, EventClosed, PolicyNotAllowed, BadArchive, BodyTooLarge, TooManyJobs
        ),
        **_LOCATION,
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "An archive of pictures, or people with vectors as NDJSON; see docs/bulk.md.",
            "content": dict.fromkeys((ZIP_TYPES[0], *TAR_TYPES[:2], LINES_TYPES[0]), _BINARY),
        }
    },
)
async def import_job(
    request: Request,
    response: Response,
    services: ServicesOf,
    identity: IdentityOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.enrol))],
    on_duplicate: Annotated[
        Literal["refuse", "allow"] | None,
        Query(description="What becomes of a face that matches another person; default: the settings'."),
    ] = None,
    quality: Annotated[
        QualityLevel | None, Query(description="What faces are held to; no less than the event asks.")
    ] = None,
    consent_reference: Annotated[
        str | None, Query(description="Of the people for whom the upload names none.")
    ] = None,
) -> JobView:
    """An archive holds `<person_id>/<name>.jpg` or `<person_id>.jpg`, and perhaps `people.ndjson`.

    NDJSON holds a person with face vectors in each line, as an export writes them; all must be of the event's
    pack. Each picture or person is accepted or rejected for itself. The upload is deleted when the job ends.
    """
    check_consent_reference(consent_reference)
    decide_level(services, event, quality)
    await services.jobs.check_room(event.key)
    upload = await receive_upload(request, services)
    request.state.audit_details = {"job": upload.job_id, "kind": upload.kind.value, "bytes": upload.size}
    options = ImportOptions(on_duplicate, None if quality is None else quality.value, consent_reference)
    try:
        job = await services.jobs.create(
            event.key,
            upload.kind,
            _actor(identity),
            id=upload.job_id,
            file=upload.file,
            options=options,
        )
    except BaseException:
        await asyncio.shield(asyncio.to_thread(services.jobs.files.remove, upload.file))
        raise
    response.headers["Location"] = _address(event, job)
    return _view(event, job)


@router.post(
    "/exports",
    status_code=202,
    summary="Export people in bulk",
    responses={**problems(UnknownEvent, PackMismatch, TooManyJobs), **_LOCATION},
)
async def export_job(
    request: Request,
    response: Response,
    services: ServicesOf,
    identity: IdentityOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.export_people, when_closed=True))],
) -> JobView:
    """Everyone who is enrolled, with names, metadata and vectors, as NDJSON that an import reads.

    When the job is done, fetch `/jobs/{job}/result`; it is kept for a day, unless the settings say otherwise.
    """
    job = await services.jobs.create(event.key, JobKind.export, _actor(identity))
    request.state.audit_details = {"job": job.id}
    response.headers["Location"] = _address(event, job)
    return _view(event, job)


@router.get("/jobs", summary="List jobs", responses=problems(UnknownEvent, PackMismatch))
async def list_jobs(
    services: ServicesOf, identity: IdentityOf, event: LookedAt, cursor: Cursor = None, limit: Limit = 100
) -> JobPage:
    """The jobs of an event, the newest first, of the kinds that the caller may start.

    Ended jobs are forgotten after thirty days.
    """
    page = await services.jobs.list(event.key, _kinds(identity), cursor, limit)
    return JobPage(jobs=[_view(event, job) for job in page.items], next_cursor=page.next)


@router.get(
    "/jobs/{job}", summary="Look at a job", responses=problems(UnknownEvent, PackMismatch, UnknownJob)
)
async def get_job(services: ServicesOf, identity: IdentityOf, event: LookedAt, job: JobId) -> JobView:
    """How far a job is."""
    return _view(event, await _find(services, identity, event, job))


@router.delete(
    "/jobs/{job}",
    status_code=204,
    summary="Cancel a job, or delete what an export wrote",
    responses=problems(UnknownEvent, PackMismatch, UnknownJob, JobFinished),
)
async def cancel_job(services: ServicesOf, identity: IdentityOf, event: LookedAt, job: JobId) -> Response:
    """Ends a job that waits or runs. What it has imported stays; its upload is deleted.

    Of an export that is done it deletes the result.
    """
    found = await _find(services, identity, event, job)
    if _has_result(found):
        await services.jobs.remove_result(found)
        return Response(status_code=204)
    await services.jobs.cancel(event.key, found.id)
    await asyncio.to_thread(services.jobs.files.remove, found.file)
    return Response(status_code=204)


@router.get(
    "/jobs/{job}/rejections",
    summary="List what an import rejected",
    responses=problems(UnknownEvent, PackMismatch, UnknownJob),
)
async def get_rejections(
    services: ServicesOf,
    identity: IdentityOf,
    event: LookedAt,
    job: JobId,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> RejectionPage:
    """Each item that was not imported, with the reason. The list grows while the job runs."""
    found = await _find(services, identity, event, job)
    page = await services.jobs.rejections(found.id, cursor, limit)
    rejections = [
        RejectionView(item=each.item, name=each.name, code=each.code, detail=each.detail)
        for each in page.items
    ]
    return RejectionPage(rejections=rejections, next_cursor=page.next)


@router.get(
    "/jobs/{job}/result",
    summary="Fetch what an export wrote",
    response_class=StreamingResponse,
    responses={
        **problems(UnknownEvent, PackMismatch, UnknownJob, JobNotFinished, NotFound),
        200: {
            "description": "A person in each line.",
            "content": {
                RESULT_TYPE: {
                    "schema": {"type": "string"},
                    "example": '{"person_id":"ada","name":"Ada","metadata":null,"consent_reference":null,'
                    '"pack_id":"starter-int8","faces":[{"face_id":"f1","vector_f32":"AACAPw...",'
                    '"created_at":"2026-05-01T18:00:00+00:00"}]}\n',
                }
            },
        },
    },
)
async def get_result(
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.export_people, when_closed=True))],
    job: JobId,
) -> StreamingResponse:
    """The whole export. Its length is in `Content-Length`: a shorter answer was cut off."""
    found = await services.jobs.get(event.key, job)
    if found.kind is not JobKind.export:
        raise NotFound("An import has no result.")
    if not found.state.is_final:
        raise JobNotFinished(state=found.state.value)
    if not _has_result(found):
        raise NotFound("The export failed, was cancelled, or has been kept long enough and is deleted.")
    try:
        file, size = await asyncio.to_thread(services.jobs.files.open, str(found.file))
    except FileNotFoundError:
        raise StageUnavailable("The result is not on this machine.") from None
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="people-{found.id}.ndjson"',
    }
    return StreamingResponse(_read(file), media_type=RESULT_TYPE, headers=headers)


async def _read(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


def _kinds(identity: Identity) -> list[JobKind]:
    """The kinds of jobs that the caller may start, and so may look at.

    Raises:
        Forbidden: none.
    """
    kinds = [kind for kind in JobKind if identity.may(_permission(kind))]
    if not kinds:
        identity.require(Permission.enrol)
    return kinds


def _permission(kind: JobKind) -> Permission:
    return Permission.enrol if kind.is_import else Permission.export_people


async def _find(services: ServicesOf, identity: Identity, event: Event, job_id: str) -> Job:
    """The job, if the caller may look at it; raises Forbidden, UnknownJob."""
    kinds = _kinds(identity)
    found = await services.jobs.get(event.key, job_id)
    if found.kind not in kinds:
        identity.require(_permission(found.kind))
        raise Forbidden
    return found


def _actor(identity: Identity) -> Actor:
    return Actor(identity.subject, identity.kind, identity.id)


def _address(event: Event, job: Job) -> str:
    return f"/v1/events/{event.id}/jobs/{job.id}"


def _has_result(job: Job) -> bool:
    return job.kind is JobKind.export and job.state is JobState.done and job.file is not None


def _view(event: Event, job: Job) -> JobView:
    error = None
    if job.error_code is not None:
        error = JobError(code=job.error_code, detail=job.error_detail or "")
    return JobView(
        id=job.id,
        event_id=event.id,
        kind=job.kind,
        state=job.state,
        created_by=job.created_by.name,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        total=job.total,
        done=job.done,
        rejected=job.rejected,
        error=error,
        has_result=_has_result(job),
    )
