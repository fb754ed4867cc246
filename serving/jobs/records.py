"""What the jobs are made of: immutable values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Literal

from serving.registry.person_details import PersonDetails


class JobKind(str, Enum):
    """What a job does."""

    import_pictures = "import_pictures"
    import_vectors = "import_vectors"
    export = "export"

    @property
    def is_import(self) -> bool:
        """Whether it enrols people."""
        return self is not JobKind.export


class JobState(str, Enum):
    """How far a job is; the last three are final."""

    queued = "queued"
    running = "running"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self in (JobState.done, JobState.failed, JobState.cancelled)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What holds for everyone in an import; None: as the event or the settings say.

    Attributes:
        on_duplicate: "refuse" or "allow": what becomes of a face that matches another person.
        quality: level that faces are held to: "off", "standard", "strict".
        consent_reference: of those people for whom the upload names none.
    """

    on_duplicate: Literal["refuse", "allow"] | None = None
    quality: str | None = None
    consent_reference: str | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asked for a job, as the audit trail names callers.

    Attributes:
        name: of the account, or of the account that made the key.
        kind: "account" or "api_key".
        id: of the account or key.
    """

    name: str
    kind: str = "account"
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    Attributes:
        event_key: the event it belongs to.
        created_by: who asked for it.
        file: name of its upload or result in the jobs directory; None when that is deleted.
        total: pictures or people in all, None until they are counted.
        done: how many are finished, from the front; those rejected count too.
        rejected: how many of them were rejected.
        error_code, error_detail: why it failed.
    """

    id: str
    event_key: str
    kind: JobKind
    state: JobState
    created_by: Actor
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    file: str | None = None
    total: int | None = None
    done: int = 0
    rejected: int = 0
    error_code: str | None = None
    error_detail: str | None = None
    options: ImportOptions = ImportOptions()


@dataclass(frozen=True, slots=True)
class Rejection:
    """One item that was not imported: its place in the upload, its name there, and why."""

    item: int
    name: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class PersonFacts:
    """What an upload says of a person beside pictures or vectors."""

    id: str
    details: PersonDetails = field(default_factory=PersonDetails)
