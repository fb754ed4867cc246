"""Events: what they are set to, what follows from it, changing, closing, listing and what was counted."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from serving.api.policies import FALSE_MATCH_RATES, Strictness
from serving.errors import StageUnavailable
from tests.unit.api.api_fakes import fail_next, picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

EVENTS, GALA = "/v1/events", "/v1/events/gala"
DEFAULTS = {
    "name": None,
    "policy": None,
    "request_policy": "stricter",
    "quality_level": None,
    "retention_days": None,
    "consent_required": False,
}
FULL = {
    "name": "Winter gala ✨",
    "policy": {"threshold": 0.95, "false_match_rate": None, "strictness": None},
    "request_policy": "any",
    "quality_level": "strict",
    "retention_days": 30,
    "consent_required": True,
}


async def create(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await api.client.post(EVENTS, json={"id": "gala", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def change(api: Api, **changes: Any) -> dict[str, Any]:
    answer = await api.client.patch(GALA, json=changes)
    assert answer.status_code == 200, answer.text
    assert answer.json() == await look(api)
    return answer.json()


async def look(api: Api) -> dict[str, Any]:
    return (await api.client.get(GALA)).json()


def settings_of(view: dict[str, Any]) -> dict[str, Any]:
    return {name: view[name] for name in DEFAULTS}


@pytest.mark.parametrize("fields", [{}, DEFAULTS, FULL])
async def test_an_event_is_as_it_was_made(api: Api, fields: dict[str, Any]) -> None:
    created = await create(api, pack_id=api.line.pack.id, **fields)
    assert created == await look(api)
    assert created == (await api.client.get(EVENTS)).json()["events"][0]
    assert settings_of(created) == {**DEFAULTS, **fields}
    assert (created["pack_id"], created["closed_at"]) == (api.line.pack.id, None)
    moment = datetime.fromisoformat(created["created_at"].replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - moment).total_seconds()) < 60
    assert created["created_at"].endswith("Z")


async def test_all_that_can_be_said_at_creation_can_be_changed_and_taken_back(api: Api) -> None:
    await create(api)
    for name, value in FULL.items():
        assert settings_of(await change(api, **{name: value})) == {**DEFAULTS, name: value}
        assert settings_of(await change(api, **{name: None})) == DEFAULTS
    assert settings_of(await change(api, **FULL)) == FULL
    assert settings_of(await change(api)) == FULL, "what is left out stays"
    assert settings_of(await change(api, **dict.fromkeys(FULL))) == DEFAULTS


async def test_changes_in_any_order_come_to_what_a_merge_patch_says(api: Api) -> None:
    dice = random.Random(3)
    choices: dict[str, list[Any]] = {
        "name": ["a", "b", None],
        "request_policy": ["none", "stricter", "any", None],
        "quality_level": ["off", "standard", None],
        "retention_days": [1, 3660, None],
        "consent_required": [True, False, None],
    }
    expected = settings_of(await create(api))
    for _ in range(40):
        names = dice.sample(sorted(choices), dice.randrange(4))
        changes = {name: dice.choice(choices[name]) for name in names}
        expected |= {name: DEFAULTS[name] if value is None else value for name, value in changes.items()}
        assert settings_of(await change(api, **changes)) == expected


async def test_the_audit_trail_says_what_was_changed(gala: Api) -> None:
    await change(gala, name="Gala", retention_days=None)
    entries = (await gala.client.get("/v1/audit", params={"action": "events.change"})).json()["entries"]
    assert [each["details"] for each in entries] == [{"changed": ["name", "retention_days"]}]


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({}, ("threshold", 0.9)),
        ({"threshold": 0.8}, ("threshold", 0.8)),
        ({"false_match_rate": 1e-3}, ("false_match_rate", 1e-3)),
        ({"strictness": "lenient"}, ("strictness", "lenient")),
        ({"strictness": "lenient", "threshold": None}, ("strictness", "lenient")),
        ({"strictness": None}, ("threshold", 0.9)),
        ({"threshold": None}, None),
        (None, None),
    ],
)
async def test_the_forms_of_a_policy_exclude_each_other(
    api: Api, patch: dict[str, Any] | None, expected: tuple[str, Any] | None
) -> None:
    await create(api, policy={"threshold": 0.9})
    policy = (await change(api, policy=patch))["policy"]
    given = None if policy is None else [(name, value) for name, value in policy.items() if value is not None]
    assert given == (None if expected is None else [expected])


async def test_what_a_policy_comes_to(make_api: Callable[..., Any]) -> None:
    api = await make_api(recognition={"threshold": 0.7})
    calibration = api.line.calibration
    await create(api)
    for policy, threshold in (
        (None, 0.7),
        ({"threshold": 0.93}, 0.93),
        ({"threshold": -1}, -1),
        ({"false_match_rate": 1e-3}, calibration.threshold_for(1e-3)),
        ({"false_match_rate": calibration.floor}, calibration.threshold_for(calibration.floor)),
        ({"false_match_rate": 1}, calibration.cosines[0]),
        *(
            (
                {"strictness": each.value},
                calibration.threshold_for(max(FALSE_MATCH_RATES[each], calibration.floor)),
            )
            for each in Strictness
        ),
    ):
        view = await change(api, policy=policy)
        assert view["decision_threshold"] == pytest.approx(threshold), policy
        rate = calibration.false_match_rate(threshold)
        assert view["decision_false_match_rate"] == pytest.approx(rate), policy
        assert (await api.recognise(picture("ada")))["threshold"] == pytest.approx(threshold), policy
    assert rate == pytest.approx(1e-2)


async def test_the_pack_decides_when_nobody_says(api: Api) -> None:
    assert (await create(api))["decision_threshold"] == api.line.calibration.default_threshold


async def test_the_level_that_holds(make_api: Callable[..., Any]) -> None:
    api = await make_api(quality={"enrolment_level": "strict"})
    assert (await create(api))["effective_quality_level"] == "strict"
    assert (await change(api, quality_level="off"))["effective_quality_level"] == "off"


async def test_a_rate_that_the_calibration_cannot_tell_is_refused(api: Api) -> None:
    floor = api.line.calibration.floor
    for method, path, extra in (("POST", EVENTS, {"id": "gala"}), ("PATCH", GALA, {})):
        body = {**extra, "policy": {"false_match_rate": floor * 0.99}}
        problem = check_problem(
            await api.client.request(method, path, json=body), "false_match_rate_not_supported"
        )
        assert problem["context"]["floor"] == floor
        if method == "POST":
            check_problem(await api.client.get(GALA), "unknown_event")
            await create(api)
    assert (await look(api))["policy"] is None


async def test_a_rate_that_the_calibration_can_no_longer_tell_is_shown_as_such(api: Api) -> None:
    key = await api.create_event()
    await api.registry.update_event(key, {"target_false_match_rate": 1e-12})
    view = await look(api)
    assert view["policy"]["false_match_rate"] == pytest.approx(1e-12)
    assert (view["decision_threshold"], view["decision_false_match_rate"]) == (None, None)


async def test_an_event_counts_on_its_pack(api: Api) -> None:
    answer = await api.client.post(EVENTS, json={"id": "gala", "pack_id": "another"})
    assert check_problem(answer, "pack_mismatch")["context"]["serving"] == [api.line.pack.id]
    await api.registry.create_event("old", None, "another")
    view = (await api.client.get(EVENTS)).json()["events"][0]
    assert (view["id"], view["pack_id"], view["decision_threshold"]) == ("old", "another", None)
    for method, path in (("PATCH", ""), ("GET", "/statistics")):
        check_problem(await api.client.request(method, f"{EVENTS}/old{path}", json={}), "pack_mismatch")
    for path, is_closed in (("/close", True), ("/reopen", False)):  # which compare nothing
        view = (await api.client.post(f"{EVENTS}/old{path}")).json()
        assert (view["closed_at"] is not None) is is_closed


BAD = [
    ({"policy": {"threshold": 0.9, "strictness": "strict"}}, "policy"),
    ({"policy": {"threshold": 1.5}}, "policy.threshold"),
    ({"policy": {"threshold": "0.9"}}, "policy.threshold"),
    ({"policy": {"false_match_rate": 0}}, "policy.false_match_rate"),
    ({"policy": {"false_match_rate": 1.1}}, "policy.false_match_rate"),
    ({"policy": {"strictness": "Strict"}}, "policy.strictness"),
    ({"policy": {"colour": 1}}, "policy.colour"),
    ({"policy": 0.9}, "policy"),
    ({"threshold": 0.9}, "threshold"),
    ({"request_policy": "all"}, "request_policy"),
    ({"quality_level": "high"}, "quality_level"),
    ({"retention_days": 0}, "retention_days"),
    ({"retention_days": 3661}, "retention_days"),
    ({"retention_days": 1.5}, "retention_days"),
    ({"retention_days": True}, "retention_days"),
    ({"consent_required": "yes"}, "consent_required"),
    ({"name": 5}, "name"),
    ({"closed_at": None}, "closed_at"),
    ({"key": "x"}, "key"),
]


@pytest.mark.parametrize(("fields", "named"), BAD)
async def test_what_an_event_cannot_be(api: Api, fields: dict[str, Any], named: str) -> None:
    answer = await api.client.post(EVENTS, json={"id": "fair", **fields})
    assert named in check_problem(answer, "invalid_request")["detail"]
    before = await create(api, **FULL)
    answer = await api.client.patch(GALA, json={"name": "changed", **fields})
    assert named in check_problem(answer, "invalid_request")["detail"]
    assert await look(api) == before
    assert len((await api.client.get(EVENTS)).json()["events"]) == 1


@pytest.mark.parametrize("fields", [{"id": "other"}, {"pack_id": "starter"}, {"name": " "}, {"name": "a\nb"}])
async def test_what_cannot_be_changed(gala: Api, fields: dict[str, Any]) -> None:
    check_problem(await gala.client.patch(GALA, json=fields), "invalid_request")
    assert settings_of(await look(gala)) == DEFAULTS


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"[" * 50_000, b'{"retention_days":1e999}'])
async def test_changes_that_are_no_object(gala: Api, content: bytes) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    check_problem(await gala.client.patch(GALA, content=content, headers=headers), "invalid_request")


async def test_changes_that_are_too_large(gala: Api) -> None:
    check_problem(await gala.client.patch(GALA, json={"name": "x" * 70_000}), "body_too_large")


async def test_a_closed_event_takes_nobody_and_names_nobody_but_can_be_looked_after(gala: Api) -> None:
    await gala.enrol("ada", picture("ada"))
    closed = (await gala.client.post(GALA + "/close")).json()
    assert closed == await look(gala)
    assert closed["closed_at"].endswith("Z")
    assert (await gala.client.post(GALA + "/close")).json() == closed, "since it was first closed"
    for path in ("/people", "/recognise"):
        answer = await gala.client.post(
            GALA + path, content=picture("bob"), headers={"Content-Type": "image/png"}
        )
        check_problem(answer, "event_closed")
    assert (await change(gala, name="Over"))["closed_at"] == closed["closed_at"]
    assert (await gala.client.get(GALA + "/statistics")).status_code == 200
    assert (await gala.client.get(GALA + "/people/ada")).status_code == 200
    assert (await gala.client.delete(GALA + "/people/ada")).status_code == 204

    for _ in range(2):
        assert (await gala.client.post(GALA + "/reopen")).json()["closed_at"] is None
    await gala.enrol("bob", picture("bob"))
    assert await gala.outcomes(picture("bob")) == [("match", "bob")]
    again = (await gala.client.post(GALA + "/close")).json()
    assert again["closed_at"] > closed["closed_at"]
    assert (await gala.client.delete(GALA)).status_code == 204


async def test_lists_tell_closed_events_from_others(api: Api) -> None:
    for name in "abcd":
        await api.create_event(name)
    for name in "bd":
        await api.client.post(f"{EVENTS}/{name}/close")

    async def ids(client: Any = api.client, **query: Any) -> list[str]:
        found, cursor = [], None
        while True:
            page = (
                await client.get(
                    EVENTS, params={"limit": 1, **query, **({"cursor": cursor} if cursor else {})}
                )
            ).json()
            found += [each["id"] for each in page["events"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    assert await ids() == ["a", "b", "c", "d"]
    assert await ids(closed=True) == ["b", "d"]
    assert await ids(closed=False) == ["a", "c"]
    assert await ids(api.client_for("operator", ["a", "b"]), closed=True) == ["b"]
    check_problem(await api.client.get(EVENTS, params={"closed": "perhaps"}), "invalid_request")


async def test_to_one_who_is_bound_to_another_event_there_is_none(gala: Api) -> None:
    await gala.create_event("mine")
    stranger = gala.client_for("operator", ["mine"])
    before = await look(gala)
    for method, path in (("PATCH", ""), ("POST", "/close"), ("POST", "/reopen"), ("GET", "/statistics")):
        answer = await stranger.request(method, GALA + path, json={"name": "Mine now"})
        check_problem(answer, "unknown_event")
    assert await look(gala) == before
    assert (await stranger.patch(f"{EVENTS}/mine", json={"name": "Mine"})).json()["name"] == "Mine"


async def test_a_retry_creates_no_second_event(api: Api) -> None:
    headers = {"Idempotency-Key": "3f0a"}
    body = {"name": "Gala", "retention_days": 3}
    first, second = [await api.client.post(EVENTS, json=body, headers=headers) for _ in range(2)]
    assert (first.status_code, first.json()) == (201, second.json())
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert [each["id"] for each in (await api.client.get(EVENTS)).json()["events"]] == [first.json()["id"]]
    other = await api.client.post(EVENTS, json={**body, "retention_days": 4}, headers=headers)
    check_problem(other, "idempotency_key_reused")
    assert (await api.client.delete(f"{EVENTS}/{first.json()['id']}")).status_code == 204
    anew = await api.client.post(EVENTS, json=body, headers=headers)
    assert anew.json()["id"] != first.json()["id"], "the answer went with the event"


async def test_a_key_whose_event_could_not_be_made_is_free_again(gala: Api) -> None:
    headers = {"Idempotency-Key": "3f0a"}
    check_problem(await gala.client.post(EVENTS, json={"id": "gala"}, headers=headers), "event_exists")
    assert (await gala.client.post(EVENTS, json={"id": "fair"}, headers=headers)).status_code == 201


async def test_statistics_before_anything_was_counted(gala: Api) -> None:
    await gala.enrol("ada", picture("ada"), picture("ada", salt="2"))
    assert (await gala.client.get(GALA + "/statistics")).json() == {
        "event_id": "gala",
        "people": 1,
        "faces": 2,
        "recognitions": 0,
        "recognised_faces": 0,
        "matches": 0,
        "unknowns": 0,
        "refusals": 0,
        "spoofs": 0,
        "counted_since": None,
        "scores": [],
    }


async def test_statistics_of_what_was_noted(gala: Api) -> None:
    key = (await gala.registry.get_event("gala")).key
    other = await gala.create_event("other")
    recorder = gala.services.statistics
    recorder.note_recognition(key, [("match", 0.955), ("unknown", 0.955), ("unknown", None)])
    recorder.note_recognition(key, [("match", 1.0), ("refused", None), ("unknown", -1.0)])
    recorder.note_recognition(other, [])
    await recorder.flush()
    found = (await gala.client.get(GALA + "/statistics")).json()
    assert (found["recognitions"], found["recognised_faces"]) == (2, 6)
    assert (found["matches"], found["unknowns"], found["refusals"]) == (2, 3, 1)
    assert found["counted_since"].endswith("Z")
    assert found["scores"] == [
        {"from": -1.0, "to": -0.98, "matches": 0, "unknowns": 1},
        {"from": 0.94, "to": 0.96, "matches": 1, "unknowns": 1},
        {"from": 0.98, "to": 1.0, "matches": 1, "unknowns": 0},
    ]
    assert (await gala.client.get(f"{EVENTS}/other/statistics")).json()["recognitions"] == 1


async def test_statistics_tell_a_door_no_scores(gala: Api) -> None:
    await gala.enrol("ada", picture("ada"))
    door = gala.client_for("member", ["gala"])
    answer = await door.post(GALA + "/recognise", content=picture("eve"))
    assert answer.json()["faces"][0]["best_cosine"] is None
    await gala.services.statistics.flush()
    found = (await door.get(GALA + "/statistics")).json()
    assert (found["unknowns"], found["scores"]) == (1, [])
    assert len((await gala.client.get(GALA + "/statistics")).json()["scores"]) == 1


async def test_a_deletion_that_failed_half_way_hides_the_event_from_every_route(gala: Api) -> None:
    fail_next(gala.stages, "erase_event", StageUnavailable())
    check_problem(await gala.client.delete(GALA), "stage_unavailable")
    for method, path in (("PATCH", ""), ("POST", "/close"), ("POST", "/reopen"), ("GET", "/statistics")):
        check_problem(await gala.client.request(method, GALA + path, json={}), "unknown_event")
