"""A serve config as a command reads it: every key that Serve would refuse or pass over is named."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from serving.errors import CommandError, ConfigurationError
from serving.settings import ENV_PREFIX


def read_config(path: Path) -> dict[str, Any]:
    """What the file holds.

    Raises:
        CommandError: there is no such file, or it cannot be read.
        ConfigurationError: it is no mapping in YAML.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise CommandError(f"--config {path}: {error.strerror}; name a serve config that is there") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--config {path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"--config {path} is not a serve config")
    return content


def find_application(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The one application of a serve config; it has `args` then.

    Raises:
        ConfigurationError: there is none, or another number of them; or settings stand under runtime_env.
    """
    applications = content.get("applications")
    if not isinstance(applications, list) or len(applications) != 1:
        raise ConfigurationError(f"--config {path}: `applications` must hold exactly one application")
    application = applications[0]
    if not isinstance(application, dict):
        raise ConfigurationError(f"--config {path}: applications.0 is not a mapping")
    if not isinstance(application.setdefault("args", {}), dict):
        raise ConfigurationError(
            f"--config {path}: applications.0.args is not a mapping; write {{}} for none"
        )
    variables = (application.get("runtime_env") or {}).get("env_vars") or {}
    hidden = [name for name in variables if str(name).upper().startswith(ENV_PREFIX)]
    if hidden:
        raise ConfigurationError(
            f"--config {path}: applications.0.runtime_env.env_vars.{hidden[0]}: no command would see it; "
            "put it under args, or into the environment of Ray and of commands"
        )
    return application


def complete_config(content: dict[str, Any], http: Mapping[str, Any], path: Path) -> tuple[str, int]:
    """Put these HTTP options into a serve config.

    Returns:
        The host and port it will listen on.

    Raises:
        ConfigurationError: naming every key that Serve does not know or take.
    """
    from pydantic import ValidationError
    from ray.serve.schema import ServeDeploySchema  # only now: it reads the flags set above

    if not isinstance(content.setdefault("http_options", {}), dict):
        raise ConfigurationError(f"--config {path}: http_options is not a mapping; write {{}} for none")
    content["http_options"] |= http
    problems = []
    try:
        schema = ServeDeploySchema.model_validate(content)
    except ValidationError as error:
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"])
            words = problem["msg"].removeprefix("Value error, ")
            problems.append(f"{key}: {words}" if key else words)
    else:
        problems += _find_unknown_keys(content)
        if not 1 <= schema.http_options.port <= 65535:
            problems.append("http_options.port: not from 1 to 65535")
    if problems:
        raise ConfigurationError(f"--config {path}: {'; '.join(problems)}")
    return schema.http_options.host, schema.http_options.port


def _find_unknown_keys(content: Mapping[str, Any]) -> Iterator[str]:
    """Keys of a valid serve config that Serve would pass over in silence."""
    from ray.serve.schema import (
        DeploymentSchema,
        HTTPOptionsSchema,
        ServeApplicationSchema,
        ServeDeploySchema,
    )

    def compare(part: Mapping[str, Any], known: Collection[str], prefix: str) -> Iterator[str]:
        for key in part:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                yield f"{prefix}{key}: there is no such key" + (f"; did you mean {near[0]}?" if near else "")

    yield from compare(content, ServeDeploySchema.model_fields, "")
    yield from compare(content["http_options"], HTTPOptionsSchema.model_fields, "http_options.")
    for place, application in enumerate(content["applications"]):
        here = f"applications.{place}."
        yield from compare(application, ServeApplicationSchema.model_fields, here)
        for number, deployment in enumerate(application.get("deployments", [])):
            yield from compare(deployment, DeploymentSchema.model_fields, f"{here}deployments.{number}.")
