"""Bulk import and export over HTTP: what goes in, what comes out, who may, and what is left on disk."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.api.api_fakes import picture
from tests.unit.api.api_jobs import (
    EXPORTS,
    FILES,
    GZIP,
    IMPORTS,
    JOBS,
    LINES,
    TAR,
    ZIP,
    exported,
    imported,
    left_over,
    line,
    run_jobs,
    send,
)
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api
from tests.unit.jobs.archives import make_tar, make_targz, make_zip


@pytest.mark.parametrize(
    ("make", "kind"), [(make_zip, ZIP), (make_tar, TAR), (make_targz, GZIP), (make_targz, TAR)]
)
async def test_an_archive_of_pictures(gala: Api, make: Any, kind: str) -> None:
    job = await imported(gala, make([*FILES, ("eve.png", picture()), ("c d.png", b"x")]), kind)
    assert (job["state"], job["total"], job["done"], job["rejected"]) == ("done", 5, 5, 2)
    assert sorted(job["rejections"]) == [("c d.png", "invalid_request"), ("eve.png", "no_face")]
    assert job["kind"] == "import_pictures"
    ada = (await gala.client.get("/v1/events/gala/people/ada")).json()
    assert (ada["name"], ada["metadata"], len(ada["face_ids"])) == ("Ada Lovelace", {"table": 4}, 2)
    assert await gala.outcomes(picture("ada", "bob", "eve")) == [
        ("match", "ada"),
        ("match", "bob"),
        ("unknown", None),
    ]
    assert left_over(gala) == []


async def test_to_repeat_an_import_doubles_nothing(gala: Api) -> None:
    for _ in range(2):
        await imported(gala, make_zip(FILES))
    assert (await gala.client.get("/v1/events/gala")).json()["faces"] == 3


async def test_people_as_vectors(gala: Api) -> None:
    lines = line("ada", "ada", "ada:0.9", name="Ada") + line("bob", "bob") + line("eve", pack_id="other")
    job = await imported(gala, (lines + "nonsense\n").encode(), LINES)
    assert (job["state"], job["done"], job["rejected"]) == ("done", 4, 2)
    assert [code for _, code in job["rejections"]] == ["pack_mismatch", "invalid_request"]
    assert await gala.outcomes(picture("ada", "bob")) == [("match", "ada"), ("match", "bob")]
    again = await imported(gala, lines.encode(), LINES)
    assert again["done"] == 3
    assert (await gala.client.get("/v1/events/gala")).json()["faces"] == 3


async def test_duplicates_are_refused_unless_allowed(gala: Api) -> None:
    await gala.enrol("ada", picture("ada"))
    for data, kind in ((make_zip([("twin.png", picture("ada"))]), ZIP), (line("twin", "ada"), LINES)):
        data = data if isinstance(data, bytes) else data.encode()
        job = await imported(gala, data, kind)
        assert [code for _, code in job["rejections"]] == ["duplicate_person"]
        assert (await imported(gala, data, kind, on_duplicate="allow"))["rejected"] == 0
        await gala.client.delete("/v1/events/gala/people/twin")


async def test_consent_comes_with_the_person_or_for_all(api: Api) -> None:
    await api.create_event("gala", consent_required=True)
    lines = (line("ada", "ada", consent_reference="own") + line("bob", "bob")).encode()
    job = await imported(api, lines, LINES)
    assert job["rejections"] == [("line 2: bob", "consent_required")]
    assert (await imported(api, lines, LINES, consent_reference="for all"))["rejected"] == 0
    references = {
        person: (await api.client.get(f"/v1/events/gala/people/{person}")).json()["consent_reference"]
        for person in ("ada", "bob")
    }
    assert references == {"ada": "own", "bob": "for all"}
    archive = await imported(api, make_zip([("eve.png", picture("eve"))]))
    assert archive["rejections"] == [("eve.png", "consent_required")]


REFUSED = {
    "no type": (b"PK", "", "bad_archive"),
    "a picture": (picture("ada"), "image/png", "bad_archive"),
    "nothing": (b"", ZIP, "bad_archive"),
    "no zip": (b"hello" * 300, ZIP, "bad_archive"),
    "no tar": (b"hello" * 300, TAR, "bad_archive"),
    "a short tar": (b"hello", TAR, "bad_archive"),
    "no lines": (b"\n \n", LINES, "bad_archive"),
    "a list": (b"[1]", LINES, "bad_archive"),
    "too large": (b"PK" + bytes(2**20), ZIP, "body_too_large"),
}


@pytest.mark.parametrize(("data", "kind", "code"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
async def test_uploads_that_are_refused_leave_nothing(
    make_api: Any, data: bytes, kind: str, code: str, chunked: bool
) -> None:
    api = await make_api(jobs={"max_upload_bytes": 2**20})
    await api.create_event()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    check_problem(await send(api, chunks() if chunked else data, kind), code)
    assert left_over(api) == []
    assert (await api.client.get(JOBS)).json() == {"jobs": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"on_duplicate": "maybe"}, "invalid_request"),
        ({"quality": "best"}, "invalid_request"),
        ({"quality": "off"}, "policy_not_allowed"),
        ({"consent_reference": ""}, "invalid_request"),
        ({"consent_reference": "x" * 201}, "invalid_request"),
        ({"consent_reference": "a\x00"}, "invalid_request"),
    ],
)
async def test_options_that_are_refused(gala: Api, query: dict, code: str) -> None:
    check_problem(await send(gala, make_zip(FILES), ZIP, **query), code)
    assert left_over(gala) == []


async def test_an_upload_lies_on_disk_for_this_user_alone_until_the_job_ends(gala: Api) -> None:
    answer = await send(gala, make_zip(FILES), ZIP)
    directory = gala.services.settings.jobs_dir
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    (path,) = directory.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert answer.json()["state"] == "queued"
    await run_jobs(gala)
    assert left_over(gala) == []


async def test_a_slow_upload_is_given_up(make_api: Any) -> None:
    api = await make_api(load={"request_timeout_s": 0.05})
    await api.create_event()

    async def stalling() -> AsyncIterator[bytes]:
        yield b"PK" + bytes(1000)
        await asyncio.sleep(30)
        yield b"late"

    check_problem(await send(api, stalling(), ZIP), "deadline_exceeded")
    assert left_over(api) == []


async def test_so_many_unfinished_jobs_and_no_more(make_api: Any) -> None:
    api = await make_api(jobs={"max_unfinished": 2})
    await api.create_event()
    first, second = [await api.client.post(EXPORTS) for _ in range(2)]
    problem = check_problem(await api.client.post(EXPORTS), "too_many_jobs")
    assert problem["status"] == 429
    check_problem(await send(api, make_zip(FILES), ZIP), "too_many_jobs")
    assert left_over(api) == []
    assert (await api.client.delete(first.headers["location"])).status_code == 204
    assert (await api.client.post(EXPORTS)).status_code == 202
    assert (await api.client.get(second.headers["location"])).json()["state"] == "queued"


async def test_a_cancelled_job(gala: Api) -> None:
    address = (await send(gala, make_zip(FILES), ZIP)).headers["location"]
    assert (await gala.client.delete(address)).status_code == 204
    assert left_over(gala) == []
    assert (await gala.client.get(address)).json()["state"] == "cancelled"
    check_problem(await gala.client.delete(address), "job_finished")
    await run_jobs(gala)
    assert gala.stages.counts["detect"] == 0


async def test_a_result_is_deleted_before_its_time(gala: Api) -> None:
    address = (await gala.client.post(EXPORTS)).headers["location"]
    await run_jobs(gala)
    (path,) = gala.services.settings.jobs_dir.iterdir()
    moved = path.rename(path.with_suffix(".elsewhere"))
    check_problem(await gala.client.delete(address), "stage_unavailable")  # another machine has it
    moved.rename(path)
    assert (await gala.client.delete(address)).status_code == 204
    assert not path.exists()
    told = (await gala.client.get(address)).json()
    assert (told["state"], told["has_result"]) == ("done", False)
    check_problem(await gala.client.get(address + "/result"), "not_found")
    check_problem(await gala.client.delete(address), "job_finished")


async def test_results_that_cannot_be_fetched(gala: Api) -> None:
    address = (await gala.client.post(EXPORTS)).headers["location"]
    check_problem(await gala.client.get(address + "/result"), "job_not_finished")
    assert (await gala.client.get(address)).json()["has_result"] is False
    await run_jobs(gala)
    assert (await gala.client.get(address)).json()["has_result"] is True
    (path,) = gala.services.settings.jobs_dir.iterdir()
    path.unlink()
    check_problem(await gala.client.get(address + "/result"), "stage_unavailable")
    done = await imported(gala, make_zip(FILES))
    check_problem(await gala.client.get(f"{JOBS}/{done['id']}/result"), "not_found")
    cancelled = (await gala.client.post(EXPORTS)).headers["location"]
    await gala.client.delete(cancelled)
    check_problem(await gala.client.get(cancelled + "/result"), "not_found")


@pytest.mark.parametrize("job", ["x", "0" * 32, "%20", "a" * 300])
async def test_jobs_that_are_not_there(gala: Api, job: str) -> None:
    for method, address in (
        ("GET", f"{JOBS}/{job}"),
        ("DELETE", f"{JOBS}/{job}"),
        ("GET", f"{JOBS}/{job}/rejections"),
        ("GET", f"{JOBS}/{job}/result"),
    ):
        check_problem(await gala.client.request(method, address), "unknown_job")


async def test_events_are_walls_for_jobs_too(gala: Api) -> None:
    await gala.create_event("expo")
    job = await imported(gala, make_zip(FILES))
    elsewhere = f"/v1/events/expo/jobs/{job['id']}"
    check_problem(await gala.client.get(elsewhere), "unknown_job")
    stranger = gala.client_for("operator", ["expo"])
    for method, address in (
        ("POST", IMPORTS),
        ("POST", EXPORTS),
        ("GET", JOBS),
        ("GET", f"{JOBS}/{job['id']}"),
        ("GET", f"{JOBS}/{job['id']}/rejections"),
        ("GET", f"{JOBS}/{job['id']}/result"),
        ("DELETE", f"{JOBS}/{job['id']}"),
    ):
        check_problem(await stranger.request(method, address), "unknown_event")


async def test_a_closed_event_is_exported_but_takes_nobody_in(gala: Api) -> None:
    await gala.enrol("ada", picture("ada"))
    waiting = (await send(gala, make_zip(FILES), ZIP)).headers["location"]
    assert (await gala.client.post("/v1/events/gala/close")).is_success
    check_problem(await send(gala, make_zip(FILES), ZIP), "event_closed")
    assert len((await exported(gala)).splitlines()) == 1
    job = (await gala.client.get(waiting)).json()
    assert (job["state"], job["error"]["code"]) == ("failed", "event_closed")
    assert len(left_over(gala)) == 1  # the export


async def test_an_archive_that_cannot_be_read_says_why(gala: Api) -> None:
    job = await imported(gala, make_zip(FILES)[:-40])
    assert (job["state"], job["error"]["code"]) == ("failed", "bad_archive")
    assert "end" in job["error"]["detail"]


async def test_jobs_are_listed(gala: Api) -> None:
    made = [(await gala.client.post(EXPORTS)).json()["id"] for _ in range(3)]
    page = (await gala.client.get(JOBS, params={"limit": 2})).json()
    rest = (await gala.client.get(JOBS, params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert [job["id"] for job in page["jobs"] + rest["jobs"]] == made[::-1]
    check_problem(await gala.client.get(JOBS, params={"cursor": "x"}), "invalid_request")


async def test_the_audit_trail_tells_of_jobs(gala: Api) -> None:
    job = await imported(gala, make_zip(FILES))
    entries = (await gala.client.get("/v1/audit", params={"event": "gala"})).json()["entries"]
    found = {entry["action"]: entry for entry in entries}
    assert found["jobs.finish"]["details"] == {
        "job": job["id"],
        "kind": "import_pictures",
        "items": 3,
        "rejected": 0,
    }
    assert found["jobs.finish"]["actor"] == job["created_by"]
    assert found["jobs.import"]["details"]["job"] == job["id"]


async def test_two_people_of_one_upload_with_the_same_face(gala: Api) -> None:
    lines = (line("ada", "ada") + line("bob", "bob") + line("twin", "ada:0.99")).encode()
    job = await imported(gala, lines, LINES)
    assert job["rejections"] == [("line 3: twin", "duplicate_person")]
    assert job["done"] == 3
    assert (await imported(gala, lines, LINES, on_duplicate="allow"))["rejected"] == 0


@pytest.mark.parametrize("kind", [LINES, ZIP], ids=["vectors", "pictures"])
async def test_who_is_erased_meanwhile_is_not_enrolled_anew(gala: Api, kind: str) -> None:
    if kind == LINES:
        data = (line("ada", "ada") + line("bob", "bob") + line("eve", "eve")).encode()
    else:
        ada = [("ada/1.png", picture("ada")), ("ada/2.png", picture("ada", salt="2"))]
        data = make_zip([*ada, ("bob.png", picture("bob"))])

    async def erase() -> None:
        if any(person == "ada" for _, person, _ in gala.stages.gallery):
            gala.stages.after.clear()
            answer = await gala.client.delete("/v1/events/gala/people/ada")
            assert answer.status_code == 204, answer.text

    gala.stages.after["enrol"] = erase
    job = await imported(gala, data, kind)
    assert {code for _, code in job["rejections"]} == {"erased_meanwhile"}
    assert all("ada" in name for name, _ in job["rejections"])
    assert (await gala.client.get("/v1/events/gala/people/ada")).status_code == 404
    assert (await gala.client.get("/v1/events/gala/people/bob")).status_code == 200
    assert not [key for key in gala.stages.gallery if key[1] == "ada"]
