"""Every error Rollcall answers with: one class each, with a stable code, an HTTP status and a cure.

The classes import nothing of the package, so any layer may raise them. They travel between Serve
replicas as plain values, hence the explicit pickling.
"""

from __future__ import annotations

from typing import Any, ClassVar


class RollcallError(Exception):
    """Base of all expected errors.

    Attributes:
        code: stable identifier that clients may branch on.
        status: HTTP status code.
        title: one line on the kind of error, the same for every occurrence.
        cure: what the caller can do about it.
        detail: what happened this time.
        context: JSON-able facts of this occurrence (limits, indices); never a secret or a face.
        retry_after_s: seconds after which a retry may succeed, or None.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something failed inside Rollcall"
    cure: ClassVar[str] = "Try again; if it persists, give the request id to the operator."
    retry_after_s: ClassVar[float | None] = None

    def __init__(self, detail: str | None = None, /, **context: Any) -> None:
        self.detail = detail or self.title
        self.context = context
        super().__init__(self.detail)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.detail, self.context)


def _rebuild(kind: type[RollcallError], detail: str, context: dict[str, Any]) -> RollcallError:
    error = kind(detail)
    error.context = context
    return error


class InternalError(RollcallError):
    """A fault of ours; the detail never carries a traceback."""


# Configuration: raised before the service is up, so no HTTP status of their own.


class ConfigurationError(RollcallError):
    code = "configuration_error"
    title = "The configuration is not valid"
    cure = "Correct the named key; docs/configuration.md lists them all."


class CommandError(RollcallError):
    code = "command_error"
    title = "The command cannot do that"
    cure = "See the command's --help."


class PackError(RollcallError):
    code = "pack_error"
    title = "A model pack cannot be used"
    cure = "Run `rollcall packs prepare`; the message says what is wrong with which file."


# The request itself.


class InvalidRequest(RollcallError):
    code = "invalid_request"
    status = 422
    title = "The request does not have the documented form"
    cure = "Compare the request with /docs; context.errors names each field."


class NotFound(RollcallError):
    code = "not_found"
    status = 404
    title = "There is nothing at this address"
    cure = "See /docs for the routes."


class MethodNotAllowed(RollcallError):
    code = "method_not_allowed"
    status = 405
    title = "This address does not take that method"
    cure = "See /docs for the routes."


class BodyTooLarge(RollcallError):
    code = "body_too_large"
    status = 413
    title = "The request body is larger than this service accepts"
    cure = "Send fewer or smaller pictures; context.max_bytes is the limit."


# Who asks.


class TokenMissing(RollcallError):
    code = "token_missing"
    status = 401
    title = "This route needs a bearer token"
    cure = "Send `Authorization: Bearer <token>`; `rollcall token` prints one."


class TokenInvalid(RollcallError):
    code = "token_invalid"
    status = 401
    title = "The bearer token is not one of ours"
    cure = "Get a new token from this service; `rollcall token` prints one."


class TokenExpired(RollcallError):
    code = "token_expired"
    status = 401
    title = "The bearer token has expired"
    cure = "Get a new token; `rollcall token` prints one."


class Forbidden(RollcallError):
    code = "forbidden"
    status = 403
    title = "This identity may not do that"
    cure = "Ask an administrator for the role that context.needs names."


# The picture.


class NotAnImage(RollcallError):
    code = "not_an_image"
    status = 400
    title = "These bytes are not a picture"
    cure = "Send a JPEG, PNG or WebP file."


class UnsupportedPictureType(RollcallError):
    code = "unsupported_picture_type"
    status = 415
    title = "This kind of picture is not accepted"
    cure = "Convert it to JPEG, PNG or WebP."


class TruncatedPicture(RollcallError):
    code = "truncated_picture"
    status = 400
    title = "The picture file ends too early or is damaged"
    cure = "Send the whole file; the upload was probably cut off."


class PictureTooLarge(RollcallError):
    code = "picture_too_large"
    status = 413
    title = "The picture file has too many bytes"
    cure = "Send a smaller file; context.max_bytes is the limit."


class TooManyPixels(RollcallError):
    code = "too_many_pixels"
    status = 413
    title = "The picture has too many pixels"
    cure = "Scale it down; context.max_pixels is the limit."


class PictureTooSmall(RollcallError):
    code = "picture_too_small"
    status = 422
    title = "The picture is too small to hold a face"
    cure = "Send a larger picture; context.min_side_px is the limit."


class NoFace(RollcallError):
    code = "no_face"
    status = 422
    title = "No face was found in the picture"
    cure = "Send a picture in which the face is visible, lit and at least 40 pixels wide."


class SeveralFaces(RollcallError):
    code = "several_faces"
    status = 422
    title = "More than one face was found where exactly one is needed"
    cure = "Crop the picture to the person being enrolled; context.boxes shows what was found."


# Events and people.


class UnknownEvent(RollcallError):
    code = "unknown_event"
    status = 404
    title = "There is no such event"
    cure = "List the events with GET /v1/events."


class EventExists(RollcallError):
    code = "event_exists"
    status = 409
    title = "An event with this id exists already"
    cure = "Choose another id, or use the event that is there."


class PackMismatch(RollcallError):
    code = "pack_mismatch"
    status = 409
    title = "This event's faces belong to another model pack"
    cure = "Run the service with the pack that context.pack_id names, or enrol the people at a new event."


class UnknownPerson(RollcallError):
    code = "unknown_person"
    status = 404
    title = "Nobody with this id is enrolled at this event"
    cure = "List the people with GET /v1/events/{event}/people."


class ErasedMeanwhile(RollcallError):
    code = "erased_meanwhile"
    status = 409
    title = "The event or person was deleted while this request ran"
    cure = "Nothing was stored. Create the event again if that was not intended."


# Load and failure.


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


class DeadlineExceeded(RollcallError):
    code = "deadline_exceeded"
    status = 504
    title = "The answer was not ready in time"
    cure = "Try again when the service is less busy, or allow more time."
    retry_after_s = 1.0


ALL_ERRORS: tuple[type[RollcallError], ...] = (
    InternalError, InvalidRequest, NotFound, MethodNotAllowed, BodyTooLarge,
    TokenMissing, TokenInvalid, TokenExpired, Forbidden,
    NotAnImage, UnsupportedPictureType, TruncatedPicture, PictureTooLarge, TooManyPixels, PictureTooSmall,
    NoFace, SeveralFaces, UnknownEvent, EventExists, PackMismatch, UnknownPerson, ErasedMeanwhile,
    Overloaded, StageUnavailable, DeadlineExceeded,
)  # fmt: skip
"""The errors a client can receive over HTTP."""
