"""Faults of what an operator does: backups, restores."""

from __future__ import annotations

from serving.errors.configuration import CommandError


class BackupError(CommandError):
    code = "backup_error"
    title = "A backup cannot be written, read or used"
    cure = "The message names the file or store, and the fault: mend or start it; docs/backup.md says more."


class RestoreRefused(BackupError):
    code = "restore_refused"
    title = "The backup is good, and restoring it here would do harm"
    cure = "The message says what is in the way, and which option allows it."
