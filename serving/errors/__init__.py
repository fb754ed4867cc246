"""Every error Rollcall answers with: one class each, with a stable code, an HTTP status and a cure.

The classes import nothing of the package, so any layer may raise them. They travel between Serve
replicas as plain values, hence the explicit pickling.
"""

from serving.errors.access import (
    AccountExists,
    ApiKeyInvalid,
    Forbidden,
    LastAdministrator,
    RateLimited,
    SignInFailed,
    SignUpClosed,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    TokenRevoked,
    UnknownAccount,
    UnknownApiKey,
    WeakPassword,
)
from serving.errors.base import InternalError, RollcallError
from serving.errors.configuration import CommandError, ConfigurationError, PackError
from serving.errors.events import (
    ConsentRequired,
    DuplicatePerson,
    ErasedMeanwhile,
    EventClosed,
    EventExists,
    FalseMatchRateNotSupported,
    IdempotencyKeyReused,
    PackMismatch,
    PolicyNotAllowed,
    RequestInProgress,
    UnknownEvent,
    UnknownFace,
    UnknownPerson,
)
from serving.errors.jobs import BadArchive, JobFinished, JobNotFinished, TooManyJobs, UnknownJob
from serving.errors.load import DeadlineExceeded, Overloaded, StageUnavailable
from serving.errors.pictures import (
    NoFace,
    NotAnImage,
    PictureTooLarge,
    PictureTooSmall,
    QualityTooLow,
    SeveralFaces,
    TooManyPixels,
    TruncatedPicture,
    UnsupportedPictureType,
)
from serving.errors.requests import BodyTooLarge, InvalidRequest, MethodNotAllowed, NotFound

__all__ = [
    "ALL_ERRORS",
    "AccountExists",
    "ApiKeyInvalid",
    "BadArchive",
    "BodyTooLarge",
    "CommandError",
    "ConfigurationError",
    "ConsentRequired",
    "DeadlineExceeded",
    "DuplicatePerson",
    "ErasedMeanwhile",
    "EventClosed",
    "EventExists",
    "FalseMatchRateNotSupported",
    "Forbidden",
    "IdempotencyKeyReused",
    "InternalError",
    "InvalidRequest",
    "JobFinished",
    "JobNotFinished",
    "LastAdministrator",
    "MethodNotAllowed",
    "NoFace",
    "NotAnImage",
    "NotFound",
    "Overloaded",
    "PackError",
    "PackMismatch",
    "PictureTooLarge",
    "PictureTooSmall",
    "PolicyNotAllowed",
    "QualityTooLow",
    "RateLimited",
    "RequestInProgress",
    "RollcallError",
    "SeveralFaces",
    "SignInFailed",
    "SignUpClosed",
    "StageUnavailable",
    "TokenExpired",
    "TokenInvalid",
    "TokenMissing",
    "TokenRevoked",
    "TooManyJobs",
    "TooManyPixels",
    "TruncatedPicture",
    "UnknownAccount",
    "UnknownApiKey",
    "UnknownEvent",
    "UnknownFace",
    "UnknownJob",
    "UnknownPerson",
    "UnsupportedPictureType",
    "WeakPassword",
]

ALL_ERRORS: tuple[type[RollcallError], ...] = (
    InternalError, InvalidRequest, NotFound, MethodNotAllowed, BodyTooLarge,
    TokenMissing, TokenInvalid, TokenExpired, TokenRevoked, Forbidden, SignInFailed, SignUpClosed,
    WeakPassword, AccountExists, UnknownAccount, LastAdministrator, ApiKeyInvalid, UnknownApiKey, RateLimited,
    NotAnImage, UnsupportedPictureType, TruncatedPicture, PictureTooLarge, TooManyPixels, PictureTooSmall,
    NoFace, SeveralFaces, QualityTooLow,
    UnknownEvent, EventExists, EventClosed, PackMismatch, PolicyNotAllowed, FalseMatchRateNotSupported,
    UnknownPerson, ConsentRequired, DuplicatePerson, UnknownFace, ErasedMeanwhile,
    IdempotencyKeyReused, RequestInProgress,
    UnknownJob, JobNotFinished, JobFinished, TooManyJobs, BadArchive,
    Overloaded, StageUnavailable, DeadlineExceeded,
)  # fmt: skip
"""The errors a client can receive over HTTP."""
