"""An event answers only to the pack its faces were embedded with; several packs serve side by side."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from serving.graph.lines import Lines
from tests.unit.api.api_fakes import FakeStages, picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api
from tests.unit.api.test_api_authentication import sign_up
from tests.unit.served import serve

ADA = picture("ada")
EVENT = "/v1/events/gala"
OTHER = "another-pack"


def serve_only_other(gala: Api) -> None:
    lines = Lines([serve(gala.stages, OTHER)])
    gala.app.state.services = replace(gala.services, lines=lines)


async def test_another_pack_neither_searches_nor_enrols(gala: Api) -> None:
    await gala.enrol("ada", ADA)
    own = gala.line.pack.id
    serve_only_other(gala)
    for answer in (
        await gala.client.post(f"{EVENT}/recognise", content=ADA),
        await gala.client.post(f"{EVENT}/people", content=ADA),
        await gala.client.post(f"{EVENT}/exports"),
        await gala.client.patch(EVENT, json={"policy": {"threshold": 0.5}}),
    ):
        problem = check_problem(answer, "pack_mismatch")
        assert answer.status_code == 409
        assert problem["context"] == {"pack_id": own, "serving": [OTHER]}
    gala.app.state.services = gala.services
    assert await gala.outcomes(ADA) == [("match", "ada")]


@pytest.mark.usefixtures("cheap_passwords")
@pytest.mark.parametrize("what", ["face", "person", "event", "account"])
async def test_what_is_of_a_pack_that_does_not_serve_can_be_erased(gala: Api, what: str) -> None:
    face_id = (await gala.enrol("ada", ADA))["faces"][0]["face_id"]
    account_id = await sign_up(gala)
    key = (await gala.registry.get_event("gala")).key
    await gala.services.accounts.accounts.link_person(account_id, key, "ada")
    own = gala.line.pack.id
    serve_only_other(gala)
    paths = {
        "face": f"{EVENT}/people/ada/faces/{face_id}",
        "person": f"{EVENT}/people/ada",
        "event": EVENT,
        "account": f"/v1/accounts/{account_id}",
    }
    assert (await gala.client.get(EVENT)).json()["decision_threshold"] is None
    assert (await gala.client.get(f"{EVENT}/people/ada")).json()["face_ids"] == [face_id]
    answer = await gala.client.delete(paths[what])
    assert answer.status_code == 204, answer.text
    assert gala.stages.gallery == {}
    assert gala.stages.erased_packs == {own}


async def test_events_of_other_packs_are_still_listed(gala: Api) -> None:
    serve_only_other(gala)
    listed = (await gala.client.get("/v1/events")).json()["events"]
    assert [event["id"] for event in listed] == ["gala"]


class TwoPacks:
    """Two packs serve two events, `gala` the default one and `expo` the other."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.others = FakeStages(api.line.calibration)
        lines = Lines([api.line, serve(self.others, OTHER)])
        self.services = api.app.state.services = replace(api.services, lines=lines)

    def take_calls(self) -> tuple[set[str], set[str]]:
        """The methods that were called since the last time: of the default pack's stages, of the other's."""
        taken = set(self.api.stages.names()), set(self.others.names())
        self.api.stages.calls.clear()
        self.others.calls.clear()
        return taken


@pytest_asyncio.fixture
async def two(gala: Api) -> TwoPacks:
    made = TwoPacks(gala)
    await gala.create_event("expo", pack_id=OTHER)
    return made


async def test_each_event_is_served_by_its_own_pack(two: TwoPacks) -> None:
    api = two.api
    await api.enrol("ada", ADA)
    assert two.take_calls()[1] == set()
    await api.enrol("bob", picture("bob"), event="expo")
    assert two.take_calls()[0] == set()
    assert await api.outcomes(picture("bob"), "expo") == [("match", "bob")]
    assert await api.outcomes(picture("bob")) == [("unknown", None)]
    assert two.take_calls()[1] == {"detect", "embed", "search"}
    assert [len(each.gallery) for each in (api.stages, two.others)] == [1, 1]
    for event, pack in (("gala", api.line.pack.id), ("expo", OTHER)):
        assert (await api.client.get(f"/v1/events/{event}")).json()["pack_id"] == pack
        assert (await api.recognise(ADA, event))["pack_id"] == pack
    assert (await api.client.delete("/v1/events/expo/people/bob")).status_code == 204
    assert (len(two.others.gallery), len(api.stages.gallery)) == (0, 1)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("detect", {"picture": "{ada}"}),
        ("embed", {"picture": "{ada}"}),
        ("compare", {"pictures": ["{ada}", "{ada}"]}),
    ],
)
async def test_a_request_apart_from_events_names_its_pack(two: TwoPacks, path: str, body: Any) -> None:
    data = base64.b64encode(ADA).decode()
    sent = {key: data if isinstance(value, str) else [data] * len(value) for key, value in body.items()}
    own = two.services.lines.default.pack.id
    two.take_calls()
    for asked, expected, used in ((None, own, 0), (own, own, 0), (OTHER, OTHER, 1)):
        beside = {} if asked is None else {"pack_id": asked}
        answer = await two.api.client.post(f"/v1/{path}", json={**sent, **beside})
        assert (answer.status_code, answer.json()["pack_id"]) == (200, expected), answer.text
        calls = two.take_calls()
        assert calls[used] >= {"detect"}
        assert calls[1 - used] == set()
    refused = await two.api.client.post(f"/v1/{path}", json={**sent, "pack_id": "gone"})
    assert check_problem(refused, "pack_mismatch")["context"]["serving"] == [own, OTHER]


async def test_the_model_route_lists_every_pack(two: TwoPacks) -> None:
    model = (await two.api.client.get("/v1/model")).json()
    own = two.services.lines.default.pack.id
    assert model["pack_id"] == own
    assert [pack["pack_id"] for pack in model["packs"]] == [own, OTHER]
    assert model["packs"][0].items() <= model.items()


async def test_readiness_asks_the_stages_of_every_pack(two: TwoPacks) -> None:
    await two.services.lines.check(1.0)
    assert two.take_calls() == ({"check"}, {"check"})
