"""An event moves to another pack: written for both meanwhile, searched by one at each moment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from serving.errors import StageUnavailable
from serving.graph.lines import Lines
from tests.unit.api.api_fakes import FakeStages, fail_next, picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.api_sweep import sweep_later
from tests.unit.api.conftest import Api
from tests.unit.served import serve

NEW = "another-pack"
MIGRATION, PEOPLE = "/v1/events/gala/migration", "/v1/events/gala/people"
ADA, BOB = picture("ada"), picture("bob")


class Move:
    """The event `gala` and two packs that serve."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.old = api.stages
        self.new = FakeStages(api.line.calibration)
        lines = Lines([api.line, serve(self.new, NEW)])
        self.services = api.app.state.services = replace(api.services, lines=lines)

    async def begin(self) -> dict[str, Any]:
        answer = await self.api.client.post(MIGRATION, json={"pack_id": NEW})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def look(self, **query: Any) -> dict[str, Any]:
        answer = await self.api.client.get(MIGRATION, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def finish(self, **query: Any) -> dict[str, Any]:
        answer = await self.api.client.post(MIGRATION + "/finish", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def abort(self) -> None:
        assert (await self.api.client.delete(MIGRATION)).status_code == 204

    async def sweep(self) -> None:
        await sweep_later(self.api.registry, self.services.lines)

    def stored(self) -> tuple[set[str], set[str]]:
        """Whose vectors lie where: with the old pack, with the new one."""
        return {key[1] for key in self.old.gallery}, {key[1] for key in self.new.gallery}


@pytest_asyncio.fixture
async def move(gala: Api) -> Move:
    return Move(gala)


async def test_an_event_moves_with_everyone(move: Move) -> None:
    api = move.api
    await api.enrol("ada", ADA, name="Ada")
    view = await move.begin()
    assert (view["pack_id"], view["migrating_to"]) == (api.line.pack.id, NEW)
    assert view["missing"] == [{"person_id": "ada", "name": "Ada"}]
    await api.enrol("bob", BOB)
    assert move.stored() == ({"ada", "bob"}, {"bob"})
    assert await api.outcomes(BOB) == [("match", "bob")]
    assert "search" not in move.new.names()
    view = await move.look()
    assert [view[name] for name in ("people", "migrated_people", "faces", "migrated_faces")] == [2, 1, 2, 1]

    refused = await api.client.post(MIGRATION + "/finish")
    assert check_problem(refused, "migration_incomplete")["context"]["missing_people"] == 1
    face_id = (await api.enrol("ada", ADA))["faces"][0]["face_id"]  # the same picture: one face, two vectors
    assert (await move.look())["missing"] == []
    finished = await move.finish()
    assert (finished["event"]["pack_id"], finished["people_without_face"]) == (NEW, 0)
    assert (finished["event"]["people"], finished["event"]["faces"]) == (2, 2)
    move.old.calls.clear()
    assert await api.outcomes(ADA) == [("match", "ada")]
    assert (await api.recognise(ADA))["pack_id"] == NEW
    assert move.old.calls == []
    assert (await api.client.get(f"{PEOPLE}/ada")).json()["face_ids"] == [face_id]
    assert move.stored()[0] == {"ada", "bob"}, "searches that began before may still look there"
    await move.sweep()
    assert move.stored() == (set(), {"ada", "bob"})
    check_problem(await api.client.get(MIGRATION), "no_migration")


async def test_giving_up_leaves_everything_as_it_was(move: Move) -> None:
    api = move.api
    await api.enrol("ada", ADA)
    await move.begin()
    await api.enrol("ada", ADA)
    await api.enrol("bob", BOB)
    fail_next(move.new, "erase_event", StageUnavailable())
    await move.abort()
    assert move.stored() == ({"ada", "bob"}, {"ada", "bob"})
    await move.sweep()
    assert move.stored() == ({"ada", "bob"}, set())
    assert await api.outcomes(BOB) == [("match", "bob")]
    check_problem(await api.client.delete(MIGRATION), "no_migration")
    assert (await move.begin())["migrated_people"] == 0


async def test_going_there_and_back_loses_nobody_to_the_late_erasure(move: Move) -> None:
    api = move.api
    await move.begin()
    await api.enrol("ada", ADA)
    await move.finish()
    back = await api.client.post(MIGRATION, json={"pack_id": api.line.pack.id})
    assert back.status_code == 201, back.text
    await api.enrol("ada", ADA)
    await move.finish()
    await move.sweep()
    assert move.stored() == ({"ada"}, set())
    assert await api.outcomes(ADA) == [("match", "ada")]


async def test_people_who_are_left_behind_are_named(move: Move) -> None:
    api = move.api
    await api.enrol("ada", ADA, name="Ada")
    await api.enrol("bob", BOB)
    await move.begin()
    await api.enrol("bob", picture("bob", salt="again"))
    finished = await move.finish(allow_missing=True)
    assert (finished["people_without_face"], finished["without_face"]) == (1, ["ada"])
    listed = (await api.client.get(PEOPLE)).json()["people"]
    assert [(each["id"], each["faces"]) for each in listed] == [("ada", 0), ("bob", 1)]
    assert await api.outcomes(ADA) == [("unknown", None)]
    assert await api.outcomes(BOB) == [("match", "bob")]


@pytest.mark.parametrize("what", ["person", "face", "event"])
async def test_erasing_while_it_moves_erases_in_both(move: Move, what: str) -> None:
    api = move.api
    await move.begin()
    face_id = (await api.enrol("ada", ADA))["faces"][0]["face_id"]
    path = {"person": f"{PEOPLE}/ada", "face": f"{PEOPLE}/ada/faces/{face_id}", "event": "/v1/events/gala"}
    assert (await api.client.delete(path[what])).status_code == 204
    assert move.stored() == (set(), set())


async def test_who_is_erased_after_the_switch_is_erased_in_the_abandoned_place_at_once(move: Move) -> None:
    await move.begin()
    await move.api.enrol("ada", ADA)
    await move.finish()
    assert (await move.api.client.delete(f"{PEOPLE}/ada")).status_code == 204
    assert move.stored() == (set(), set())


@pytest.mark.parametrize("moment", ["detect", "enrol"])
@pytest.mark.parametrize("change", ["begin", "finish", "abort", "all of it"])
async def test_an_enrolment_under_way_follows_the_event(move: Move, moment: str, change: str) -> None:
    """Whatever becomes of the event while a request runs, who is confirmed can be found, and is not half
    enrolled."""
    api = move.api
    if change in ("finish", "abort"):
        await move.begin()

    async def change_it(*_: Any) -> None:
        del move.old.before[moment]
        if change in ("begin", "all of it"):
            await move.begin()
        if change in ("finish", "all of it"):
            await move.finish()
        if change == "abort":
            await move.abort()

    move.old.before[moment] = change_it
    await api.enrol("ada", ADA)
    assert await api.outcomes(ADA) == [("match", "ada")]
    if change == "begin":
        assert (await move.look())["missing"] == []
        await move.finish()
        assert await api.outcomes(ADA) == [("match", "ada")]
    await move.sweep()
    assert move.stored() == (({"ada"}, set()) if change == "abort" else (set(), {"ada"}))
    assert await api.outcomes(ADA) == [("match", "ada")]


async def test_a_search_under_way_ends_in_the_pack_it_began_with(move: Move) -> None:
    api = move.api
    await move.begin()
    await api.enrol("ada", ADA)

    async def switch(*_: Any) -> None:
        del move.old.before["search"]
        await move.finish()

    move.old.before["search"] = switch
    body = await api.recognise(ADA)
    assert (body["pack_id"], body["faces"][0]["outcome"]) == (api.line.pack.id, "match")
    assert (await api.recognise(ADA))["pack_id"] == NEW


async def test_scores_of_two_packs_are_never_in_one_histogram(move: Move) -> None:
    api, statistics = move.api, "/v1/events/gala/statistics"
    await move.begin()
    await api.enrol("ada", ADA)
    await api.outcomes(ADA)
    await api.services.statistics.flush()
    assert len((await api.client.get(statistics)).json()["scores"]) == 1
    await api.outcomes(ADA)  # counted, and not written before the switch
    await move.finish()
    await api.services.statistics.flush()
    counted = (await api.client.get(statistics)).json()
    assert (counted["recognitions"], counted["scores"]) == (2, [])
    await api.outcomes(ADA)
    await api.services.statistics.flush()
    assert len((await api.client.get(statistics)).json()["scores"]) == 1


async def test_a_threshold_of_its_own_becomes_the_rate_that_it_stood_for(move: Move) -> None:
    api = move.api
    calibration = api.line.calibration
    threshold = calibration.threshold_for(1e-3)
    await api.client.patch("/v1/events/gala", json={"policy": {"threshold": threshold}})
    await move.begin()
    finished = await move.finish()
    assert finished["previous_threshold"] == threshold
    policy = finished["event"]["policy"]
    assert (policy["threshold"], policy["false_match_rate"]) == (None, pytest.approx(1e-3, rel=1e-5))
    assert finished["event"]["decision_threshold"] == pytest.approx(threshold, abs=1e-5)


async def test_a_threshold_may_be_given_anew(move: Move) -> None:
    await move.api.client.patch("/v1/events/gala", json={"policy": {"false_match_rate": 0.01}})
    await move.begin()
    event = (await move.finish(threshold=0.5))["event"]
    assert (event["policy"]["threshold"], event["policy"]["false_match_rate"]) == (0.5, None)


async def test_nothing_is_switched_where_the_new_pack_cannot_keep_the_rate(
    move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration = move.api.line.calibration
    coarse = replace(calibration, cosines=calibration.cosines[:3], rates=calibration.rates[:3])
    lines = Lines([move.api.line, replace(serve(move.new, NEW), calibration=coarse)])
    move.api.app.state.services = replace(move.services, lines=lines)
    path = "/v1/events/gala"
    await move.api.client.patch(path, json={"policy": {"threshold": calibration.threshold_for(1e-4)}})
    await move.begin()
    refused = await move.api.client.post(MIGRATION + "/finish")
    assert check_problem(refused, "false_match_rate_not_supported")["context"]["floor"] == coarse.floor
    assert (await move.look())["migrating_to"] == NEW
    assert (await move.finish(threshold=0.9))["event"]["pack_id"] == NEW


async def test_what_cannot_begin(move: Move) -> None:
    post = move.api.client.post
    check_problem(await post(MIGRATION, json={"pack_id": "gone"}), "pack_mismatch")
    check_problem(await post(MIGRATION, json={"pack_id": move.api.line.pack.id}), "invalid_request")
    check_problem(await post(MIGRATION + "/finish"), "no_migration")
    await move.begin()
    await move.begin()
    lines = Lines([*move.services.lines, serve(move.new, "third")])
    move.api.app.state.services = replace(move.services, lines=lines)
    problem = check_problem(await post(MIGRATION, json={"pack_id": "third"}), "migration_running")
    assert problem["context"]["migrating_to"] == NEW


async def test_a_face_that_the_new_pack_cannot_find_is_not_enrolled(move: Move) -> None:
    await move.begin()

    async def see_nothing(*_: Any) -> Any:
        return await FakeStages.detect(move.new, picture(), 1.0)

    move.new.detect = see_nothing  # type: ignore[method-assign]
    answer = await move.api.client.post(PEOPLE, params={"person_id": "ada"}, content=ADA)
    assert check_problem(answer, "no_face")["context"]["pack_id"] == NEW
    assert move.stored() == (set(), set())


@pytest.mark.parametrize("role", ["member", "operator"])
async def test_who_may_move_an_event(move: Move, role: str) -> None:
    answer = await move.api.client_for(role).post(MIGRATION, json={"pack_id": NEW})
    patched = await move.api.client_for(role).patch("/v1/events/gala", json={"name": "Gala"})
    assert (answer.status_code == 201) == (patched.status_code == 200)


async def test_missing_people_come_in_pages(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"p{number}" for number in range(7)]
    for name in names:
        await move.api.enrol(name, picture(name))
    await move.begin()
    await move.api.enrol("p3", picture("p3"))
    monkeypatch.setattr("serving.registry.pack_migration.SCANNED_PEOPLE", 2)
    found, cursor = [], None
    while True:
        page = await move.look(limit=1, **({} if cursor is None else {"cursor": cursor}))
        found += [each["person_id"] for each in page["missing"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [name for name in names if name != "p3"]
