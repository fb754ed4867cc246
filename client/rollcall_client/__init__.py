"""A typed client of Rollcall, sync and async: `Client` and `AsyncClient`.

`rollcall_client.models` are the answers, `rollcall_client.problems` the errors by code,
`rollcall_client.errors` their families.
"""

__version__ = "0.1.0"

from rollcall_client import models, problems
from rollcall_client.async_client import AsyncClient
from rollcall_client.bodies import UNSET, Picture, Upload
from rollcall_client.client import Client
from rollcall_client.downloads import AsyncDownload, Download
from rollcall_client.errors import (
    ConnectionFailed,
    DeadlinePassed,
    JobFailed,
    RollcallError,
    ServiceError,
    UnexpectedAnswer,
)
from rollcall_client.retry import Retries
from rollcall_client.session import Session
from rollcall_client.stream_messages import FrameRefused, StreamFace, StreamFaces, StreamReady
from rollcall_client.streams import AsyncStream, Stream

__all__ = [
    "UNSET",
    "AsyncClient",
    "AsyncDownload",
    "AsyncStream",
    "Client",
    "ConnectionFailed",
    "DeadlinePassed",
    "Download",
    "FrameRefused",
    "JobFailed",
    "Picture",
    "Retries",
    "RollcallError",
    "ServiceError",
    "Session",
    "Stream",
    "StreamFace",
    "StreamFaces",
    "StreamReady",
    "UnexpectedAnswer",
    "Upload",
    "models",
    "problems",
]
