"""Units of work on jobs.

Whoever works on a job says so in every transaction: nothing is written for a job whose claim has passed to
another runner, or that was cancelled.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, or_, select, update

from serving.errors import JobFinished, TooManyJobs, UnknownEvent, UnknownJob
from serving.jobs.records import Actor, ImportOptions, Job, JobKind, JobState, Rejection
from serving.jobs.tables import job, job_rejection
from serving.registry.events import hold_open
from serving.registry.tables import IS_OPEN, event, insert_into

_UNFINISHED = job.c.state.in_([JobState.queued.value, JobState.running.value])
_ACTOR_KIND, _ACTOR_ID = "actor_kind", "actor_id"


def create(connection: Connection, new: Job, max_unfinished: int) -> Job:
    """Insert a queued job; raises TooManyJobs, and UnknownEvent when the event is being deleted."""
    if not hold_open(connection, new.event_key):
        raise UnknownEvent
    if connection.dialect.name == "postgresql":  # so that two who count at once do not both insert
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"job {new.event_key}"))))
    unfinished = count_unfinished(connection, new.event_key)
    if unfinished >= max_unfinished:
        raise TooManyJobs(f"{unfinished} jobs of this event wait or run", max_unfinished=max_unfinished)
    row = {
        "id": new.id,
        "event_key": new.event_key,
        "kind": new.kind.value,
        "state": new.state.value,
        "created_by": new.created_by.name,
        "created_at": new.created_at,
        "options": {
            **asdict(new.options),
            _ACTOR_KIND: new.created_by.kind,
            _ACTOR_ID: new.created_by.id,
        },
        "file": new.file,
        "done": 0,
        "rejected": 0,
    }
    connection.execute(insert(job), row)
    return new


def count_unfinished(connection: Connection, event_key: str) -> int:
    """How many jobs of an event wait or run."""
    counted = select(func.count()).select_from(job).where(job.c.event_key == event_key, _UNFINISHED)
    return int(connection.execute(counted).scalar_one())


def get(connection: Connection, event_key: str, job_id: str) -> Job:
    """The job, if it belongs to the event; raises UnknownJob."""
    row = connection.execute(select(job).where(job.c.id == job_id, job.c.event_key == event_key)).first()
    if row is None:
        raise UnknownJob(job=job_id)
    return _read(row)


def list_jobs(
    connection: Connection,
    event_key: str,
    kinds: Collection[str],
    before: tuple[datetime, str] | None,
    limit: int,
) -> list[Job]:
    """Jobs of an event, the newest first, created before that moment; one more than `limit` if there is."""
    statement = select(job).where(job.c.event_key == event_key, job.c.kind.in_(sorted(kinds)))
    if before is not None:
        moment, job_id = before
        statement = statement.where(
            or_(job.c.created_at < moment, and_(job.c.created_at == moment, job.c.id < job_id))
        )
    ordered = statement.order_by(job.c.created_at.desc(), job.c.id.desc()).limit(limit + 1)
    return [_read(row) for row in connection.execute(ordered)]


def list_rejections(connection: Connection, job_id: str, after: int, limit: int) -> list[Rejection]:
    """Rejected items behind the item `after`, in order; one more than `limit` if there is."""
    listed = (
        select(job_rejection.c.item, job_rejection.c.name, job_rejection.c.code, job_rejection.c.detail)
        .where(job_rejection.c.job_id == job_id, job_rejection.c.item > after)
        .order_by(job_rejection.c.item)
        .limit(limit + 1)
    )
    return [Rejection(*row) for row in connection.execute(listed)]


def cancel(connection: Connection, event_key: str, job_id: str, now: datetime) -> Job:
    """End an unfinished job; raises JobFinished, UnknownJob."""
    ended = (
        update(job)
        .where(job.c.id == job_id, job.c.event_key == event_key, _UNFINISHED)
        .values(state=JobState.cancelled.value, finished_at=now, claimed_by=None, claimed_until=None)
    )
    if connection.execute(ended).rowcount == 0:
        found = get(connection, event_key, job_id)
        raise JobFinished(f"The job is {found.state.value}.", state=found.state.value)
    return get(connection, event_key, job_id)


def claimable(connection: Connection, now: datetime, limit: int, skip: int) -> list[Job]:
    """Jobs that wait, or whose runner has gone; the oldest first.

    Not those of an event of which another job runs: the jobs of an event come one after the other.
    """
    other = job.alias()
    runs = exists().where(
        other.c.event_key == job.c.event_key,
        other.c.state == JobState.running.value,
        other.c.claimed_until >= now,
    )
    waiting = (
        select(job).where(_is_free(now), ~runs).order_by(job.c.created_at, job.c.id).limit(limit).offset(skip)
    )
    return [_read(row) for row in connection.execute(waiting)]


def claim(connection: Connection, job_id: str, runner: str, now: datetime, until: datetime) -> Job | None:
    """Make the job this runner's until that moment; None when another was quicker or it has ended."""
    claimed = (
        update(job)
        .where(job.c.id == job_id, _is_free(now))
        .values(
            state=JobState.running.value,
            claimed_by=runner,
            claimed_until=until,
            started_at=func.coalesce(job.c.started_at, now),
        )
    )
    if connection.execute(claimed).rowcount == 0:
        return None
    return _read(connection.execute(select(job).where(job.c.id == job_id)).one())


def report(
    connection: Connection,
    job_id: str,
    runner: str,
    until: datetime,
    done: int,
    total: int | None,
    rejected: int,
    rejections: Sequence[Rejection],
) -> tuple[bool, str | None]:
    """Write how far the runner is and extend its claim; may be repeated.

    Returns:
        Whether the job is still the runner's, else nothing was written; and the id of the event while it is
        not being deleted.
    """
    values = {"done": done, "total": total, "rejected": rejected, "claimed_until": until}
    if connection.execute(update(job).where(_is_of(job_id, runner)).values(**values)).rowcount == 0:
        return False, None
    if rejections:
        rows = [{"job_id": job_id, **asdict(each)} for each in rejections]
        connection.execute(insert_into(connection, job_rejection).on_conflict_do_nothing(), rows)
    found = connection.execute(
        select(event.c.id)
        .select_from(job.join(event, event.c.key == job.c.event_key))
        .where(job.c.id == job_id, IS_OPEN)
    ).scalar()
    return True, found


def finish(
    connection: Connection,
    job_id: str,
    runner: str,
    now: datetime,
    state: JobState,
    file: str | None,
    error: tuple[str, str] | None,
) -> bool:
    """End a job of this runner's; False when it is not any more."""
    code, detail = error or (None, None)
    ended = (
        update(job)
        .where(_is_of(job_id, runner))
        .values(
            state=state.value,
            finished_at=now,
            claimed_by=None,
            claimed_until=None,
            file=file,
            error_code=code,
            error_detail=detail,
        )
    )
    return connection.execute(ended).rowcount == 1


def release(connection: Connection, job_id: str, runner: str, now: datetime) -> None:
    """Let another runner go on at once."""
    connection.execute(update(job).where(_is_of(job_id, runner)).values(claimed_until=now))


def forget_file(connection: Connection, job_id: str) -> None:
    """Note that the job's file is deleted."""
    connection.execute(update(job).where(job.c.id == job_id).values(file=None))


def expired_results(connection: Connection, before: datetime, limit: int) -> list[Job]:
    """Jobs that ended before that moment and still have a file."""
    expired = select(job).where(job.c.file.is_not(None), job.c.finished_at < before).limit(limit)
    return [_read(row) for row in connection.execute(expired)]


def fail_abandoned(connection: Connection, job_id: str, now: datetime, error: tuple[str, str]) -> None:
    """Fail a job that nobody has a claim to."""
    code, detail = error
    connection.execute(
        update(job)
        .where(job.c.id == job_id, _is_free(now))
        .values(
            state=JobState.failed.value,
            finished_at=now,
            claimed_by=None,
            claimed_until=None,
            error_code=code,
            error_detail=detail,
        )
    )


def delete_older(connection: Connection, before: datetime) -> int:
    """Forget jobs that ended before that moment, with their rejections; how many there were."""
    return connection.execute(delete(job).where(job.c.finished_at < before)).rowcount


def files_of(connection: Connection, event_key: str) -> list[str]:
    """The files of all jobs of an event."""
    named = select(job.c.file).where(job.c.event_key == event_key, job.c.file.is_not(None))
    return list(connection.execute(named).scalars())


def needed_files(connection: Connection, names: Sequence[str]) -> frozenset[str]:
    """Those of these files that an unfinished job or a result to fetch stands on."""
    ids = {name.partition(".")[0]: name for name in names}
    rows = connection.execute(select(job.c.id, job.c.file, job.c.state).where(job.c.id.in_(sorted(ids))))
    needed = set()
    for job_id, file, state in rows:
        if file in names:
            needed.add(file)
        if not JobState(state).is_final:  # an export that is being written has no name in its row yet
            needed.add(ids[job_id])
    return frozenset(needed)


def _is_free(now: datetime) -> ColumnElement[bool]:
    return or_(
        job.c.state == JobState.queued.value,
        and_(job.c.state == JobState.running.value, job.c.claimed_until < now),
    )


def _is_of(job_id: str, runner: str) -> ColumnElement[bool]:
    return and_(job.c.id == job_id, job.c.claimed_by == runner, job.c.state == JobState.running.value)


def _read(row: Any) -> Job:
    options = dict(row.options or {})
    actor = Actor(row.created_by, options.pop(_ACTOR_KIND), options.pop(_ACTOR_ID))
    return Job(
        id=row.id,
        event_key=row.event_key,
        kind=JobKind(row.kind),
        state=JobState(row.state),
        created_by=actor,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        file=row.file,
        total=row.total,
        done=row.done,
        rejected=row.rejected,
        error_code=row.error_code,
        error_detail=row.error_detail,
        options=ImportOptions(**options),
    )
