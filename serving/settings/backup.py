"""Backups: how they are encrypted, and how long it is remembered what an old one must not bring back."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from serving.settings.section import Section


class BackupSettings(Section):
    """`rollcall backup` and `rollcall restore` (docs/backup.md)."""

    key_file: Path | None = Field(
        None,
        description="Keys that encrypt backups (`rollcall rotate-keys --backup`); None: not encrypted.",
    )
    keep_erasures_days: int = Field(
        365,
        ge=1,
        le=3660,
        description="How long it is remembered, by hash, who was erased; the oldest backup you may restore.",
    )

    @field_validator("key_file")
    @classmethod
    def _make_absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()
