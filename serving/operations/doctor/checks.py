"""What a check is, and how all of them are run: none can hang or crash the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from serving.errors import RollcallError
from serving.operations.private_files import MOUNTED_SECRETS
from serving.settings import Settings

Status = Literal["ok", "warn", "fail"]
DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: what was seen, and what to do where that is not as it should be."""

    status: Status
    seen: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A finding and the name of its check."""

    check: str
    status: Status
    seen: str
    cure: str


@dataclass(frozen=True)
class Subject:
    """What is looked over.

    Attributes:
        settings: of the service.
        config: the serve config, or empty where it cannot be read.
        config_path: its file.
        config_fault: why it cannot be deployed, or empty.
        url: where the service should answer, or None.
        environment: of the process.
        proc, sys: the kernel's files.
        directory: in which the service is started: `.env` and `config/locks` are looked for here.
        shared_memory: where Ray keeps its objects.
        mounted_secrets: the folder of files whose modes say nothing, since a container engine mounts them.
    """

    settings: Settings
    config: Mapping[str, Any] = field(default_factory=dict)
    config_path: Path | None = None
    config_fault: str = ""
    url: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    directory: Path = Path()
    shared_memory: Path = Path("/dev/shm")  # noqa: S108
    mounted_secrets: Path = MOUNTED_SECRETS

    @property
    def deployments(self) -> list[Mapping[str, Any]]:
        """Of the serve config."""
        applications = self.config.get("applications") or [{}]
        return [each for each in applications[0].get("deployments") or [] if isinstance(each, Mapping)]


Look = Callable[[Subject], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """A check.

    Attributes:
        name: short, for the table.
        about: what it looks at.
        look: does it; may raise.
        deadline_s: how long it may take.
    """

    name: str
    about: str
    look: Look
    deadline_s: float = DEADLINE_S


def ok(seen: str) -> Finding:
    return Finding("ok", seen)


def warn(seen: str, cure: str) -> Finding:
    return Finding("warn", seen, cure)


def fail(seen: str, cure: str) -> Finding:
    return Finding("fail", seen, cure)


def run_check(check: Check, subject: Subject) -> list[Row]:
    """The rows of one check; one that crashes, hangs or finds nothing is a row that fails."""
    found: list[Finding] = []

    def look() -> None:
        try:
            found.extend(check.look(subject))
        except RollcallError as error:
            found.append(fail(error.detail, error.cure))
        except Exception as error:
            words = f"the check itself failed: {type(error).__name__}: {error}"[:300]
            found.append(fail(words, "Look at what it names; if that is in order, report this."))

    thread = threading.Thread(target=look, name=f"check-{check.name}", daemon=True)
    thread.start()
    thread.join(check.deadline_s)
    if thread.is_alive():
        seen = f"no answer within {check.deadline_s:g} s"
        return [Row(check.name, "fail", seen, "What it asks hangs: a store, a disk or a driver.")]
    if not found:
        found = [fail("the check found nothing to say", "Report this.")]
    return [Row(check.name, each.status, each.seen, each.cure) for each in found]


def run_checks(
    checks: Sequence[Check], subject: Subject, on_check: Callable[[str], None] = lambda name: None
) -> list[Row]:
    """All rows, in the order of the checks."""
    rows: list[Row] = []
    for check in checks:
        on_check(check.name)
        rows += run_check(check, subject)
    return rows
