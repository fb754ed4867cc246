"""Where settings may stand apart from a serve config: `ROLLCALL_*` variables, files they name, and `.env`."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from dotenv import dotenv_values
from pydantic_settings import BaseSettings, EnvSettingsSource

from serving.errors import ConfigurationError
from serving.settings.section import Section

ENV_PREFIX = "ROLLCALL_"
DOTENV = Path(".env")
NOT_SETTINGS = frozenset(
    {"SHARED_DIR", "TEST_POSTGRES_URL", "TEST_ALL_PICTURES", "EVENT", "PASSWORD", "TOKEN", "URL"}
)
"""Suffixes of ROLLCALL_ variables that the test-suite or a command reads and the service does not."""
IN_A_FILE = "_FILE"
"""`ROLLCALL_DATABASE_URL_FILE` names a file that holds the value of `ROLLCALL_DATABASE_URL`."""
MAX_FILE_BYTES = 64 * 2**10
"""No setting is longer; a wrong path must not pull gigabytes into memory."""


class EnvironmentSource(EnvSettingsSource):
    """The process's environment, less the variables that name files."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._take(os.environ)

    def _take(self, variables: Mapping[str, str | None]) -> dict[str, str | None]:
        known = set(list_keys(self.settings_cls))
        return {
            name.lower(): value for name, value in variables.items() if key_in_a_file(name, known) is None
        }


class DotEnvSource(EnvironmentSource):
    """`.env`, read as if its variables stood in the environment: those of others there are let be."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._take(read_dotenv())


def read_dotenv() -> dict[str, str | None]:
    """What `.env` in the working directory holds; nothing when there is none.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return dotenv_values(DOTENV)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{DOTENV} cannot be read: {error}") from None


class SecretFileSource(EnvSettingsSource):
    """Values that lie in files, each named by the setting's variable with `_FILE` at its end."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        known = set(list_keys(self.settings_cls))
        variables = {**read_dotenv(), **os.environ}
        return {
            make_variable(key).lower(): read_value_file(name, path)
            for name, path in variables.items()
            if (key := key_in_a_file(name, known)) is not None
        }


def list_keys(settings: type[BaseSettings]) -> Iterator[str]:
    """Every setting as a dotted path, e.g. `picture.max_bytes`."""
    for name, field in settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from (f"{name}.{inner}" for inner in kind.model_fields)
        else:
            yield name


def make_key(variable: str) -> str:
    """The dotted path that a `ROLLCALL_*` variable sets, whether there is such a setting or not."""
    return variable.upper().removeprefix(ENV_PREFIX).lower().replace("__", ".")


def make_variable(key: str) -> str:
    """The variable that sets a dotted path: `picture.max_bytes` -> `ROLLCALL_PICTURE__MAX_BYTES`."""
    return ENV_PREFIX + key.upper().replace(".", "__")


def key_in_a_file(variable: str, known: Collection[str]) -> str | None:
    """The setting whose value lies in the file that a variable names; None when it names none.

    A setting whose own name ends in `_file`, such as `gallery.ca_file`, is a path and no such thing.
    """
    name = variable.upper()
    if not name.startswith(ENV_PREFIX) or not name.endswith(IN_A_FILE) or make_key(name) in known:
        return None
    key = make_key(name.removesuffix(IN_A_FILE))
    return key if key in known else None


def read_value_file(variable: str, path: str | None) -> str:
    """What the file holds, without the end of its last line.

    Raises:
        ConfigurationError: it is not there, cannot be read, is empty or is no short text; shows none of it.
    """
    try:
        with open(path or "", "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{variable}: {path!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{variable}: {path!r} is not UTF-8 text") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{variable}: {path!r} is above {MAX_FILE_BYTES} bytes")
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise ConfigurationError(f"{variable}: {path!r} is empty")
    return value
