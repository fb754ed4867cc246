"""Live video."""

from __future__ import annotations

from serving.errors.base import RollcallError


class ForeignOrigin(RollcallError):
    code = "foreign_origin"
    status = 403
    title = "Pages of this origin may not open streams here"
    cure = "Open the stream from the service's own pages; operators list other origins in web.cors_origins."


class StreamIdle(RollcallError):
    code = "stream_idle"
    status = 408
    title = "Nothing came over the stream for too long"
    cure = "Connect again; send a frame at least every context.idle_timeout_s seconds."


class StreamOver(RollcallError):
    code = "stream_over"
    status = 408
    title = "The stream has lasted as long as a stream may"
    cure = "Connect again."


class TooManyStreams(RollcallError):
    code = "too_many_streams"
    status = 429
    title = "There are as many streams open as there may be"
    cure = "End another stream of this account, or try again after Retry-After seconds."
    retry_after_s = 5.0
