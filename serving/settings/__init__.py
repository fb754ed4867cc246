"""Rollcall's settings, typed and validated before anything starts.

Values come, strongest first, from the `args` of a serve config, from `ROLLCALL_*` environment variables
(`ROLLCALL_PICTURE__MAX_BYTES=5000000`), from files that such variables name
(`ROLLCALL_DATABASE_URL_FILE`), from a `.env` file, and from the defaults in the sections. A key that does not
exist is an error that names it, wherever it was written.
"""

from serving.settings.access import AuditSettings, AuthSettings, RateLimitSettings, parse_limits
from serving.settings.backup import BackupSettings
from serving.settings.deployed import DeployedSettings
from serving.settings.digest import check_digest, make_digest
from serving.settings.environment import ENV_PREFIX
from serving.settings.hidden import find_hidden, refuse_hidden_stores
from serving.settings.loading import DEPLOYED_AS, load_settings, setting_keys
from serving.settings.operation import JobSettings, LoadSettings, MetricsSettings, RetentionSettings
from serving.settings.packs import PackSettings
from serving.settings.recognition import (
    EnrolmentSettings,
    LivenessSettings,
    PictureSettings,
    QualitySettings,
    RecognitionSettings,
)
from serving.settings.settings import Settings
from serving.settings.stores import DatabaseSettings, GallerySettings
from serving.settings.stream import StreamSettings
from serving.settings.telemetry import LoggingSettings, TracingSettings
from serving.settings.web import WebSettings

__all__ = [
    "DEPLOYED_AS",
    "ENV_PREFIX",
    "AuditSettings",
    "AuthSettings",
    "BackupSettings",
    "DatabaseSettings",
    "DeployedSettings",
    "EnrolmentSettings",
    "GallerySettings",
    "JobSettings",
    "LivenessSettings",
    "LoadSettings",
    "LoggingSettings",
    "MetricsSettings",
    "PackSettings",
    "PictureSettings",
    "QualitySettings",
    "RateLimitSettings",
    "RecognitionSettings",
    "RetentionSettings",
    "Settings",
    "StreamSettings",
    "TracingSettings",
    "WebSettings",
    "check_digest",
    "find_hidden",
    "load_settings",
    "make_digest",
    "parse_limits",
    "refuse_hidden_stores",
    "setting_keys",
]
