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
from typing import Any, Literal, get_origin

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from serving.errors import ConfigurationError
from serving.vision.picture import PictureLimits

ENV_PREFIX = "ROLLCALL_"
DOTENV = Path(".env")
NOT_SETTINGS = frozenset({"SHARED_DIR", "TEST_POSTGRES_URL"})
"""Suffixes of ROLLCALL_ variables that the test-suite reads and the service does not."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PackSettings(_Section):
    """Which model pack serves, and in which variant."""

    name: str = "starter"
    precision: Literal["int8", "fp32"] | None = Field(None, description="None: the pack's own default.")
    mirrored: bool | None = Field(
        None, description="Average in the mirrored chip; None: the pack's own default."
    )
    providers: tuple[str, ...] = Field(
        ("CPUExecutionProvider",), description="ONNX Runtime execution providers, in order of preference."
    )
    intra_op_threads: int = Field(1, ge=1, le=64, description="ONNX Runtime threads of one replica.")


class PictureSettings(_Section):
    """What a picture may be."""

    max_bytes: int = Field(10 * 2**20, ge=1024, description="Largest picture file, in bytes.")
    max_pixels: int = Field(40_000_000, ge=4096, description="Largest width x height.")
    min_side_px: int = Field(32, ge=8)
    max_per_request: int = Field(10, ge=1, le=100, description="Pictures in one enrolment.")
    detection_side_px: int = Field(
        640, ge=64, le=4096, description="Longer side of what the detector sees; larger finds smaller faces."
    )
    max_faces: int = Field(100, ge=1, le=1000, description="Faces answered per picture, the surest first.")

    @property
    def limits(self) -> PictureLimits:
        """What a single picture is held to."""
        return PictureLimits(
            max_bytes=self.max_bytes, max_pixels=self.max_pixels, min_side_px=self.min_side_px
        )

    @model_validator(mode="after")
    def _some_picture_fits(self) -> PictureSettings:
        if self.min_side_px**2 > self.max_pixels:
            raise ValueError(
                f"min_side_px is {self.min_side_px}: a square of it is above max_pixels, {self.max_pixels}"
            )
        return self


class RecognitionSettings(_Section):
    """How a probe is decided."""

    threshold: float | None = Field(
        None, ge=-1, le=1, description="Raw cosine at or above which it is a match; None: the pack's own."
    )
    top_k: int = Field(1, ge=1, le=100, description="Candidates answered per face when none is asked for.")
    max_top_k: int = Field(20, ge=1, le=100)

    @model_validator(mode="after")
    def _default_is_allowed(self) -> RecognitionSettings:
        if self.top_k > self.max_top_k:
            raise ValueError(f"top_k is {self.top_k}, above max_top_k, {self.max_top_k}")
        return self


class GallerySettings(_Section):
    """Where face vectors live."""

    engine: Literal["embedded", "server"] = "embedded"
    url: str | None = Field(None, description="Qdrant server, for engine `server`.")
    api_key: SecretStr | None = None
    timeout_s: float = Field(5.0, gt=0, le=60)

    @model_validator(mode="after")
    def _needs_url(self) -> GallerySettings:
        if self.engine == "server" and not self.url:
            raise ValueError("engine `server` needs gallery.url")
        return self


class AuthSettings(_Section):
    """How callers prove who they are."""

    issuer: str = Field("rollcall", min_length=1)
    audience: str = Field("rollcall", min_length=1)
    token_lifetime_s: int = Field(12 * 3600, ge=60, le=90 * 86400)
    leeway_s: float = Field(
        10.0, ge=0, le=120, description="Clock difference forgiven when checking a token."
    )


class LoadSettings(_Section):
    """How much work one ingress replica holds, and for how long."""

    request_timeout_s: float = Field(20.0, gt=0, le=300)
    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="Whole request body, all pictures together.")
    max_pending_requests: int = Field(
        256, ge=1, description="Picture requests one ingress replica holds; more are answered 503."
    )
    max_pending_bytes: int = Field(256 * 2**20, ge=2**20, description="Bytes of pictures held, likewise.")

    @model_validator(mode="after")
    def _largest_body_may_be_held(self) -> LoadSettings:
        if self.max_body_bytes > self.max_pending_bytes:
            raise ValueError(
                f"max_body_bytes is {self.max_body_bytes}, above max_pending_bytes, {self.max_pending_bytes}"
            )
        return self


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
        Path("~/.cache/rollcall"), description="Prepared model packs; safe to delete, made again."
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

    @property
    def gallery_dir(self) -> Path:
        return self.data_dir / "gallery"

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


def _section_of(key: str) -> type[_Section] | None:
    field = Settings.model_fields.get(key)
    kind = None if field is None else field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, _Section) else None


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
