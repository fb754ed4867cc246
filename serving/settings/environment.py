"""Where settings may stand apart from a serve config: `ROLLCALL_*` variables and a `.env` file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values
from pydantic_settings import EnvSettingsSource

from serving.errors import ConfigurationError

ENV_PREFIX = "ROLLCALL_"
DOTENV = Path(".env")
NOT_SETTINGS = frozenset({"SHARED_DIR", "TEST_POSTGRES_URL", "TEST_ALL_PICTURES", "TOKEN", "URL"})
"""Suffixes of ROLLCALL_ variables that the test-suite or a command reads and the service does not."""


class DotEnvSource(EnvSettingsSource):
    """`.env`, read as if its variables stood in the environment: those of others there are let be."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in read_dotenv().items()}


def read_dotenv() -> dict[str, str | None]:
    """What `.env` in the working directory holds; nothing when there is none.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return dotenv_values(DOTENV)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{DOTENV} cannot be read: {error}") from None
