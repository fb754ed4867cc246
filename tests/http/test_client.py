"""The Python client against the real service: the page about it as it stands, and what needs a network."""

from __future__ import annotations

import asyncio
import re
import shutil
import threading
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtest.service import Service
from rollcall_client import AsyncClient, Client, DeadlinePassed, problems

PAGE = Path(__file__).resolve().parents[2] / "docs" / "client.md"


def test_the_examples_of_the_page(
    service: Service, token: str, samples: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "samples").mkdir(parents=True)
    for sample in samples.values():
        shutil.copy(sample, tmp_path / "data" / "samples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLCALL_URL", service.url)
    monkeypatch.setenv("ROLLCALL_TOKEN", token)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) > 7
    names: dict[str, Any] = {}
    with Client() as rollcall:
        before = {each.id for each in rollcall.events.iterate()}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert (names["done"].total, names["done"].rejected) == (2, 1)
    assert names["rejected"].name == "nobody/1.jpg"
    assert (tmp_path / "people.ndjson").read_text().count("person_id") == 2
    with Client() as rollcall:
        assert {each.id for each in rollcall.events.iterate()} == before


def test_both_clients_from_enrolment_to_erasure(
    service: Service, token: str, event: str, samples: dict[str, Path]
) -> None:
    name = event.rpartition("/")[2]
    with Client(service.url, token=token) as rollcall:
        rollcall.people.enrol(name, samples["guest"], person_id="guest", name="A guest")
        seen = rollcall.recognition.recognise(name, samples["group"])
        assert [face.person.person_id for face in seen.faces if face.person] == ["guest"]
        assert sum(face.outcome == "unknown" for face in seen.faces) == 5
        assert [person.id for person in rollcall.people.iterate(name, limit=1)] == ["guest"]
        assert rollcall.operations.readiness().status == "ok"
        assert "rollcall_http_requests_total" in rollcall.operations.metrics()

    async def go_on() -> None:
        async with AsyncClient(service.url, token=token) as rollcall:
            await rollcall.people.enrol(name, samples["portrait"].read_bytes(), person_id="visitor")
            assert [each.id async for each in rollcall.people.iterate(name, limit=1)] == ["guest", "visitor"]
            assert (await rollcall.recognition.verify(name, "visitor", samples["portrait"])).verified
            both = await rollcall.recognition.identify(name, [samples["guest"], samples["guest"]])
            assert both.person is not None
            assert both.person.person_id == "guest"
            export = await rollcall.jobs.export_people(name)
            await rollcall.wait_for_job(name, export.id, poll_s=0.1, timeout_s=60)
            async with rollcall.jobs.result(name, export.id) as download:
                assert b"".join([piece async for piece in download]).count(b"\n") == 2
            await rollcall.people.delete(name, "guest")
            with pytest.raises(problems.UnknownPerson):
                await rollcall.people.get(name, "guest")

    asyncio.run(go_on())


def test_an_import_is_streamed_and_its_rejections_are_paged(
    service: Service, token: str, event: str, samples: dict[str, Path], tmp_path: Path
) -> None:
    name = event.rpartition("/")[2]
    path = tmp_path / "people.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(samples["guest"], "guest/1.jpg")
        for place in range(3):
            archive.writestr(f"nobody/{place}.jpg", b"no picture")
    states: list[str] = []

    async def bring_in() -> list[str]:
        async with AsyncClient(service.url, token=token) as rollcall:
            with path.open("rb") as file:
                job = await rollcall.jobs.import_people(name, file, content_type="application/zip")
            await rollcall.wait_for_job(
                name, job.id, on_progress=lambda now: states.append(now.state), poll_s=0.1, timeout_s=60
            )
            return [each.code async for each in rollcall.jobs.iterate_rejections(name, job.id, limit=2)]

    assert asyncio.run(bring_in()) == ["not_an_image"] * 3
    assert states[-1] == "done"


def test_a_burst_is_waited_out(service: Service, token: str, event: str, samples: dict[str, Path]) -> None:
    """More at once than the service queues: each is refused until there is room, and none is lost."""
    name, data = event.rpartition("/")[2], samples["guest"].read_bytes()

    async def ask_many() -> int:
        async with AsyncClient(service.url, token=token, timeout_s=120) as rollcall:
            asked = (rollcall.recognition.recognise(name, data) for _ in range(40))
            return sum(len(answer.faces) for answer in await asyncio.gather(*asked))

    assert asyncio.run(ask_many()) == 40


def test_a_deadline_that_is_too_short(
    service: Service, token: str, event: str, samples: dict[str, Path]
) -> None:
    name = event.rpartition("/")[2]
    with Client(service.url, token=token) as rollcall, pytest.raises(TimeoutError) as raised:
        rollcall.recognition.recognise(name, samples["group"], timeout_s=0.005)
    assert isinstance(raised.value, (DeadlinePassed, problems.DeadlineExceeded))


def test_threads_share_a_client_and_its_session(service: Service, token: str, client: httpx.Client) -> None:
    password = "correct horse battery staple"
    with Client(service.url, token=token) as administrator:
        account = administrator.accounts.create(name="threads", password=password)
        with Client(service.url) as rollcall:
            session = rollcall.sign_in("threads", password)
            ended = type(session)(
                session.access_token, session.expires_at.replace(year=2020), session.refresh_token
            )
            told: list[Any] = []
            with Client(service.url, session=ended, on_session=told.append) as again:
                ids: list[str] = []
                threads = [
                    threading.Thread(target=lambda: ids.append(again.authentication.whoami().id))
                    for _ in range(8)
                ]
                for each in threads:
                    each.start()
                for each in threads:
                    each.join(60)
            assert ids == [account.id] * 8
            assert len(told) == 1, "a refresh token is good once: they must renew together"
        administrator.accounts.delete(account.id)
