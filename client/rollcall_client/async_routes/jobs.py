"""Made by client_generator from docs/openapi.json: methods of jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

from rollcall_client.base_routes import AsyncRoutes
from rollcall_client.bodies import Upload
from rollcall_client.downloads import OpenAsyncDownload
from rollcall_client.models import JobPage, JobView, QualityLevel, RejectionPage, RejectionView
from rollcall_client.requests import jobs as requests


class AsyncJobsRoutes(AsyncRoutes):
    """Routes of jobs."""

    async def import_people(
        self,
        event: str,
        upload: Upload,
        *,
        content_type: Literal[
            "application/zip", "application/x-tar", "application/gzip", "application/x-ndjson"
        ]
        | None = None,
        on_duplicate: Literal["refuse", "allow"] | None = None,
        quality: QualityLevel | None = None,
        consent_reference: str | None = None,
        timeout_s: float | None = None,
    ) -> JobView:
        """Import people in bulk.

        An archive holds `<person_id>/<name>.jpg` or `<person_id>.jpg`, and perhaps `people.ndjson`.

        NDJSON holds a person with face vectors in each line, as an export writes them; all must be of
        the event's pack. Each picture or person is accepted or rejected for itself. The upload is
        deleted when the job ends.

        Args:
            event: The event's id.
            upload: what to send
            content_type: what the upload is; not needed for a path that ends as it should
            on_duplicate: What becomes of a face that matches another person; default: the settings'.
            quality: What faces are held to; no less than the event asks.
            consent_reference: Of the people for whom the upload names none.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.import_job(
                event,
                upload,
                content_type=content_type,
                on_duplicate=on_duplicate,
                quality=quality,
                consent_reference=consent_reference,
            ),
            timeout_s,
        )

    async def export_people(self, event: str, *, timeout_s: float | None = None) -> JobView:
        """Export people in bulk.

        Everyone who is enrolled, with names, metadata and vectors, as NDJSON that an import reads.

        When the job is done, fetch `/jobs/{job}/result`; it is kept for a day, unless the settings say
        otherwise.

        Args:
            event: The event's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.export_job(event), timeout_s)

    async def page(
        self,
        event: str,
        *,
        cursor: str | None = None,
        limit: int | None = None,
        timeout_s: float | None = None,
    ) -> JobPage:
        """List jobs.

        The jobs of an event, the newest first, of the kinds that the caller may start.

        Ended jobs are forgotten after thirty days.

        Args:
            event: The event's id.
            cursor: `next_cursor` of the page before.
            limit: Entries in a page. (default: 100)
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.list_jobs(event, cursor=cursor, limit=limit), timeout_s)

    async def iterate(
        self, event: str, *, limit: int | None = None, timeout_s: float | None = None
    ) -> AsyncIterator[JobView]:
        """List jobs, page after page.

        A page is fetched when the one before is used up; `limit` is the most in one, and `timeout_s`
        holds for each.
        """
        async for page in self._pages(
            lambda cursor: requests.list_jobs(event, cursor=cursor, limit=limit),
            lambda page: page.next_cursor,
            timeout_s,
        ):
            for each in page.jobs:
                yield each

    async def get(self, event: str, job: str, *, timeout_s: float | None = None) -> JobView:
        """Look at a job.

        How far a job is.

        Args:
            event: The event's id.
            job: The job's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.get_job(event, job), timeout_s)

    async def cancel(self, event: str, job: str, *, timeout_s: float | None = None) -> None:
        """Cancel a job, or delete what an export wrote.

        Ends a job that waits or runs. What it has imported stays; its upload is deleted.

        Of an export that is done it deletes the result.

        Args:
            event: The event's id.
            job: The job's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        await self._performer.perform(requests.cancel_job(event, job), timeout_s)

    async def page_of_rejections(
        self,
        event: str,
        job: str,
        *,
        cursor: str | None = None,
        limit: int | None = None,
        timeout_s: float | None = None,
    ) -> RejectionPage:
        """List what an import rejected.

        Each item that was not imported, with the reason. The list grows while the job runs.

        Args:
            event: The event's id.
            job: The job's id.
            cursor: `next_cursor` of the page before.
            limit: Entries in a page. (default: 100)
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.get_rejections(event, job, cursor=cursor, limit=limit), timeout_s
        )

    async def iterate_rejections(
        self, event: str, job: str, *, limit: int | None = None, timeout_s: float | None = None
    ) -> AsyncIterator[RejectionView]:
        """List what an import rejected, page after page.

        A page is fetched when the one before is used up; `limit` is the most in one, and `timeout_s`
        holds for each.
        """
        async for page in self._pages(
            lambda cursor: requests.get_rejections(event, job, cursor=cursor, limit=limit),
            lambda page: page.next_cursor,
            timeout_s,
        ):
            for each in page.rejections:
                yield each

    def result(self, event: str, job: str, *, timeout_s: float | None = None) -> OpenAsyncDownload:
        """Fetch what an export wrote.

        The whole export. Its length is in `Content-Length`: a shorter answer was cut off.

        Args:
            event: The event's id.
            job: The job's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.open_download(requests.get_result(event, job), timeout_s)
