"""Made by client_generator from docs/errors.md: a class for each error code of the service."""

from __future__ import annotations

from rollcall_client.errors import (
    Conflict,
    Missing,
    NotAllowed,
    NotAuthenticated,
    RequestRefused,
    ServiceError,
    ServiceTrouble,
    TooManyRequests,
)


class AccountExists(Conflict):
    """409: An account with this name exists already. Choose another name, or sign in."""


class ApiKeyInvalid(NotAuthenticated):
    """401: The API key is not one of ours, has expired or was revoked. Make a new one with POST
    /v1/api-keys.
    """


class BadArchive(RequestRefused):
    """422: The upload cannot be read as what it should be. Send what docs/bulk.md describes; context says
    where reading stopped.
    """


class BodyTooLarge(RequestRefused):
    """413: The request body is larger than this service accepts. Send fewer or smaller pictures;
    context.max_bytes is the limit.
    """


class ConsentRequired(RequestRefused):
    """422: This event enrols nobody without a consent reference. Send consent_reference: what names the
    consent in your own records.
    """


class DeadlineExceeded(ServiceTrouble, TimeoutError):
    """504: The answer was not ready in time. Try again when the service is less busy, or allow more time."""


class DuplicatePerson(Conflict):
    """409: The face matches another person of this event. Add the picture to context.person_id, or send
    on_duplicate=allow when they are two people.
    """


class ErasedMeanwhile(Conflict):
    """409: The event or person was deleted while this request ran. Nothing was stored. Create the event
    again if that was not intended.
    """


class EventClosed(Conflict):
    """409: The event is closed. Reopen it with POST /v1/events/{event}/reopen, or use another."""


class EventExists(Conflict):
    """409: An event with this id exists already. Choose another id, or use the event that is there."""


class FalseMatchRateNotSupported(RequestRefused):
    """422: The calibration of this pack supports no false match rate that small. Ask for context.floor or
    more.
    """


class Forbidden(NotAllowed):
    """403: This identity may not do that. Ask an administrator for the role that context.needs names."""


class ForeignOrigin(NotAllowed):
    """403: Pages of this origin may not open streams here. Open the stream from the service's own pages;
    operators list other origins in web.cors_origins.
    """


class IdempotencyKeyReused(RequestRefused):
    """422: This Idempotency-Key came with another request before. Use a new key for each new request, and
    the same one only for a retry.
    """


class InternalError(ServiceTrouble):
    """500: Something failed inside Rollcall. Try again; if it persists, give the request id to the
    operator.
    """


class InvalidRequest(RequestRefused):
    """422: The request does not have the documented form. Compare the request with /docs; context.errors
    names each field.
    """


class JobFinished(Conflict):
    """409: The job has ended already. Start a new one."""


class JobNotFinished(Conflict):
    """409: The job has no result yet. Ask for its state until it is done."""


class LastAdministrator(Conflict):
    """409: Nobody would be left to administer this service. Make another account an administrator first."""


class LivenessNotConfigured(Conflict):
    """409: Liveness is asked for, but this service has no liveness model. Name a liveness pack in the
    setting liveness.model and restart, or set the event's liveness to off.
    """


class MethodNotAllowed(RequestRefused):
    """405: This address does not take that method. See /docs for the routes."""


class MigrationIncomplete(Conflict):
    """409: People of the event have no face in the new model pack yet. Send pictures of them (GET
    /v1/events/{event}/migration lists them), or finish with allow_missing=true: they stay enrolled,
    without a face.
    """


class MigrationRunning(Conflict):
    """409: The event is moving to another model pack. Finish or abort the migration first. In place of
    vectors send pictures, which both packs can embed.
    """


class NoFace(RequestRefused):
    """422: No face was found in the picture. Send a picture in which the face is visible, lit and at least
    40 pixels wide.
    """


class NoMigration(Missing):
    """404: The event is not moving to another model pack. Begin with POST /v1/events/{event}/migration."""


class NotAnImage(RequestRefused):
    """400: These bytes are not a picture. Send a JPEG, PNG or WebP file."""


class NotFound(Missing):
    """404: There is nothing at this address. See /docs for the routes."""


class Overloaded(ServiceTrouble):
    """503: The service has as much work as it may queue. Try again after Retry-After seconds, with fewer
    requests at once.
    """


class PackChanged(Conflict):
    """409: The event began or ended a move to another model pack while this request ran. Try again after
    Retry-After seconds; nothing was enrolled.
    """


class PackMismatch(Conflict):
    """409: This event's faces belong to another model pack. Run the service with the pack that
    context.pack_id names, or enrol the people at a new event.
    """


class PictureTooLarge(RequestRefused):
    """413: The picture file has too many bytes. Send a smaller file; context.max_bytes is the limit."""


class PictureTooSmall(RequestRefused):
    """422: The picture is too small to hold a face. Send a larger picture; context.min_side_px is the
    limit.
    """


class PolicyNotAllowed(NotAllowed):
    """403: The event does not allow this decision policy. Leave the threshold out, or ask for one as
    context.allowed says.
    """


class PresentationAttack(RequestRefused):
    """422: The face was not found to be that of a person before the camera. Take a picture of the person
    themselves, not of paper or a screen; context.faults says what helps.
    """


class QualityTooLow(RequestRefused):
    """422: The face is not good enough for the quality level asked for. Take another picture;
    context.faults says what is wrong and what helps.
    """


class RateLimited(TooManyRequests):
    """429: This identity has sent more requests than it may. Wait as long as Retry-After says; the
    RateLimit header shows what is left.
    """


class RequestInProgress(Conflict):
    """409: The request with this Idempotency-Key is still being worked on. Try again after Retry-After
    seconds.
    """


class SeveralFaces(RequestRefused):
    """422: More than one face was found where exactly one is needed. Crop the picture to the person being
    enrolled; context.boxes shows what was found.
    """


class SignInFailed(NotAuthenticated):
    """401: The name and the secret do not belong together. Check both; after several failures wait as long
    as Retry-After says.
    """


class SignUpClosed(NotAllowed):
    """403: This service does not let people sign up by themselves. Ask an administrator for an account."""


class StageUnavailable(ServiceTrouble):
    """503: A part of the service is restarting. Try again after Retry-After seconds."""


class StorageFull(ServiceTrouble):
    """503: Nothing more can be stored: a disk is full or cannot be written. For the operator: free space on
    the disk that the detail names, or make it writable again; recognition goes on meanwhile, and nothing
    need be restarted. For callers: try again later.
    """


class StreamIdle(RequestRefused):
    """408: Nothing came over the stream for too long. Connect again; send a frame at least every
    context.idle_timeout_s seconds.
    """


class StreamOver(RequestRefused):
    """408: The stream has lasted as long as a stream may. Connect again."""


class TokenExpired(NotAuthenticated):
    """401: The bearer token has expired. Get a new token; `rollcall token` prints one."""


class TokenInvalid(NotAuthenticated):
    """401: The bearer token is not one of ours. Get a new token from this service; `rollcall token` prints
    one.
    """


class TokenMissing(NotAuthenticated):
    """401: This route needs a bearer token or an API key. Send `Authorization: Bearer <token or key>`; sign
    in, or `rollcall token` prints one.
    """


class TokenRevoked(NotAuthenticated):
    """401: The bearer token has been revoked. Sign in again; the session was ended, the password changed or
    the account disabled.
    """


class TooManyJobs(TooManyRequests):
    """429: This event has as many unfinished jobs as it may. Wait until one has ended, or cancel it."""


class TooManyPixels(RequestRefused):
    """413: The picture has too many pixels. Scale it down; context.max_pixels is the limit."""


class TooManyStreams(TooManyRequests):
    """429: There are as many streams open as there may be. End another stream of this account, or try again
    after Retry-After seconds.
    """


class TruncatedPicture(RequestRefused):
    """400: The picture file ends too early or is damaged. Send the whole file; the upload was probably cut
    off.
    """


class UnknownAccount(Missing):
    """404: There is no such account. List the accounts with GET /v1/accounts."""


class UnknownApiKey(Missing):
    """404: There is no such API key. List the keys with GET /v1/api-keys."""


class UnknownEvent(Missing):
    """404: There is no such event. List the events with GET /v1/events."""


class UnknownFace(Missing):
    """404: This person has no such face. Look at the person with GET /v1/events/{event}/people/{person}."""


class UnknownHost(RequestRefused):
    """421: The service does not answer under this name. Ask it by the name it is published under; operators
    list the names in web.allowed_hosts.
    """


class UnknownJob(Missing):
    """404: There is no such job at this event. List the jobs with GET /v1/events/{event}/jobs."""


class UnknownPerson(Missing):
    """404: Nobody with this id is enrolled at this event. List the people with GET
    /v1/events/{event}/people.
    """


class UnsupportedPictureType(RequestRefused):
    """415: This kind of picture is not accepted. Convert it to JPEG, PNG or WebP."""


class WeakPassword(RequestRefused):
    """422: The password breaks a rule. Choose a longer one; context.min_chars is the least."""


PROBLEMS: dict[str, type[ServiceError]] = {
    "account_exists": AccountExists,
    "api_key_invalid": ApiKeyInvalid,
    "bad_archive": BadArchive,
    "body_too_large": BodyTooLarge,
    "consent_required": ConsentRequired,
    "deadline_exceeded": DeadlineExceeded,
    "duplicate_person": DuplicatePerson,
    "erased_meanwhile": ErasedMeanwhile,
    "event_closed": EventClosed,
    "event_exists": EventExists,
    "false_match_rate_not_supported": FalseMatchRateNotSupported,
    "forbidden": Forbidden,
    "foreign_origin": ForeignOrigin,
    "idempotency_key_reused": IdempotencyKeyReused,
    "internal_error": InternalError,
    "invalid_request": InvalidRequest,
    "job_finished": JobFinished,
    "job_not_finished": JobNotFinished,
    "last_administrator": LastAdministrator,
    "liveness_not_configured": LivenessNotConfigured,
    "method_not_allowed": MethodNotAllowed,
    "migration_incomplete": MigrationIncomplete,
    "migration_running": MigrationRunning,
    "no_face": NoFace,
    "no_migration": NoMigration,
    "not_an_image": NotAnImage,
    "not_found": NotFound,
    "overloaded": Overloaded,
    "pack_changed": PackChanged,
    "pack_mismatch": PackMismatch,
    "picture_too_large": PictureTooLarge,
    "picture_too_small": PictureTooSmall,
    "policy_not_allowed": PolicyNotAllowed,
    "presentation_attack": PresentationAttack,
    "quality_too_low": QualityTooLow,
    "rate_limited": RateLimited,
    "request_in_progress": RequestInProgress,
    "several_faces": SeveralFaces,
    "sign_in_failed": SignInFailed,
    "sign_up_closed": SignUpClosed,
    "stage_unavailable": StageUnavailable,
    "storage_full": StorageFull,
    "stream_idle": StreamIdle,
    "stream_over": StreamOver,
    "token_expired": TokenExpired,
    "token_invalid": TokenInvalid,
    "token_missing": TokenMissing,
    "token_revoked": TokenRevoked,
    "too_many_jobs": TooManyJobs,
    "too_many_pixels": TooManyPixels,
    "too_many_streams": TooManyStreams,
    "truncated_picture": TruncatedPicture,
    "unknown_account": UnknownAccount,
    "unknown_api_key": UnknownApiKey,
    "unknown_event": UnknownEvent,
    "unknown_face": UnknownFace,
    "unknown_host": UnknownHost,
    "unknown_job": UnknownJob,
    "unknown_person": UnknownPerson,
    "unsupported_picture_type": UnsupportedPictureType,
    "weak_password": WeakPassword,
}
"""By code."""
