"""Background jobs."""

from __future__ import annotations

from serving.errors.base import RollcallError


class UnknownJob(RollcallError):
    code = "unknown_job"
    status = 404
    title = "There is no such job at this event"
    cure = "List the jobs with GET /v1/events/{event}/jobs."


class JobNotFinished(RollcallError):
    code = "job_not_finished"
    status = 409
    title = "The job has no result yet"
    cure = "Ask for its state until it is done."
    retry_after_s = 2.0


class JobFinished(RollcallError):
    code = "job_finished"
    status = 409
    title = "The job has ended already"
    cure = "Start a new one."


class TooManyJobs(RollcallError):
    code = "too_many_jobs"
    status = 429
    title = "This event has as many unfinished jobs as it may"
    cure = "Wait until one has ended, or cancel it."
    retry_after_s = 10.0


class BadArchive(RollcallError):
    code = "bad_archive"
    status = 422
    title = "The upload cannot be read as what it should be"
    cure = "Send what docs/bulk.md describes; context says where reading stopped."
