"""The protocol of live video, spoken with the application over real WebSockets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from serving.api.stream.handshake import PROTOCOL
from serving.errors import ALL_ERRORS, InternalError, StageUnavailable
from tests.unit.api.api_fakes import fail_next, picture
from tests.unit.stream.conftest import ADA, hear, hear_end, say, show

STRANGER = picture("eve")
Make = Callable[..., Any]
BY_CODE = {kind.code: kind for kind in ALL_ERRORS}


def check_end(ended: tuple[int, str, dict[str, Any]], code: str) -> None:
    """A stream that ends with an error says so three times."""
    close_code, reason, problem = ended
    assert (close_code, reason, problem["code"]) == (4000 + BY_CODE[code].status, code, code)
    assert problem["cure"] == BY_CODE[code].cure
    assert problem["request_id"]


async def test_a_face_that_stays_is_embedded_and_looked_up_once(make_stream: Make) -> None:
    served = await make_stream(frames_per_s=120)
    served.api.stages.calls.clear()
    async with served.stream() as socket:
        answers = [await show(socket, ADA) for _ in range(30)]
    assert [answer["frame"] for answer in answers] == list(range(1, 31))
    faces = [face for answer in answers for face in answer["faces"]]
    assert {(face["track"], face["outcome"], face["person"]["person_id"]) for face in faces} == {
        (1, "match", "ada")
    }
    assert faces[0]["person"]["name"] == "Ada"
    assert [face["looked_up"] for face in faces] == [True] + [False] * 29
    assert served.api.stages.counts == {"detect": 30, "embed": 1, "search": 1}
    same = (await served.api.recognise(ADA))["faces"][0]
    assert all(faces[0][field] == same[field] for field in ("outcome", "person", "best_cosine", "box"))
    assert faces[0]["landmarks"] is None
    assert "candidates" not in {name for name, value in faces[0].items() if value is not None}


async def test_what_is_asked_for_is_answered(make_stream: Make) -> None:
    served = await make_stream()
    async with served.stream(landmarks=True, top_k=2, quality="standard", faces="largest") as socket:
        [face] = (await show(socket, picture("ada", "eve")))["faces"]
        assert face["landmarks"]["left_eye"]
        assert [each["person_id"] for each in face["candidates"]] == ["ada"]
    async with served.stream(quality="standard") as socket:
        [face] = (await show(socket, picture("ada:1:blurred")))["faces"]
        assert (face["outcome"], face["person"]) == ("refused", None)
        assert [fault["reason"] for fault in face["faults"]] == ["blurred"]
        [face] = (await show(socket, ADA))["faces"]  # the same face, now sharp
        assert (face["outcome"], face["faults"]) == ("match", [])
        [face] = (await show(socket, picture("ada:1:blurred")))["faces"]
        assert face["outcome"] == "match"  # who is known may blink


async def test_an_unknown_face_stays_unknown_until_it_is_enrolled(make_stream: Make) -> None:
    served = await make_stream(retry_s=0.1)
    async with served.stream() as socket:
        [face] = (await show(socket, STRANGER))["faces"]
        assert (face["outcome"], face["person"]) == ("unknown", None)
        await served.api.enrol("eve", STRANGER)
        while face["outcome"] == "unknown":
            [face] = (await show(socket, STRANGER))["faces"]
            await asyncio.sleep(0.02)
        assert (face["person"]["person_id"], face["track"]) == ("eve", 1)


async def test_who_is_erased_is_not_named_any_more(make_stream: Make) -> None:
    served = await make_stream(recheck_s=0.1, retry_s=60)
    async with served.stream() as socket:
        [face] = (await show(socket, ADA))["faces"]
        assert face["outcome"] == "match"
        assert (await served.api.client.delete("/v1/events/gala/people/ada")).status_code == 204
        while face["outcome"] == "match":
            [face] = (await show(socket, ADA))["faces"]
            await asyncio.sleep(0.02)
        assert face["person"] is None


async def test_the_newest_frame_is_worked_on_and_the_rest_are_dropped(make_stream: Make) -> None:
    served = await make_stream(frames_per_s=100)
    gate, working = asyncio.Event(), asyncio.Event()

    async def wait(*_: Any) -> None:
        working.set()
        await gate.wait()

    async with served.stream() as socket:
        served.api.stages.before["detect"] = wait
        served.api.stages.calls.clear()
        await socket.send(ADA)
        await working.wait()
        for _ in range(5):
            await socket.send(ADA)
        pong = await socket.ping()
        await pong  # all have arrived; one is in work, one waits
        await asyncio.sleep(0.1)
        gate.set()
        first, last = await hear(socket), await hear(socket)
        assert (first["frame"], first["dropped"]) == (1, 0)
        assert (last["frame"], last["dropped"]) == (6, 4)
        assert served.api.stages.counts["detect"] == 2


async def test_more_frames_than_may_be_are_refused_and_a_flood_is_ended(make_stream: Make) -> None:
    served = await make_stream(frames_per_s=2)
    async with served.stream() as socket:
        began = time.monotonic()
        for _ in range(2):  # what may come at once
            await show(socket, ADA)
        for _ in range(10):
            await socket.send(ADA)
            await asyncio.sleep(0.005)
        last = await hear(socket)  # the newest is answered, when its turn has come
        assert (last["frame"], last["refused"] + last["dropped"]) == (12, 9)
        assert last["refused"] > 0
        assert time.monotonic() - began >= 0.45
        for _ in range(200):
            await socket.send(ADA)
        check_end(await hear_end(socket), "rate_limited")


async def test_a_busy_service_says_so_of_the_frame(make_stream: Make) -> None:
    served = await make_stream({"load": {"max_pending_requests": 1}})
    async with served.stream() as socket:
        with served.api.services.gate.admit():
            busy = await show(socket, ADA)
        assert (busy["type"], busy["frame"], busy["problem"]["code"]) == ("busy", 1, "overloaded")
        assert busy["problem"]["retry_after_s"] == 1
        fail_next(served.api.stages, "detect", StageUnavailable("the detector at 10.1.2.3 said no"))
        busy = await show(socket, ADA)
        assert busy["problem"]["code"] == "stage_unavailable"
        assert "10.1.2.3" not in json.dumps(busy)
        assert (await show(socket, ADA))["faces"][0]["outcome"] == "match"
        assert served.api.services.gate.requests == 0


@pytest.mark.parametrize(
    ("frame", "code"),
    [(b"hello", "not_an_image"), (ADA[:60], "truncated_picture"), (b"\0" * 2000, "picture_too_large")],
)
async def test_a_bad_frame_ends_nothing(make_stream: Make, frame: bytes, code: str) -> None:
    served = await make_stream(max_frame_bytes=1024)
    async with served.stream() as socket:
        answer = await show(socket, frame)
        assert (answer["type"], answer["problem"]["code"]) == ("problem", code)
        assert (await show(socket, ADA))["type"] == "faces"


async def test_the_ways_to_say_who_one_is(make_stream: Make) -> None:
    served = await make_stream()
    token = served.api.token_for("member")
    key = (
        await served.api.client.post(
            "/v1/api-keys", json={"name": "door", "scopes": ["recognise"], "events": ["gala"]}
        )
    ).json()["key"]
    ways: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"additional_headers": {"Authorization": f"Bearer {token}"}}, {}),
        ({"additional_headers": {"X-API-Key": key}}, {}),
        ({"subprotocols": [PROTOCOL, f"bearer.{token}"]}, {}),
        ({"subprotocols": [PROTOCOL]}, {"token": token}),
        ({}, {"token": key}),
    ]
    for handshake, start in ways:
        async with served.connect(**handshake) as socket:
            assert socket.subprotocol == (PROTOCOL if "subprotocols" in handshake else None)
            await say(socket, type="start", **start)
            ready = await hear(socket)
            assert (ready["type"], ready["event_id"], ready["frames_per_s"]) == ("ready", "gala", 10)
            assert (await show(socket, ADA))["faces"][0]["outcome"] == "match"


@pytest.mark.parametrize(
    ("headers", "event", "status", "code"),
    [
        ({"Origin": "https://evil.example"}, "gala", 403, "foreign_origin"),
        ({"Origin": "null"}, "gala", 403, "foreign_origin"),
        ({"Authorization": "Bearer nonsense"}, "gala", 401, "token_invalid"),
        ({"Authorization": "Bearer rck_1_2"}, "gala", 401, "api_key_invalid"),
        ({"Sec-WebSocket-Protocol": "chat"}, "gala", 422, "invalid_request"),
        ({"Host": "evil.example"}, "gala", 421, "unknown_host"),
    ],
)
async def test_before_it_is_accepted_a_stream_is_refused_as_http_is(
    make_stream: Make, headers: dict[str, str], event: str, status: int, code: str
) -> None:
    served = await make_stream()
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    app = served.api.app
    if code == "unknown_host":
        from serving.api.host_check import HostCheck

        stack = app.middleware_stack
        assert stack is not None
        app.middleware_stack = HostCheck(stack, ["rollcall.example.org"])
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(
                f"http://127.0.0.1:{served.port}/v1/events/{event}/stream", headers={**upgrade, **headers}
            )
    finally:
        if code == "unknown_host":
            app.middleware_stack = stack
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_origins_that_may(make_stream: Make) -> None:
    served = await make_stream({"web": {"cors_origins": ["https://door.example.org"]}})
    for origin in ("https://door.example.org", f"http://127.0.0.1:{served.port}"):
        async with served.connect(origin=origin) as socket:
            await say(socket, type="start", token=served.api.token_for())
            assert (await hear(socket))["type"] == "ready"


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ({"type": "start"}, "token_missing"),
        ({"type": "start", "token": "nonsense"}, "token_invalid"),
        ({"type": "start", "token": "of another event"}, "unknown_event"),
        ({"type": "start", "token": "good", "colour": "blue"}, "invalid_request"),
        ({"type": "start", "token": "good", "top_k": 10_000}, "invalid_request"),
        ({"type": "start", "token": "good", "liveness": "enforce"}, "liveness_not_configured"),
        ({"type": "token", "token": "good"}, "invalid_request"),
        (ADA, "invalid_request"),
        ("not JSON", "invalid_request"),
    ],
)
async def test_a_start_that_fails(make_stream: Make, first: Any, code: str) -> None:
    served = await make_stream()
    await served.api.create_event("other")
    if isinstance(first, dict):
        tokens = {"good": None, "of another event": ["other"]}
        if first.get("token") in tokens:
            first = {**first, "token": served.api.token_for(events=tokens[first["token"]])}
        first = json.dumps(first)
    async with served.connect() as socket:
        await socket.send(first)
        ended = await hear_end(socket)
    check_end(ended, code)
    assert "eyJ" not in json.dumps(ended)


async def test_a_token_ends_the_stream_when_it_does_and_a_newer_one_goes_on(make_stream: Make) -> None:
    served = await make_stream(recheck_s=60)
    served.api.services.verifier._leeway_s = 0.0
    object.__setattr__(served.api.services.settings.auth, "leeway_s", 0.0)
    async with served.stream(served.api.token_for(lifetime_s=2)) as socket:
        await say(socket, type="token", token=served.api.token_for(lifetime_s=4))
        began = time.time()
        assert (await show(socket, ADA))["type"] == "faces"
        check_end(await hear_end(socket), "token_expired")
        assert time.time() - began > 2


@pytest.mark.parametrize("change", ["disabled", "closed", "deleted and made anew", "key revoked"])
async def test_what_a_stream_rests_on_is_looked_at_again(make_stream: Make, change: str) -> None:
    served = await make_stream(recheck_s=0.1)
    client, api = served.api.client, served.api
    made = (
        await client.post("/v1/api-keys", json={"name": "door", "scopes": ["recognise"], "events": ["gala"]})
    ).json()
    async with served.stream(made["key"]) as socket:
        assert (await show(socket, ADA))["type"] == "faces"
        if change == "closed":
            await client.post("/v1/events/gala/close")
            code = "event_closed"
        elif change == "deleted and made anew":
            await client.delete("/v1/events/gala")
            await api.create_event()
            code = "unknown_event"
        elif change == "key revoked":
            await client.delete(f"/v1/api-keys/{made['id']}")
            code = "api_key_invalid"
        else:
            from sqlalchemy import update

            from serving.accounts.tables import account
            from serving.database.metadata import now_utc

            await api.registry._database.write(
                lambda c: c.execute(update(account).values(disabled_at=now_utc()))
            )
            code = "api_key_invalid"
        check_end(await hear_end(socket), code)


async def test_streams_that_are_idle_or_too_many_are_ended(make_stream: Make) -> None:
    served = await make_stream(max_open=3, max_per_caller=2, idle_timeout_s=1)
    async with served.stream() as first, served.stream():
        async with served.connect() as third:
            await say(third, type="start", token=served.api.token_for())
            check_end(await hear_end(third), "too_many_streams")
        check_end(await hear_end(first), "stream_idle")
    async with served.stream() as again:
        assert (await show(again, ADA))["type"] == "faces"


async def test_a_stream_lasts_no_longer_than_it_may(make_stream: Make) -> None:
    served = await make_stream(max_duration_s=1)
    async with served.stream() as socket:
        await show(socket, ADA)
        check_end(await hear_end(socket), "stream_over")


async def test_a_bug_ends_the_stream_and_tells_nothing(make_stream: Make) -> None:
    served = await make_stream()
    async with served.stream() as socket:
        fail_next(served.api.stages, "detect", ValueError("the secret of the house"))
        await socket.send(ADA)
        ended = await hear_end(socket)
    check_end(ended, InternalError.code)
    assert "secret" not in json.dumps(ended)
    assert served.api.services.gate.requests == 0


async def test_whoever_stays_has_arrived_once_and_is_told_so_once(make_stream: Make) -> None:
    served = await make_stream()
    async with served.stream(check_in=True, place="north door") as socket:
        faces = [(await show(socket, ADA))["faces"][0] for _ in range(4)]
        assert [face["arrived"] for face in faces] == ["now", "before", "before", "before"]
        [arrival] = (await served.api.client.get("/v1/events/gala/check-ins")).json()["check_ins"]
        assert (arrival["person_id"], arrival["place"], arrival["times"]) == ("ada", "north door", 1)
    async with served.stream(check_in=True) as socket:
        [face] = (await show(socket, ADA))["faces"]
        assert (face["arrived"], face["times"]) == ("before", 1)
        [face] = (await show(socket, STRANGER))["faces"]


async def test_one_entry_in_the_trail_for_each_stream(make_stream: Make) -> None:
    served = await make_stream()
    async with served.stream(check_in=True) as socket:
        for _ in range(3):
            await show(socket, ADA)
    async with served.connect() as socket:
        await say(socket, type="start", token=served.api.token_for(events=[]))
        await hear_end(socket)
    entries: list[dict[str, Any]] = []
    while not any("pictures" in (each["details"] or {}) for each in entries):
        await served.api.services.audit.flush()
        found = await served.api.client.get("/v1/audit", params={"action": "recognition.stream"})
        entries = found.json()["entries"]
    [entry] = [each for each in entries if each["outcome"] == "ok"]
    assert (entry["actor"], entry["event_id"], entry["status"]) == ("tester", "gala", 101)
    told = {"pictures": 3, "faces": 1, "matches": 1, "arrived": 1, "people": ["ada"]}
    assert told.items() <= entry["details"].items()


async def test_a_server_that_stops_says_that_it_will_be_back(make_stream: Make) -> None:
    served = await make_stream()
    async with served.stream() as socket:
        await show(socket, ADA)
        served.server.should_exit = True
        assert (await hear_end(socket))[0] == 1012
