"""Load and failure."""

from __future__ import annotations

from serving.errors.base import RollcallError


class Overloaded(RollcallError):
    code = "overloaded"
    status = 503
    title = "The service has as much work as it may queue"
    cure = "Try again after Retry-After seconds, with fewer requests at once."
    retry_after_s = 1.0


class StageUnavailable(RollcallError):
    code = "stage_unavailable"
    status = 503
    title = "A part of the service is restarting"
    cure = "Try again after Retry-After seconds."
    retry_after_s = 2.0


class StorageFull(StageUnavailable):
    code = "storage_full"
    title = "Nothing more can be stored: a disk is full or cannot be written"
    cure = (
        "For the operator: free space on the disk that the detail names, or make it writable again; "
        "recognition goes on meanwhile, and nothing need be restarted. For callers: try again later."
    )
    retry_after_s = 30.0


class DeadlineExceeded(RollcallError):
    code = "deadline_exceeded"
    status = 504
    title = "The answer was not ready in time"
    cure = "Try again when the service is less busy, or allow more time."
    retry_after_s = 1.0
