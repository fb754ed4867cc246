"""One typed settings object, validated before anything starts.

Values come, strongest first, from the `args` of a serve config, from `ROLLCALL_*` environment variables
(`ROLLCALL_PICTURE__MAX_BYTES=5000000`), from a `.env` file, and from the defaults below. A key that does
not exist is an error that names it, wherever it was written.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from serving.errors import ConfigurationError
from serving.settings_sections import (
    AuditSettings,
    AuthSettings,
    EnrolmentSettings,
    GallerySettings,
    JobSettings,
    LivenessSettings,
    LoadSettings,
    MetricsSettings,
    PackSettings,
    PictureSettings,
    QualitySettings,
    RateLimitSettings,
    RecognitionSettings,
    RetentionSettings,
    Section,
)
from serving.vision.execution import Execution

ENV_PREFIX = "ROLLCALL_"
DOTENV = Path(".env")
NOT_SETTINGS = frozenset({"SHARED_DIR", "TEST_POSTGRES_URL", "TEST_ALL_PICTURES", "TOKEN", "URL"})
"""Suffixes of ROLLCALL_ variables that the test-suite or a command reads and the service does not."""


class _DotEnvSource(EnvSettingsSource):
    """`.env`, read as if its variables stood in the environment: those of others there are let be."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in _read_dotenv().items()}


class Settings(BaseSettings):
    """All of Rollcall's settings; see docs/configuration.md for the generated table."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    data_dir: Path = Field(Path("data"), description="Gallery, registry and signing keys.")
    cache_dir: Path = Field(
        Path("~/.cache/rollcall"),
        description="Model packs, made again when deleted, and what you added to them (docs/packs.md).",
    )
    database_url: SecretStr | None = Field(
        None, description="SQLAlchemy URL of the registry; None: SQLite in data_dir."
    )
    pack: PackSettings = PackSettings()
    picture: PictureSettings = PictureSettings()
    recognition: RecognitionSettings = RecognitionSettings()
    gallery: GallerySettings = GallerySettings()
    auth: AuthSettings = AuthSettings()
    load: LoadSettings = LoadSettings()
    quality: QualitySettings = QualitySettings()
    liveness: LivenessSettings = LivenessSettings()
    enrolment: EnrolmentSettings = EnrolmentSettings()
    rate_limits: RateLimitSettings = RateLimitSettings()
    audit: AuditSettings = AuditSettings()
    jobs: JobSettings = JobSettings()
    retention: RetentionSettings = RetentionSettings()
    metrics: MetricsSettings = MetricsSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _DotEnvSource(settings_cls)

    @model_validator(mode="after")
    def _largest_picture_fits_a_body(self) -> Settings:
        if self.picture.max_bytes > self.load.max_body_bytes:
            raise ValueError(
                f"picture.max_bytes is {self.picture.max_bytes}, above load.max_body_bytes, "
                f"{self.load.max_body_bytes}"
            )
        return self

    @model_validator(mode="after")
    def _resolve_paths(self) -> Settings:
        # Replicas run in other working directories, so a relative path must become absolute here.
        for name in ("data_dir", "cache_dir"):
            object.__setattr__(self, name, getattr(self, name).expanduser().absolute())
        return self

    def make_execution(self, threads: int = 1) -> Execution:
        """How models run; `threads` where pack.intra_op_threads does not say."""
        return self.pack.make_execution(self.cache_dir, threads)

    @property
    def gallery_dir(self) -> Path:
        return self.data_dir / "gallery"

    @property
    def jobs_dir(self) -> Path:
        """Where uploads and exports lie until their job has ended."""
        return self.data_dir / "jobs"

    @property
    def keys_dir(self) -> Path:
        return self.data_dir / "keys"

    @property
    def registry_url(self) -> str:
        """SQLAlchemy URL, with its password: never log it."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        from serving.database import sqlite_url  # SQLAlchemy: most replicas have settings and no registry

        return sqlite_url(self.data_dir / "registry.sqlite3")


def load_settings(args: Mapping[str, Any] | None = None) -> Settings:
    """Settings from `args` (as in a serve config), the environment, `.env` and the defaults.

    Raises:
        ConfigurationError: naming every wrong key and, for a misspelt one, the nearest real key.
    """
    known = set(setting_keys())
    unknown = [name for name in _named_in_environment() if name not in known]
    if unknown:
        raise ConfigurationError("; ".join(_explain_unknown(name, known, env=True) for name in unknown))
    if args is None:
        args = {}
    if not isinstance(args, Mapping):
        raise ConfigurationError(f"args: a mapping of settings is needed, not {type(args).__name__}")
    # pydantic-settings would take some names for its own keywords (`_env_file`), so they never reach it.
    problems = [_explain_unknown(str(name), known) for name in args if name not in Settings.model_fields]
    try:
        settings = Settings(**{name: value for name, value in args.items() if name in Settings.model_fields})
    except ValidationError as error:
        problems += [_explain(problem, known) for problem in error.errors()]
    except SettingsError as error:
        problems += [f"{name}: this is not JSON" for name in _bad_json()] or [str(error)]
    if problems:
        raise ConfigurationError("; ".join(problems))
    return settings


def setting_keys() -> Iterator[str]:
    """Every setting as a dotted path, e.g. `picture.max_bytes`."""
    for name in Settings.model_fields:
        section = _section_of(name)
        if section is None:
            yield name
        else:
            yield from (f"{name}.{inner}" for inner in section.model_fields)


def _named_in_environment() -> Iterator[str]:
    for name in {**_read_dotenv(), **os.environ}:
        suffix = name.upper().removeprefix(ENV_PREFIX)
        if not name.upper().startswith(ENV_PREFIX) or suffix in NOT_SETTINGS:
            continue
        dotted = _dotted(name)
        if _section_of(dotted) is None:  # a whole section may be given as JSON
            yield dotted


def _bad_json() -> Iterator[str]:
    for source in (_read_dotenv(), os.environ):
        for name, value in source.items():
            if name.upper().startswith(ENV_PREFIX) and _takes_json(_dotted(name)) and not _is_json(value):
                yield name.upper()


def _takes_json(dotted: str) -> bool:
    first, _, inner = dotted.partition(".")
    section = _section_of(first)
    if section is None or not inner:
        return section is not None
    field = section.model_fields.get(inner)
    return field is not None and get_origin(field.annotation) is tuple


def _is_json(value: str | None) -> bool:
    try:
        json.loads(value or "")
    except ValueError:
        return False
    return True


def _dotted(name: str) -> str:
    return name.upper().removeprefix(ENV_PREFIX).lower().replace("__", ".")


def _section_of(key: str) -> type[Section] | None:
    field = Settings.model_fields.get(key)
    kind = None if field is None else field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _read_dotenv() -> dict[str, str | None]:
    try:
        return dotenv_values(DOTENV)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{DOTENV} cannot be read: {error}") from None


def _explain_unknown(key: str, known: set[str], *, env: bool = False) -> str:
    shown = ENV_PREFIX + key.upper().replace(".", "__") if env else key
    near = difflib.get_close_matches(key, known, n=1)
    if not near:
        return f"{shown}: there is no such setting"
    meant = ENV_PREFIX + near[0].upper().replace(".", "__") if env else near[0]
    return f"{shown}: there is no such setting; did you mean {meant}?"


def _explain(problem: Mapping[str, Any], known: set[str]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return _explain_unknown(key, known)
    words = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {words}" if key else words
