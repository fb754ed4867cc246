"""Requests that carry an Idempotency-Key."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from serving.database.metadata import now_utc
from serving.errors import EventExists, IdempotencyKeyReused, RequestInProgress, UnknownEvent
from serving.registry import Event, NewFace, Registry, events, idempotency, keyed_requests
from serving.registry.keyed_requests import Claim, KeyedRequest, StoredAnswer

CLAIM_S, LIFETIME_S = 80.0, 3600.0


@pytest.fixture
async def event(registry: Registry) -> Event:
    return await registry.create_event("gala", None, "starter")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Moves the registry's clock so many seconds ahead."""

    def move(seconds: float) -> None:
        def moved() -> datetime:
            return now_utc() + timedelta(seconds=seconds)

        monkeypatch.setattr(idempotency, "now_utc", moved)
        monkeypatch.setattr(keyed_requests, "now_utc", moved)

    return move


def keyed(event: Event | None, id: str = "1", fingerprint: str = "a", **fields: Any) -> KeyedRequest:
    key = None if event is None else event.key
    return replace(
        KeyedRequest(id.rjust(64, "0"), fingerprint.rjust(64, "0"), key, None, LIFETIME_S), **fields
    )


async def claim(registry: Registry, asked: KeyedRequest) -> Claim:
    claimed = await registry.requests.claim(asked, CLAIM_S)
    assert isinstance(claimed, Claim)
    return claimed


async def test_a_retry_gets_the_answer(registry: Registry, event: Event) -> None:
    first = await claim(registry, keyed(event))
    await registry.requests.answer(first, 201, '{"name": "Ł"}')
    assert await registry.requests.claim(keyed(event), CLAIM_S) == StoredAnswer(201, '{"name": "Ł"}')
    with pytest.raises(IdempotencyKeyReused):
        await claim(registry, keyed(event, fingerprint="b"))
    assert (await claim(registry, keyed(event, id="2"))).person_id != first.person_id


async def test_one_of_many_claims(registry: Registry, event: Event) -> None:
    outcomes = await asyncio.gather(
        *(registry.requests.claim(keyed(event), CLAIM_S) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(each, Claim) for each in outcomes) == 1
    assert sum(isinstance(each, RequestInProgress) for each in outcomes) == 19


async def test_a_request_at_work_is_not_begun_again(registry: Registry, event: Event, later: Any) -> None:
    first = await claim(registry, keyed(event))
    with pytest.raises(IdempotencyKeyReused):
        await claim(registry, keyed(event, fingerprint="b"))
    later(CLAIM_S - 20)
    with pytest.raises(RequestInProgress):
        await claim(registry, keyed(event))
    later(CLAIM_S + 1)
    assert (await claim(registry, keyed(event))).person_id == first.person_id


async def test_a_failed_request_frees_its_key(registry: Registry, event: Event) -> None:
    first = await claim(registry, keyed(event))
    await registry.requests.release(first)
    second = await claim(registry, keyed(event))
    assert second.person_id == first.person_id
    await registry.requests.release(second)
    corrected = await claim(registry, keyed(event, fingerprint="b"))
    assert corrected.person_id != first.person_id


async def test_who_was_overtaken_takes_nothing_back(registry: Registry, event: Event, later: Any) -> None:
    slow = await claim(registry, keyed(event))
    later(CLAIM_S + 1)
    fast = await claim(registry, keyed(event))
    await registry.requests.release(slow)
    with pytest.raises(RequestInProgress):
        await claim(registry, keyed(event))
    await registry.requests.answer(fast, 201, "fast")
    await registry.requests.answer(slow, 201, "slow")
    await registry.requests.release(fast)
    assert await registry.requests.claim(keyed(event), CLAIM_S) == StoredAnswer(201, "fast")


async def test_a_key_of_long_ago_is_a_new_one(registry: Registry, event: Event, later: Any) -> None:
    first = await claim(registry, keyed(event))
    await registry.requests.answer(first, 201, "{}")
    later(LIFETIME_S + 1)
    again = await claim(registry, keyed(event, fingerprint="b"))
    assert again.person_id != first.person_id
    await registry.requests.answer(again, 201, "new")
    assert await registry.requests.claim(keyed(event, fingerprint="b"), CLAIM_S) == StoredAnswer(201, "new")


async def test_old_requests_are_forgotten_but_those_at_work(
    registry: Registry, event: Event, later: Any
) -> None:
    for n in range(5):
        await registry.requests.answer(await claim(registry, keyed(event, id=str(n))), 201, "{}")
    at_work = keyed(event, id="9")
    await registry.requests.claim(at_work, 1000)
    later(500)
    assert await registry.requests.forget(600) == 0
    assert await registry.requests.forget(400, limit=3) == 3
    assert await registry.requests.forget(400) == 2
    assert await registry.requests.forget(400) == 0
    with pytest.raises(RequestInProgress):
        await registry.requests.claim(at_work, CLAIM_S)
    later(1500)
    assert await registry.requests.forget(400) == 1


async def test_answers_go_with_the_person(registry: Registry, event: Event) -> None:
    other = await registry.create_event("other", None, "starter")
    asked = [
        keyed(event, "1", person_id="ada"), keyed(event, "2", person_id="ada"),
        keyed(event, "3", person_id="bob"), keyed(other, "4", person_id="ada"),
    ]  # fmt: skip
    for each in asked:
        await registry.requests.answer(await claim(registry, each), 201, "{}")
    await registry.begin_enrolment(event.key, "ada", None, [NewFace("f1")])
    at_work = await claim(registry, keyed(event, "5", person_id="ada"))
    assert await registry.delete_person(event.key, "ada")
    await registry.requests.answer(at_work, 201, "late")  # there is no row any more
    kinds = [type(await registry.requests.claim(each, CLAIM_S)) for each in asked]
    assert kinds == [Claim, Claim, StoredAnswer, StoredAnswer]
    assert isinstance(await registry.requests.claim(keyed(event, "5"), CLAIM_S), Claim)


async def test_answers_go_with_the_event(registry: Registry, event: Event) -> None:
    asked = keyed(event)
    await registry.requests.answer(await claim(registry, asked), 201, "{}")
    await registry.begin_event_deletion("gala")
    with pytest.raises(UnknownEvent):
        await registry.requests.claim(asked, CLAIM_S)
    await registry.finish_event_deletion(event.key)
    again = await registry.create_event("gala", None, "starter")
    assert isinstance(await registry.requests.claim(keyed(again), CLAIM_S), Claim)


def create(registry: Registry, id: str | None, asked: KeyedRequest) -> Any:
    def render(created: Event) -> StoredAnswer:
        return StoredAnswer(201, created.id)

    unit = partial(events.create_event, event_id=id, pack_id="starter", fields={"name": None})
    return registry.requests.create_event_once(asked, unit, render)


@pytest.mark.parametrize("id", ["gala", None])
async def test_an_event_is_created_once(registry: Registry, id: str | None) -> None:
    asked = keyed(None)
    outcomes = await asyncio.gather(*(create(registry, id, asked) for _ in range(10)))
    assert len({answer for answer, _ in outcomes}) == 1
    assert sorted(replayed for _, replayed in outcomes) == [False] + [True] * 9
    [created] = (await registry.list_events()).items
    assert outcomes[0][0] == StoredAnswer(201, created.id)
    with pytest.raises(IdempotencyKeyReused):
        await create(registry, id, replace(asked, fingerprint="b" * 64))
    await registry.begin_event_deletion(created.id)
    await registry.finish_event_deletion(created.key)
    assert (await create(registry, id, asked))[1] is False


async def test_an_event_that_cannot_be_created_keeps_no_key(registry: Registry, event: Event) -> None:
    asked = keyed(None)
    with pytest.raises(EventExists):
        await create(registry, "gala", asked)
    assert (await create(registry, "other", replace(asked, fingerprint="b" * 64)))[1] is False
