"""Looking at one thing as `rollcall doctor` does, and what is made for it to be found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from serving.operations.doctor.all_checks import ALL_CHECKS
from serving.operations.doctor.checks import Check, Row, Subject, run_check
from serving.settings import Settings


def check_of(name: str) -> Check:
    [found] = [each for each in ALL_CHECKS if each.name == name]
    return found


def look(name: str, subject: Subject) -> list[Row]:
    return run_check(check_of(name), subject)


def worst(rows: list[Row]) -> Row:
    return max(rows, key=lambda row: ("ok", "warn", "fail").index(row.status))


def with_settings(subject: Subject, **sections: Any) -> Subject:
    known = {"data_dir": subject.settings.data_dir, "cache_dir": subject.settings.cache_dir}
    return replace(subject, settings=Settings(_env_file=None, **{**known, **sections}))  # type: ignore[call-arg]


def with_mount(subject: Subject, line: str) -> Subject:
    (subject.proc / "self" / "mountinfo").write_text(line + "\n")
    return subject


def touch(path: Path, mode: int = 0o600, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path
