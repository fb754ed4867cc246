"""What goes wrong between us and a Qdrant server, in Rollcall's words."""

from __future__ import annotations

import json

import grpc  # type: ignore[import-untyped]
import httpx
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from serving.errors import ConfigurationError, DeadlineExceeded, InternalError, Overloaded, StageUnavailable
from serving.gallery.retries import Transient

_MOST_REASON_CHARS = 300
# 404 and NOT_FOUND too: on a cluster the loser of a creation race may ask before the collection is known.
_RETRY_STATUSES = frozenset({404, 408, 500, 502, 503, 504})
_RETRY_CODES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
# OpenSSL's words, by way of httpx, and those of gRPC's own BoringSSL.
_SIGNS_OF_DISTRUST = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")
_REFUSAL_CODES = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})


def translate_fault(error: Exception) -> Exception:
    """Return what to raise for an error of qdrant-client: a Transient if another attempt may succeed."""
    if isinstance(error, ResourceExhaustedResponse):
        return Transient(Overloaded(f"the Qdrant server limits the rate: {error}"))
    if isinstance(error, UnexpectedResponse):
        return _translate_status(error.status_code or 0, _reason_in(error.content))
    if isinstance(error, ResponseHandlingException):
        return _translate_transport(error.source)
    if isinstance(error, grpc.RpcError):
        return _translate_code(error)
    return InternalError(f"the Qdrant client failed: {type(error).__name__}: {error}")


def is_conflict(error: Exception) -> bool:
    """Return whether a creation failed because somebody else created the same thing first."""
    if isinstance(error, UnexpectedResponse):
        return error.status_code == 409 or b"already exists" in error.content
    if isinstance(error, grpc.RpcError):
        return "already exists" in _details(error) or _code(error) is grpc.StatusCode.ALREADY_EXISTS
    return isinstance(error, ValueError) and "already exists" in str(error)


def _translate_status(status: int, reason: str) -> Exception:
    said = f"the Qdrant server answered {status}: {reason}"
    if status in (401, 403):
        return ConfigurationError(f"{said}; check its api key", key="gallery.api_key")
    if status == 429:
        return Transient(Overloaded(said))
    if status in _RETRY_STATUSES:
        return Transient(StageUnavailable(said))
    return InternalError(said)


def _translate_transport(source: Exception | str) -> Exception:
    if isinstance(source, httpx.TimeoutException):
        return Transient(DeadlineExceeded("the Qdrant server did not answer in time"))
    if isinstance(source, httpx.TransportError) and _is_distrust(str(source)):
        return _distrusted(str(source))
    if isinstance(source, httpx.TransportError):
        return Transient(StageUnavailable(f"the Qdrant server cannot be reached: {source!r}"))
    # The detail of a pydantic error would quote the body.
    return InternalError(f"the Qdrant server sent an answer of another form: {type(source).__name__}")


def _translate_code(error: grpc.RpcError) -> Exception:
    code = _code(error)
    said = f"the Qdrant server answered {code.name if code else 'nothing'}: {_details(error)}"
    if code is grpc.StatusCode.UNAVAILABLE and _is_distrust(said):
        return _distrusted(said)
    if code in _REFUSAL_CODES:
        return ConfigurationError(f"{said}; check its api key", key="gallery.api_key")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Transient(Overloaded(said))
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Transient(DeadlineExceeded("the Qdrant server did not answer in time"))
    if code in _RETRY_CODES:
        return Transient(StageUnavailable(said))
    return InternalError(said)


def _is_distrust(said: str) -> bool:
    return any(sign in said for sign in _SIGNS_OF_DISTRUST)


def _distrusted(said: str) -> ConfigurationError:
    return ConfigurationError(
        f"the Qdrant server's certificate is not trusted ({said[:_MOST_REASON_CHARS]}); set gallery.ca_file "
        "to the authority that signed it, and let gallery.url name the host as the certificate does",
        key="gallery.ca_file",
    )


def _code(error: grpc.RpcError) -> grpc.StatusCode | None:
    code = getattr(error, "code", None)
    value = code() if callable(code) else None
    return value if isinstance(value, grpc.StatusCode) else None


def _details(error: grpc.RpcError) -> str:
    details = getattr(error, "details", None)
    return str(details() if callable(details) else error)[:_MOST_REASON_CHARS]


def _reason_in(content: bytes) -> str:
    try:
        return str(json.loads(content)["status"]["error"])[:_MOST_REASON_CHARS]
    except (ValueError, TypeError, KeyError):
        return "no reason given"
