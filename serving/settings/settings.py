"""One typed settings object, put together from its sections and validated before anything starts."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from serving.settings.access import AuditSettings, AuthSettings, RateLimitSettings
from serving.settings.backup import BackupSettings
from serving.settings.environment import ENV_PREFIX, DotEnvSource, EnvironmentSource, SecretFileSource
from serving.settings.operation import JobSettings, LoadSettings, MetricsSettings, RetentionSettings
from serving.settings.packs import PackSettings
from serving.settings.recognition import (
    EnrolmentSettings,
    LivenessSettings,
    PictureSettings,
    QualitySettings,
    RecognitionSettings,
)
from serving.settings.stores import DatabaseSettings, GallerySettings, sqlite_url
from serving.settings.stream import StreamSettings
from serving.settings.telemetry import LoggingSettings, TracingSettings
from serving.settings.web import WebSettings
from serving.vision.execution import Execution


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
    database: DatabaseSettings = DatabaseSettings()
    auth: AuthSettings = AuthSettings()
    load: LoadSettings = LoadSettings()
    stream: StreamSettings = StreamSettings()
    quality: QualitySettings = QualitySettings()
    liveness: LivenessSettings = LivenessSettings()
    enrolment: EnrolmentSettings = EnrolmentSettings()
    rate_limits: RateLimitSettings = RateLimitSettings()
    audit: AuditSettings = AuditSettings()
    jobs: JobSettings = JobSettings()
    retention: RetentionSettings = RetentionSettings()
    metrics: MetricsSettings = MetricsSettings()
    logging: LoggingSettings = LoggingSettings()
    tracing: TracingSettings = TracingSettings()
    web: WebSettings = WebSettings()
    backup: BackupSettings = BackupSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            EnvironmentSource(settings_cls),
            SecretFileSource(settings_cls),
            DotEnvSource(settings_cls),
        )

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
        return sqlite_url(self.data_dir / "registry.sqlite3")
