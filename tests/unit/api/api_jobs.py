"""Imports and exports as the tests of jobs call them."""

from __future__ import annotations

import json
from typing import Any

import httpx

from serving.api.bulk_enrolment import BulkEnroller
from serving.jobs.runner import JobRunner
from serving.packs.configured import find_configured_pack
from serving.settings import load_settings
from tests.unit.api.api_fakes import picture, vector_of
from tests.unit.api.conftest import Api

IMPORTS, EXPORTS, JOBS = (f"/v1/events/gala/{name}" for name in ("imports", "exports", "jobs"))
ZIP, TAR, GZIP, LINES = (
    "application/zip",
    "application/x-tar",
    "application/gzip",
    "application/x-ndjson",
)
PACK = find_configured_pack(load_settings()).id
FILES = (
    ("ada/1.png", picture("ada")),
    ("ada/2.png", picture("ada:0.9", salt="2")),
    ("bob.png", picture("bob")),
    ("people.ndjson", b'{"person_id": "ada", "name": "Ada Lovelace", "metadata": {"table": 4}}\n'),
)


async def run_jobs(api: Api) -> None:
    services = api.services
    runner = JobRunner(
        services.jobs,
        services.registry,
        services.lines,
        BulkEnroller(services),
        services.audit,
        services.settings,
    )
    await runner.run_all()


async def send(api: Api, data: Any, kind: str, event: str = "gala", **query: Any) -> httpx.Response:
    return await api.client.post(
        f"/v1/events/{event}/imports", content=data, params=query, headers={"Content-Type": kind}
    )


async def imported(api: Api, data: bytes, kind: str = ZIP, event: str = "gala", **query: Any) -> dict:
    """The job after it has ended, with its rejections."""
    answer = await send(api, data, kind, event, **query)
    assert answer.status_code == 202, answer.text
    address = answer.headers["location"]
    assert address == f"/v1/events/{event}/jobs/{answer.json()['id']}"
    await run_jobs(api)
    job = (await api.client.get(address)).json()
    rejections = (await api.client.get(f"{address}/rejections")).json()["rejections"]
    return {**job, "rejections": [(each["name"], each["code"]) for each in rejections]}


async def exported(api: Api, event: str = "gala") -> bytes:
    answer = await api.client.post(f"/v1/events/{event}/exports")
    assert answer.status_code == 202, answer.text
    await run_jobs(api)
    result = await api.client.get(answer.headers["location"] + "/result")
    assert result.status_code == 200, result.text
    assert int(result.headers["content-length"]) == len(result.content)
    return result.content


def line(person: str, *specs: str, **fields: Any) -> str:
    faces = [{"vector": vector_of(spec).tolist()} for spec in specs]
    return json.dumps({"person_id": person, "pack_id": PACK, "faces": faces, **fields}) + "\n"


def left_over(api: Api) -> list[str]:
    return [path.name for path in api.services.settings.jobs_dir.glob("*")]
