"""A process of the service joins what tells of it: the log, the traces, the room on its disks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

import serving
from serving.settings import Settings
from serving.telemetry.disks import watch_disks
from serving.telemetry.logs import Process, join_log
from serving.telemetry.tracing import join_tracing


def join_process(settings: Settings, process: Process, log_directory: Path) -> None:
    """Log and trace from now on, and know which disks to tell of; a second call does nothing new.

    Args:
        log_directory: where the node's log lies, unless the settings name another.
    """
    watch_disks(settings, log_directory)
    join_log(settings.logging, process, directory=log_directory, secrets=list(list_secrets(settings)))
    resource = {
        "service.version": serving.__version__,
        "rollcall.deployment": process.deployment,
        "host.name": os.uname().nodename,
        "process.pid": str(os.getpid()),
    }
    if process.replica is not None:
        resource["service.instance.id"] = process.replica
    join_tracing(settings.tracing, resource)


def list_secrets(settings: BaseModel) -> Iterator[str]:
    """Every secret in the settings, and the passwords within URLs."""
    for name in type(settings).model_fields:
        yield from _find_secrets(getattr(settings, name))


def _find_secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        yield secret
        if "://" in secret and (password := urlsplit(secret).password):
            yield password
        for pair in secret.split(","):  # of headers
            yield from filter(None, pair.partition("=")[2:])
    elif isinstance(value, BaseModel):
        yield from list_secrets(value)
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _find_secrets(each)
