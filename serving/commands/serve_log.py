"""Where `rollcall serve` keeps the log of its service, and what it says there itself."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from serving.settings import Settings, load_settings
from serving.telemetry.logs import FILE_NAMES, Process
from serving.telemetry.process import join_process

logger = logging.getLogger(__name__)

NAME = "serve"
"""Under which the command itself writes, beside the deployments."""


def place_log(args: dict[str, Any], settings: Settings) -> Settings:
    """Put the log beside the data, unless the settings say where: this machine is the whole cluster.

    Args:
        args: settings in the serve config, which replicas read; changed in place.

    Returns:
        The settings as they are now.
    """
    if settings.logging.enabled and settings.logging.output == "stderr":
        os.environ.setdefault("RAY_LOG_TO_STDERR", "1")  # or Ray keeps what replicas say in its own files
    if settings.logging.directory is not None:
        return settings
    section = args.setdefault("logging", {})
    section["directory"] = str(settings.data_dir / "logs")
    return load_settings(args)


def join_command_log(settings: Settings) -> None:
    """Write what the command says into the same log."""
    join_process(settings, Process(NAME), settings.data_dir / "logs")


def name_log_file(settings: Settings) -> Path | None:
    """The file; None when there is none."""
    logging_settings = settings.logging
    if not logging_settings.enabled or logging_settings.output != "file":
        return None
    return (logging_settings.directory or settings.data_dir / "logs") / FILE_NAMES[logging_settings.format]
