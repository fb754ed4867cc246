"""Events are walls: whatever an identity bound to one event sends, nothing of another is told or changed.

The routes come from the OpenAPI document, so that a new one is among them by itself. The intruders are bound
to event `mine` and know the id of everything at event `theirs`, but not the names, which contain `canary`.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from serving.accounts.identities import Scope
from tests.unit.api.any_request import AnyRequest, Ids, Operation, list_operations, make_request
from tests.unit.api.api_fakes import picture
from tests.unit.api.conftest import Api

CANARY = "canary"
ADMITTED = {"unknown_event", "unknown_account", "unknown_api_key", "forbidden", "invalid_request"}
"""How an intruder may be answered at the other event."""

SUICIDES = {
    ("POST", "/v1/auth/sign-out"),
    ("DELETE", "/v1/accounts/{account}"),
    ("POST", "/v1/auth/keys/rotate"),
    ("PUT", "/v1/accounts/{account}/password"),
}
"""After these an intruder, or this test, could send nothing more."""

INTRUDERS = ["member token", "operator token", "administrator token", "operator account",
             *(f"{scope.value} key" for scope in Scope), "key of all scopes"]  # fmt: skip


@dataclass
class World:
    """Two events full of people, and the callers."""

    api: Api
    operations: list[Operation]
    components: Mapping[str, Any]
    intruders: dict[str, httpx.AsyncClient]
    mine: Ids
    theirs: Ids
    their_key: str
    secrets: set[str]
    """What no request says: the names, the notes, the key of the gallery's partition."""

    def state(self) -> tuple[Any, ...]:
        """All that is stored of the other event."""
        path = self.api.services.accounts.accounts._database._parsed.database
        with sqlite3.connect(str(path)) as connection:
            rows = [line for line in connection.iterdump() if self.their_key in line]
        connection.close()
        # The trail of what was refused is no part of the event.
        rows = sorted(row for row in rows if not row.startswith('INSERT INTO "audit'))
        gallery = {
            key: vector.tobytes()
            for key, vector in self.api.stages.gallery.items()
            if key[0] == self.their_key
        }
        return rows, gallery

    async def send(self, client: httpx.AsyncClient, request: AnyRequest) -> httpx.Response:
        """Send it, and see that the answer tells nothing of the other event."""
        answer = await client.request(request.method, request.url, **request.arguments)
        assert not any(secret in request.text for secret in self.secrets)
        told = f"{answer.text} {dict(answer.headers)}"
        leaked = [secret for secret in self.secrets if secret in told]
        assert not leaked, (request.method, request.url, request.arguments, answer.text)
        assert answer.status_code < 500, (request.method, request.url, request.arguments, answer.text)
        return answer


async def fill(api: Api, event: str, person: str, name: str, face: str) -> Ids:
    """Create an event with two people, one of whom has an id that is used at both events."""
    created = await api.client.post("/v1/events", json={"id": event, "name": f"{name} event"})
    assert created.status_code == 201, created.text
    faces = []
    for id, look in ((person, face), ("shared", f"{face}-shared")):
        answer = await api.client.post(
            f"/v1/events/{event}/people",
            params={"person_id": id, "name": f"{name} {id}", "consent_reference": f"{name} consent"},
            content=picture(look, salt=event),
            headers={"Idempotency-Key": f"key-of-{id}", "Content-Type": "image/png"},
        )
        assert answer.status_code == 201, answer.text
        faces += [each["face_id"] for each in answer.json()["faces"]]
    jobs = await api.client.post(f"/v1/events/{event}/exports")
    job_ids = [jobs.json()["id"]] if jobs.status_code == 202 else []
    await api.client.post(
        f"/v1/events/{event}/check-ins", params={"place": f"{name} door"}, content=picture(face, salt="in")
    )
    await api.client.patch(f"/v1/events/{event}/people/shared", json={"metadata": {"note": f"{name} note"}})
    await api.client.post(f"/v1/events/{event}/recognise", content=picture(face, salt="seen"))
    key = await api.client.post(
        "/v1/api-keys", json={"name": f"{name} key", "scopes": ["read"], "events": [event]}
    )
    return Ids(
        events=[event],
        people=[person, "shared"],
        names=[name[:3]],
        faces=faces,
        jobs=job_ids or ["0" * 32],
        keys=[key.json()["id"]],
        looks=[face, f"{face}-shared"],
        idempotency_keys=[f"key-of-{person}", "key-of-shared"],
    )


@pytest_asyncio.fixture
async def world(api: Api) -> World:
    theirs = await fill(api, "theirs", "carol", CANARY, "carol")
    mine = await fill(api, "mine", "ann", "mine", "ann")
    key = (await api.registry.get_event(theirs.events[0])).key
    await api.services.statistics.flush()
    account = {"name": "olga", "role": "operator", "events": ["mine"]}
    olga = (await api.client.post("/v1/accounts", json=account)).json()["id"]
    token = api.services.accounts.issuer.issue(olga, "operator", None, 600)
    intruders = {
        "operator account": api.anonymous(Authorization=f"Bearer {token}"),
        **{f"{role} token": api.client_for(role, ["mine"]) for role in ("member", "operator")},
        "administrator token": api.client_for("administrator", ["mine"]),
    }
    for scopes in (*([scope] for scope in Scope), list(Scope)):
        body = {"name": "k", "scopes": [scope.value for scope in scopes], "events": ["mine"]}
        text = (await api.client.post("/v1/api-keys", json=body)).json()["key"]
        name = f"{scopes[0].value} key" if len(scopes) == 1 else "key of all scopes"
        intruders[name] = api.anonymous(**{"X-API-Key": text})
    document = api.app.openapi()
    operations = [each for each in list_operations(document) if (each.method, each.path) not in SUICIDES]
    components = document["components"]["schemas"]
    return World(api, operations, components, intruders, mine, theirs, key, {CANARY, key})


def test_every_intruder_is_there() -> None:
    assert len(INTRUDERS) == 4 + len(Scope) + 1


@pytest.mark.parametrize("intruder", INTRUDERS)
async def test_every_route_answers_about_another_event_as_about_none(world: World, intruder: str) -> None:
    before = world.state()
    client = world.intruders[intruder]
    tried = 0
    for operation in world.operations:
        if "{event}" not in operation.path:
            continue
        request = make_request(
            random.Random(str(operation)), operation, world.theirs, world.components, minimal=True
        )
        nowhere = AnyRequest(
            request.method, request.url.replace(world.theirs.events[0], "nowhere"), request.arguments
        )
        there, none = await world.send(client, request), await world.send(client, nowhere)
        assert there.json()["code"] in ("unknown_event", "forbidden"), (request.url, there.text)
        assert _without_names(there, world.theirs.events[0]) == _without_names(none, "nowhere")
        tried += 1
    assert tried > 10
    assert world.state() == before


def _without_names(answer: httpx.Response, event: str) -> tuple[int, Any]:
    problem = answer.json()
    problem.pop("request_id")
    if problem["context"].get("event") == event:
        problem["context"].pop("event")
    return answer.status_code, problem


@pytest.mark.parametrize("seed", range(4))
async def test_no_sequence_of_calls_tells_or_changes_anything_of_another_event(
    world: World, seed: int
) -> None:
    rng = random.Random(seed)
    before = world.state()
    both = world.mine.mixed_with(world.theirs)
    statuses: dict[str, set[int]] = {}
    for _ in range(120):
        operation = rng.choice(world.operations)
        intruder = rng.choice(INTRUDERS)
        request = make_request(rng, operation, both, world.components, minimal=rng.random() < 0.3)
        answer = await world.send(world.intruders[intruder], request)
        at_theirs = request.url.startswith(f"/v1/events/{world.theirs.events[0]}")
        if at_theirs:
            assert answer.status_code in (401, 403, 404, 422, 429), (request.url, answer.text)
            assert answer.json()["code"] in ADMITTED | {"rate_limited"}, (request.url, answer.text)
        statuses.setdefault("theirs" if at_theirs else "else", set()).add(answer.status_code)
    assert 200 in statuses["else"]
    await world.api.services.statistics.flush()
    assert world.state() == before


async def test_the_calls_would_tell_if_they_were_let_through(world: World) -> None:
    """The same requests by somebody who may: most succeed, and what is secret is in their answers."""
    succeeded, told = [], 0
    reads = [each for each in world.operations if "{event}" in each.path and each.method != "DELETE"]
    for operation in reads:
        request = make_request(
            random.Random(str(operation)), operation, world.theirs, world.components, minimal=True
        )
        answer = await world.api.client.request(request.method, request.url, **request.arguments)
        if answer.status_code < 300:
            succeeded.append(str(operation))
            told += any(secret in answer.text for secret in world.secrets)
    assert len(succeeded) > len(reads) / 2, succeeded
    assert told > 5
    before = world.state()
    await world.api.client.patch(f"/v1/events/{world.theirs.events[0]}", json={"name": "changed"})
    assert world.state() != before
