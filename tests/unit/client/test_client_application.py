"""The async client against the real routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from rollcall_client import UNSET, AsyncClient, problems
from tests.unit.api.api_fakes import picture
from tests.unit.api.conftest import (  # noqa: F401  # fixtures
    Api,
    api,
    cheap_passwords,
    empty_registry,
    gala,
    make_api,
    ring,
    shared_app,
)

PASSWORD = "correct horse battery staple"


def connect(api: Api, **options: object) -> AsyncClient:  # noqa: F811
    transport = httpx.ASGITransport(app=api.app, raise_app_exceptions=False)
    return AsyncClient("http://rollcall", transport=transport, **options)  # type: ignore[arg-type]


@pytest_asyncio.fixture
async def rollcall(gala: Api) -> AsyncIterator[AsyncClient]:  # noqa: F811
    async with connect(gala, token=gala.token_for()) as client:
        yield client


async def test_people_from_enrolment_to_erasure(rollcall: AsyncClient, tmp_path: Path) -> None:
    path = tmp_path / "ada.png"
    path.write_bytes(picture("ada"))
    enrolled = await rollcall.people.enrol("gala", path, person_id="ada", name="Ada", metadata={"table": 4})
    assert enrolled.person.metadata == {"table": 4}
    with path.open("rb") as file:
        again = await rollcall.people.add_faces("gala", "ada", [file, picture("ada", salt="b")])
    assert len(again.faces) == 2

    seen = await rollcall.recognition.recognise(
        "gala", picture("ada", salt="c"), strictness="strict", top_k=3
    )
    [face] = seen.faces
    assert (face.outcome, face.person and face.person.person_id) == ("match", "ada")
    checked = await rollcall.recognition.verify("gala", "ada", picture("ada"))
    assert checked.verified
    batch = await rollcall.recognition.recognise_batch("gala", [picture("ada"), b"no picture"])
    assert [each.status for each in batch.results] == ["ok", "error"]

    changed = await rollcall.people.change("gala", "ada", name=None, metadata={"table": 5})
    assert (changed.name, changed.metadata) == (None, {"table": 5})
    kept = await rollcall.people.change("gala", "ada", name=UNSET, metadata={"seat": 1})
    assert kept.metadata == {"table": 5, "seat": 1}

    await rollcall.people.delete("gala", "ada")
    with pytest.raises(problems.UnknownPerson) as raised:
        await rollcall.people.get("gala", "ada")
    assert raised.value.request_id
    assert raised.value.cure


async def test_pages_follow_each_other(rollcall: AsyncClient) -> None:
    for person in ("ada", "bob", "eve"):
        await rollcall.people.enrol("gala", picture(person), person_id=person)
    assert [each.id async for each in rollcall.people.iterate("gala", limit=2)] == ["ada", "bob", "eve"]
    page = await rollcall.people.page("gala", limit=2)
    assert len(page.people) == 2
    assert page.next_cursor
    faces = [each async for each in rollcall.people.iterate_faces("gala", "ada", limit=1)]
    assert len(faces) == 1


async def test_events_are_changed_in_parts(rollcall: AsyncClient) -> None:
    made = await rollcall.events.create(id="fair", policy={"strictness": "strict"}, retention_days=30)
    assert made.policy is not None
    assert made.policy.strictness == "strict"
    changed = await rollcall.events.change("fair", policy=None)
    assert (changed.policy, changed.retention_days) == (None, 30)
    again = await rollcall.events.create(id="fair2", idempotency_key="mine")
    assert await rollcall.events.create(id="fair2", idempotency_key="mine") == again
    assert (await rollcall.events.statistics("gala")).scores == []
    assert {each.id async for each in rollcall.events.iterate()} == {"gala", "fair", "fair2"}


async def test_comparison_takes_pictures_and_vectors(rollcall: AsyncClient, tmp_path: Path) -> None:
    plain = await rollcall.analysis.compare([picture("ada"), picture("ada", salt="b"), picture("bob")])
    assert [each.same_person for each in sorted(plain.results, key=lambda each: each.index)] == [True, False]
    embedded = await rollcall.analysis.embed(picture("ada"))
    [result] = embedded.results
    assert result.status == "ok"
    vector = result.faces[0].vector
    assert isinstance(vector, list)
    path = tmp_path / "ada.png"
    path.write_bytes(picture("ada"))
    mixed = await rollcall.analysis.compare(
        query={"picture": str(path)}, references=[{"vector": vector, "id": "ada"}], pack_id=embedded.pack_id
    )
    assert mixed.best.id == "ada"
    assert mixed.best.same_person


@pytest.mark.usefixtures("cheap_passwords")
async def test_a_sign_in_from_its_beginning_to_its_end(gala: Api) -> None:  # noqa: F811
    async with connect(gala) as client:
        with pytest.raises(problems.TokenMissing):
            await client.authentication.whoami()
        account = await client.accounts.create(name="grace", password=PASSWORD)
        with pytest.raises(problems.SignInFailed):
            await client.sign_in("grace", "wrong horse battery staple")
        first = await client.sign_in("grace", PASSWORD)
        assert (await client.authentication.whoami()).id == account.id
        renewed = await client.authentication.refresh(refresh_token=first.refresh_token or "")
        assert renewed.refresh_token != first.refresh_token
        await client.sign_out()
        assert client.session is None
    made = gala.token_for()
    async with connect(gala, token=made) as client:
        key = await client.api_keys.create(name="door", scopes=["recognise"], events=["gala"])
    async with connect(gala, api_key=key.key) as client:
        assert (await client.authentication.whoami()).kind == "api_key"
        with pytest.raises(problems.Forbidden):
            await client.people.page("gala")
