"""The request itself."""

from __future__ import annotations

from serving.errors.base import RollcallError


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


class UnknownHost(RollcallError):
    code = "unknown_host"
    status = 421
    title = "The service does not answer under this name"
    cure = "Ask it by the name it is published under; operators list the names in web.allowed_hosts."


class BodyTooLarge(RollcallError):
    code = "body_too_large"
    status = 413
    title = "The request body is larger than this service accepts"
    cure = "Send fewer or smaller pictures; context.max_bytes is the limit."
