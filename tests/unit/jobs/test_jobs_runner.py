"""The runner: what it does with good and bad items, with trouble, and when it dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from serving.errors import (
    DeadlineExceeded,
    ErasedMeanwhile,
    EventClosed,
    Overloaded,
    RollcallError,
    StageUnavailable,
    UnknownEvent,
)
from serving.jobs.jobs import LEASE_S
from serving.jobs.records import ImportOptions, JobState
from serving.jobs.runner import JobRunner
from tests.unit.jobs.archives import make_targz, make_zip
from tests.unit.jobs.conftest import EVERY_ENGINE, Place

PEOPLE = [
    (f"p{number:02}/{picture}.jpg", f"{number}/{picture}".encode()) for number in range(8) for picture in "ab"
]
BAD = [("p03/x.jpg", b"no_face: nobody"), ("not an id/1.jpg", b"x"), ("p99/1.jpg", b"several_faces: two")]
WHOLE = sorted((name.partition("/")[0], content) for name, content in PEOPLE)
MAKERS = pytest.mark.parametrize("make", [make_zip, make_targz], ids=["zip", "tar.gz"])


async def until(condition: Callable[[], Any]) -> None:
    """Wait until the condition holds."""

    async def look() -> None:
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)

    await asyncio.wait_for(look(), 30)


@MAKERS
async def test_good_pictures_are_imported_and_bad_ones_listed(place: Place, make: Any) -> None:
    job = await place.upload(
        make([*PEOPLE, *BAD]), options=ImportOptions(on_duplicate="allow", consent_reference="c-7")
    )
    await place.make_runner().run_all()
    ended = await place.look(job)
    assert (ended.state, ended.total, ended.done, ended.rejected) == (JobState.done, 19, 19, 3)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert sorted(place.enroller.pictures) == WHOLE
    rejections = (await place.jobs.rejections(job.id)).items
    assert sorted((each.name, each.code) for each in rejections) == sorted(
        [
            ("p03/x.jpg", "no_face"),
            ("not an id/1.jpg", "invalid_request"),
            ("p99/1.jpg", "several_faces"),
        ]
    )
    assert set(place.enroller.options) == {job.options}
    assert place.files() == []
    (entry,) = place.audit.entries
    assert (entry.actor_kind, entry.actor_id, entry.actor) == ("api_key", "key-1", "olga")
    assert (entry.action, entry.outcome, entry.event_id) == ("jobs.finish", "ok", "gala")
    assert entry.details == {"job": job.id, "kind": "import_pictures", "items": 19, "rejected": 3}


async def test_no_more_pictures_are_in_flight_than_the_settings_say(place: Place) -> None:
    async def wait() -> None:
        await asyncio.sleep(0.001)

    place.enroller.before = wait
    await place.upload(make_zip(PEOPLE))
    await place.make_runner().run_all()
    parallel = place.settings.jobs.parallel_pictures
    assert parallel <= place.enroller.most_in_flight <= 2 * parallel - 1


async def test_rejections_are_paged_in_order(place: Place) -> None:
    job = await place.upload(make_zip([(f"p{number}.jpg", b"no_face:") for number in range(7)]))
    await place.make_runner().run_all()
    found, cursor = [], None
    while True:
        page = await place.jobs.rejections(job.id, cursor, 3)
        found += [each.item for each in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert found == list(range(7))


TROUBLE = {
    "overloaded": [Overloaded()] * 20,
    "a stage away": [StageUnavailable()] * 4,
    "slow": [DeadlineExceeded()] * 4,
    "all of it": [Overloaded(), StageUnavailable(), DeadlineExceeded()] * 3,
}


@pytest.mark.parametrize("failures", TROUBLE.values(), ids=TROUBLE.keys())
async def test_what_passes_rejects_nothing(place: Place, failures: list[RollcallError]) -> None:
    place.enroller.failures = list(failures)
    job = await place.upload(make_zip(PEOPLE))
    await place.make_runner().run_all()
    assert (await place.look(job)).rejected == 0
    assert sorted(place.enroller.pictures) == WHOLE


async def test_an_outage_is_waited_out_however_long(place: Place) -> None:
    place.stages.failure = StageUnavailable()
    place.enroller.failures = [StageUnavailable()] * 200
    job = await place.upload(make_zip(PEOPLE[:2]))
    await place.make_runner().run_all()
    assert ((await place.look(job)).done, (await place.look(job)).rejected) == (2, 0)


async def test_a_picture_that_fails_a_healthy_service_for_ever_is_rejected(place: Place) -> None:
    job = await place.upload(make_zip([("ada.jpg", b"stage_unavailable: kills"), ("bob.jpg", b"bob")]))
    await place.make_runner().run_all()
    ended = await place.look(job)
    assert (ended.state, ended.done, ended.rejected) == (JobState.done, 2, 1)
    assert [each.code for each in (await place.jobs.rejections(job.id)).items] == ["stage_unavailable"]


async def test_a_fault_of_ours_rejects_its_item_and_tells_nothing(place: Place) -> None:
    place.enroller.failures = [RuntimeError("secret")]
    job = await place.upload(make_zip([("ada.jpg", b"ada"), ("bob.jpg", b"bob")]))
    await place.make_runner().run_all()
    (rejection,) = (await place.jobs.rejections(job.id)).items
    assert rejection.code == "internal_error"
    assert "secret" not in rejection.detail


async def test_a_person_erased_meanwhile_is_a_rejected_item(place: Place) -> None:
    place.enroller.failures = [ErasedMeanwhile()]
    job = await place.upload(make_zip([("ada.jpg", b"ada"), ("bob.jpg", b"bob")]))
    await place.make_runner().run_all()
    assert (await place.look(job)).rejected == 1


@pytest.mark.parametrize("data", [b"PK nothing", b"", b"x" * 3000], ids=["zip", "empty", "other"])
async def test_a_bad_archive_fails_the_job(place: Place, data: bytes) -> None:
    job = await place.upload(data)
    await place.make_runner().run_all()
    ended = await place.look(job)
    assert (ended.state, ended.error_code) == (JobState.failed, "bad_archive")
    assert ended.error_detail
    assert place.files() == []
    assert place.audit.entries[0].outcome == "bad_archive"


STOPPING = {"closed": (EventClosed, "event_closed"), "being deleted": (UnknownEvent, "unknown_event")}


@pytest.mark.parametrize(("error", "code"), STOPPING.values(), ids=STOPPING.keys())
async def test_an_event_that_takes_nobody_in_ends_the_job(
    place: Place, error: type[RollcallError], code: str
) -> None:
    job = await place.upload(make_zip(PEOPLE))
    place.enroller.failures = [error()]
    await place.make_runner().run_all()
    ended = await place.look(job)
    assert (ended.state, ended.error_code) == (JobState.failed, code)
    assert place.files() == []
    assert place.enroller.in_flight == 0


@EVERY_ENGINE
async def test_a_deleted_event_takes_its_job_with_it(place: Place) -> None:
    job = await place.upload(make_zip(PEOPLE))
    stopped = asyncio.Event()

    async def delete() -> None:
        await place.registry.begin_event_deletion("gala")
        await place.registry.finish_event_deletion(place.event.key)

    deletions = []

    async def begin() -> None:
        place.enroller.before = stopped.wait  # type: ignore[assignment]
        deletions.append(
            asyncio.create_task(delete())
        )  # somebody else's: the job's end does not cut it short
        await asyncio.shield(deletions[0])

    place.enroller.before = begin
    await place.make_runner().run_all()
    await deletions[0]
    with pytest.raises(RollcallError):
        await place.look(job)
    assert place.files() == []
    assert place.enroller.in_flight == 0


async def test_a_cancelled_job_stops(place: Place) -> None:
    job = await place.upload(make_zip(PEOPLE))
    never = asyncio.Event()
    place.enroller.before = never.wait  # type: ignore[assignment]
    running = asyncio.create_task(place.make_runner().run_all())
    await until(lambda: place.enroller.in_flight)
    assert (await place.jobs.cancel(place.event.key, job.id)).state is JobState.cancelled
    await asyncio.wait_for(running, 30)
    assert (await place.look(job)).state is JobState.cancelled
    assert place.enroller.in_flight == 0
    assert place.files() == []


async def kill(running: asyncio.Task[None], monkeypatch: pytest.MonkeyPatch) -> None:
    """End a runner as if its process had died: it gives nothing back."""

    async def do_nothing(self: JobRunner, job: object) -> None:
        return None

    with monkeypatch.context() as patched:
        patched.setattr(JobRunner, "_release", do_nothing)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@EVERY_ENGINE
@MAKERS
@pytest.mark.parametrize("deaths_at", [range(1, 40, 1), range(3, 100, 5)], ids=["every call", "some"])
async def test_whatever_call_a_runner_dies_in_the_next_one_finishes(
    place: Place, monkeypatch: pytest.MonkeyPatch, make: Any, deaths_at: range
) -> None:
    job = await place.upload(make([*PEOPLE, *BAD]))
    for death in deaths_at:
        reached = asyncio.Event()
        last = place.enroller.calls + 1 + death % 3

        async def die(reached: asyncio.Event = reached, last: int = last) -> None:
            if place.enroller.calls >= last:
                reached.set()
                await asyncio.Event().wait()

        place.enroller.before = die
        running = asyncio.create_task(place.make_runner().run_all())
        dying = asyncio.create_task(reached.wait())
        await asyncio.wait({running, dying}, return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if running.done():
            await running
            break
        # Some die just after a report of what they had done.
        before = (await place.look(job)).done
        if death % 2:
            await asyncio.sleep(0.03)
        await kill(running, monkeypatch)
        assert (await place.look(job)).done >= before
        place.clock.pass_s(LEASE_S + 1)
    place.enroller.before = None
    await place.make_runner().run_all()
    ended = await place.look(job)
    assert (ended.state, ended.total, ended.done, ended.rejected) == (JobState.done, 19, 19, 3)
    assert len((await place.jobs.rejections(job.id)).items) == 3
    assert sorted(set(place.enroller.pictures)) == WHOLE
    assert place.files() == []


async def test_a_runner_that_stops_in_order_hands_over_at_once(place: Place) -> None:
    job = await place.upload(make_zip(PEOPLE))
    place.enroller.before = asyncio.Event().wait  # type: ignore[assignment]
    running = asyncio.create_task(place.make_runner().run_all())
    await until(lambda: place.enroller.in_flight)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    place.enroller.before = None
    await place.make_runner().run_all()  # and no time has passed
    assert (await place.look(job)).state is JobState.done


@EVERY_ENGINE
async def test_two_runners_never_work_on_one_job(place: Place) -> None:
    """Jobs of several events, many runners: nothing is imported twice."""
    await place.upload(make_zip(PEOPLE))
    await place.upload(make_zip([("z1.jpg", b"z")]))
    await place.upload(make_zip([("z2.jpg", b"z")]))
    await asyncio.gather(*(place.make_runner().run_all() for _ in range(5)))
    while True:  # a runner leaves when there is nothing to claim just now
        await place.make_runner().run_all()
        if not await place.jobs.claim("check"):
            break
    assert sorted(place.enroller.pictures) == [*WHOLE, ("z1", b"z"), ("z2", b"z")]
    assert len(place.audit.entries) == 3


@EVERY_ENGINE
async def test_a_runner_whose_claim_has_passed_on_writes_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await place.upload(make_zip(PEOPLE))
    go_on = asyncio.Event()
    place.enroller.before = go_on.wait  # type: ignore[assignment]
    slow = asyncio.create_task(place.make_runner().run_all())
    await until(lambda: place.enroller.in_flight)
    place.clock.pass_s(LEASE_S + 1)
    taken = await place.jobs.claim("another")
    if taken is None:  # the slow one had renewed its claim just after the clock moved
        place.clock.pass_s(LEASE_S + 1)
        taken = await place.jobs.claim("another")
    assert taken is not None
    assert taken.id == job.id
    await asyncio.wait_for(slow, 30)
    found = await place.look(job)
    assert (found.state, found.done) == (JobState.running, 0)
    assert place.files() == [job.file]


@EVERY_ENGINE
async def test_jobs_of_one_event_run_one_after_the_other_of_several_at_once(place: Place) -> None:
    other = await place.registry.create_event("expo", None, place.event.pack_id)
    jobs = [await place.upload(make_zip(PEOPLE)) for _ in range(2)]
    name, file = place.jobs.files.create("e" * 32, "upload")
    with file:
        file.write(make_zip(PEOPLE))
    elsewhere = await place.jobs.create(other.key, jobs[0].kind, jobs[0].created_by, id="e" * 32, file=name)
    claimed = [await place.jobs.claim(f"r{number}") for number in range(3)]
    assert [each and each.id for each in claimed] == [jobs[0].id, elsewhere.id, None]


async def test_an_upload_on_another_machine_is_left_to_it(place: Place) -> None:
    job = await place.upload(make_zip(PEOPLE))
    assert job.file is not None
    path = place.jobs.files.path(job.file)
    hidden = path.with_name("hidden")
    path.rename(hidden)
    assert await place.jobs.claim("here") is None
    await place.jobs.sweep(keep_result_s=60)
    assert (await place.look(job)).state is JobState.queued
    place.clock.pass_s(timedelta(days=2).total_seconds())
    await place.jobs.sweep(keep_result_s=60)
    assert ((await place.look(job)).state, (await place.look(job)).error_code) == (
        JobState.failed,
        "bad_archive",
    )


async def test_a_started_runner_finds_jobs_by_itself(place: Place) -> None:
    runner = place.make_runner()
    runner.start()
    job = await place.upload(make_zip(PEOPLE))
    await until(lambda: place.audit.entries)
    assert (await place.look(job)).state is JobState.done
    await runner.stop()
    assert not place.enroller.in_flight
