"""Jobs in the database and their files, without a runner."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta

import pytest

from serving.errors import InvalidRequest, JobFinished, RollcallError, TooManyJobs, UnknownEvent, UnknownJob
from serving.jobs.files import JobFiles
from serving.jobs.jobs import FORGET_AFTER_DAYS, LEASE_S, ClaimLost
from serving.jobs.records import ImportOptions, Job, JobKind, JobState, Rejection
from serving.registry.paging import write_cursor
from tests.unit.jobs.conftest import EVERY_ENGINE, OPERATOR, Place

pytestmark = EVERY_ENGINE
ALL_KINDS = list(JobKind)


async def make(place: Place, kind: JobKind = JobKind.export) -> Job:
    place.clock.pass_s(1)
    return await place.jobs.create(place.event.key, kind, OPERATOR)


async def test_a_job_is_read_as_it_was_made(place: Place) -> None:
    options = ImportOptions("allow", "strict", "c-1")
    made = await place.jobs.create(
        place.event.key, JobKind.import_vectors, OPERATOR, file="a" * 32 + ".upload", options=options
    )
    assert await place.look(made) == made
    assert (made.created_by, made.options, made.state) == (OPERATOR, options, JobState.queued)


async def test_an_event_has_so_many_unfinished_jobs_at_most(place: Place) -> None:
    outcomes = await asyncio.gather(*(make(place) for _ in range(6)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in outcomes)[:3] == ["Job"] * 3
    assert {type(each) for each in outcomes} <= {Job, TooManyJobs}
    with pytest.raises(TooManyJobs):
        await place.jobs.check_room(place.event.key)
    with pytest.raises(TooManyJobs):
        await make(place)
    (first, *_) = [each for each in outcomes if isinstance(each, Job)]
    await place.jobs.cancel(place.event.key, first.id)
    await place.jobs.check_room(place.event.key)
    await make(place)


async def test_an_event_being_deleted_gets_no_job(place: Place) -> None:
    await place.registry.begin_event_deletion("gala")
    with pytest.raises(UnknownEvent):
        await make(place)


@pytest.mark.parametrize("job_id", ["0" * 32, "x", "é" * 5, "a/b", "x" * 500, "%00", ""])
async def test_jobs_that_are_not_there(place: Place, job_id: str) -> None:
    for call in (place.jobs.get, place.jobs.cancel):
        with pytest.raises(UnknownJob):
            await call(place.event.key, job_id)


async def test_the_jobs_of_another_event_do_not_exist(place: Place) -> None:
    other = await place.registry.create_event("expo", None, "pack")
    job = await make(place)
    for call in (place.jobs.get, place.jobs.cancel):
        with pytest.raises(UnknownJob):
            await call(other.key, job.id)
    assert (await place.jobs.list(other.key, ALL_KINDS)).items == ()
    assert (await place.look(job)).state is JobState.queued


async def test_jobs_are_listed_newest_first_in_pages(place: Place) -> None:
    made = []
    for number in range(7):
        made.append(await make(place, ALL_KINDS[number % 3]))
        await place.jobs.cancel(place.event.key, made[-1].id)
    found, cursor = [], None
    while True:
        page = await place.jobs.list(place.event.key, ALL_KINDS, cursor, 3)
        found += [job.id for job in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert found == [job.id for job in reversed(made)]
    exports = await place.jobs.list(place.event.key, [JobKind.export])
    assert {job.kind for job in exports.items} == {JobKind.export}


@pytest.mark.parametrize("cursor", ["x", "am9iLw", "am9iL3gveA", "am9iLzIwMjYtMDEtMDEveA", "é"])
async def test_strange_cursors(place: Place, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        await place.jobs.list(place.event.key, ALL_KINDS, cursor + "x")
    with pytest.raises(InvalidRequest):
        await place.jobs.rejections("0" * 32, cursor)


async def test_a_cursor_of_no_moment_in_utc(place: Place) -> None:
    with pytest.raises(InvalidRequest):
        await place.jobs.list(place.event.key, ALL_KINDS, write_cursor("job", "0001-01-01T00:00:00+14:00/x"))


async def test_only_whoever_holds_the_claim_writes(place: Place) -> None:
    job = await make(place)
    claimed = await place.jobs.claim("one")
    assert claimed is not None
    assert (claimed.state, claimed.started_at) == (JobState.running, place.clock.moment)
    assert await place.jobs.claim("two") is None
    assert await place.jobs.report(job.id, "one", 5, 10, 1, [Rejection(3, "n", "no_face", "d")]) == "gala"
    # Once more, as after an answer that was lost.
    await place.jobs.report(job.id, "one", 5, 10, 1, [Rejection(3, "n", "no_face", "d")])
    with pytest.raises(ClaimLost):
        await place.jobs.report(job.id, "two", 9, 10)
    with pytest.raises(ClaimLost):
        await place.jobs.finish(job.id, "two", JobState.done)
    place.clock.pass_s(LEASE_S + 1)
    taken = await place.jobs.claim("two")
    assert taken is not None
    assert (taken.done, taken.rejected, taken.started_at) == (5, 1, claimed.started_at)
    with pytest.raises(ClaimLost):
        await place.jobs.report(job.id, "one", 6, 10)
    await place.jobs.release(job.id, "one")  # says nothing to the other's claim
    assert await place.jobs.claim("three") is None
    await place.jobs.finish(job.id, "two", JobState.failed, error=("bad_archive", "why"))
    ended = await place.look(job)
    assert (ended.state, ended.error_code, ended.error_detail) == (JobState.failed, "bad_archive", "why")
    with pytest.raises(JobFinished):
        await place.jobs.cancel(place.event.key, job.id)


async def test_one_of_many_gets_the_claim(place: Place) -> None:
    await make(place)
    claims = await asyncio.gather(*(place.jobs.claim(f"r{number}") for number in range(8)))
    assert sum(claim is not None for claim in claims) == 1


async def test_names_that_no_database_stores(place: Place) -> None:
    job = await make(place)
    await place.jobs.claim("one")
    strange = Rejection(0, "a\x00b\udcff" + "x" * 1000, "invalid_request", "d\x00" * 900)
    await place.jobs.report(job.id, "one", 1, 1, 1, [strange])
    (read,) = (await place.jobs.rejections(job.id)).items
    assert read.name.startswith("a\ufffdb")
    assert (len(read.name), len(read.detail)) == (512, 1000)


async def test_a_report_tells_of_an_event_being_deleted(place: Place) -> None:
    job = await make(place)
    await place.jobs.claim("one")
    await place.registry.begin_event_deletion("gala")
    assert await place.jobs.report(job.id, "one", 0, 0) is None


def age(files: JobFiles, name: str, days: float) -> None:
    moment = time.time() - days * 86400
    os.utime(files.path(name), (moment, moment))


async def test_the_sweep_leaves_what_is_needed(place: Place) -> None:
    files = place.jobs.files
    job = await make(place)
    place.clock.pass_s(1)
    waiting = await place.upload(b"upload")
    names = {}
    for kind, id in (("old", "a" * 32), ("new", "b" * 32), ("result", job.id)):
        names[kind], file = files.create(id, "upload" if kind != "result" else "result")
        file.close()
    for name in (names["old"], names["result"], waiting.file):
        assert name is not None
        age(files, name, 2)
    (place.settings.jobs_dir / "notes.txt").write_text("somebody's")
    await place.jobs.claim("one")
    await place.jobs.finish(job.id, "one", JobState.done, file=names["result"])
    await place.jobs.sweep(keep_result_s=3600)
    kept = sorted([names["new"], names["result"], str(waiting.file), "notes.txt"])
    assert place.files() == kept
    place.clock.pass_s(3601)
    await place.jobs.sweep(keep_result_s=3600)
    assert names["result"] not in place.files()
    assert (await place.look(job)).file is None


async def test_nothing_is_left_on_disk_of_an_event_that_was_deleted(place: Place) -> None:
    files = place.jobs.files
    job = await make(place)
    place.clock.pass_s(1)
    waiting = await place.upload(b"upload")
    await place.jobs.claim("one")
    result, file = files.create(job.id, "result")
    file.close()
    await place.jobs.finish(job.id, "one", JobState.done, file=result)
    await place.registry.begin_event_deletion("gala")
    await place.registry.finish_event_deletion(place.event.key)
    await place.jobs.sweep(keep_result_s=3600)
    assert place.files() == sorted([result, str(waiting.file)]), "an upload may just be on its way"
    age(files, result, 0.001)
    age(files, str(waiting.file), 0.1)
    await place.jobs.sweep(keep_result_s=3600)
    assert place.files() == []


async def test_ended_jobs_are_forgotten_in_the_end(place: Place) -> None:
    job, waiting = await make(place), await make(place, JobKind.import_pictures)
    await place.jobs.cancel(place.event.key, job.id)
    place.clock.pass_s(timedelta(days=FORGET_AFTER_DAYS).total_seconds() + 1)
    await place.jobs.sweep(keep_result_s=60)
    with pytest.raises(UnknownJob):
        await place.look(job)
    assert (await place.look(waiting)).created_at == waiting.created_at


async def test_what_fails_is_ours(place: Place) -> None:
    await place.registry.close()
    for call in (place.jobs.list(place.event.key, ALL_KINDS), place.jobs.claim("one"), make(place)):
        with pytest.raises(RollcallError):
            await call
