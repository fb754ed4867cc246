"""An event answers only to the pack its faces were embedded with."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.api.api_fakes import picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA = picture("ada")
EVENT = "/v1/events/gala"


def serve_other_pack(gala: Api) -> None:
    app = gala.app
    app.state.services = replace(gala.services, pack=replace(gala.services.pack, id="another-pack"))


async def test_another_pack_neither_searches_nor_enrols_nor_erases(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    own = gala.services.pack.id
    serve_other_pack(gala)
    for answer in (
        await gala.client.post(f"{EVENT}/recognise", content=ADA),
        await gala.client.post(f"{EVENT}/people", content=ADA),
        await gala.client.delete(f"{EVENT}/people/ada"),
        await gala.client.delete(EVENT),
    ):
        problem = check_problem(answer, "pack_mismatch")
        assert answer.status_code == 409
        assert problem["context"] == {"pack_id": own, "serving": "another-pack"}
    gala.app.state.services = gala.services
    assert await gala.outcomes(ADA) == [("match", "ada")]


async def test_events_of_other_packs_are_still_listed(gala: Api) -> None:
    serve_other_pack(gala)
    listed = (await gala.client.get("/v1/events")).json()["events"]
    assert [event["id"] for event in listed] == ["gala"]
