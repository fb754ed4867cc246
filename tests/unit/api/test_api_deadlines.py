"""Deadlines reach every stage; what nobody waits for any more is not worked on; a change comes to its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from serving.api.callers import CallerWatch, settle
from serving.api.route_index import RouteIndex
from serving.api.routes.stateless import router as stateless
from tests.unit.api.api_fakes import picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA = picture("ada")
PEOPLE, RECOGNISE = "/v1/events/gala/people", "/v1/events/gala/recognise"


class Caller:
    """Sends a request by raw ASGI, and can go away."""

    def __init__(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        self.sent: list[Message] = []
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": body, "more_body": False})

    def leave(self) -> None:
        for _ in range(3):
            self._messages.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        return await self._messages.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def call(self, app: Any) -> asyncio.Task[None]:
        return asyncio.ensure_future(app(self.scope, self.receive, self.send))

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None


def caller_of(api: Api, method: str, path: str, body: bytes = b"") -> Caller:
    return Caller(method, path, body, Authorization=f"Bearer {api.token_for()}")


def hold(api: Api, stage: str) -> tuple[asyncio.Event, asyncio.Event]:
    """Events: the stage was reached; it may go on."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait(*args: Any) -> None:
        reached.set()
        await go_on.wait()

    api.stages.before[stage] = wait
    return reached, go_on


async def test_a_recognition_ends_when_its_caller_goes(gala: Api) -> None:
    reached, _ = hold(gala, "detect")
    caller = caller_of(gala, "POST", RECOGNISE, ADA)
    running = caller.call(gala.app)
    await asyncio.wait_for(reached.wait(), 30)
    assert gala.services.gate.requests == 1
    caller.leave()
    await asyncio.wait_for(running, 30)
    assert caller.sent == []
    assert gala.stages.names()[-1] == "detect"
    assert (gala.services.gate.requests, gala.services.gate.bytes) == (0, 0)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_enrolment_comes_to_its_end_without_its_caller(gala: Api, cancelled: bool) -> None:
    reached, go_on = hold(gala, "enrol")
    caller = caller_of(gala, "POST", PEOPLE, ADA)
    caller.scope["query_string"] = b"person_id=ada"
    running = caller.call(gala.app)
    await asyncio.wait_for(reached.wait(), 30)
    caller.leave()
    if cancelled:  # what Serve does
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    go_on.set()
    if not cancelled:
        await asyncio.wait_for(running, 30)

    async def find() -> bool:
        return (await gala.client.get(PEOPLE + "/ada")).status_code == 200

    for _ in range(500):
        if await find():
            break
        await asyncio.sleep(0.02)
    assert await find()
    if not cancelled:
        await asyncio.wait_for(running, 30)
    assert (caller.status is None) == cancelled


async def test_the_deadline_of_the_header_reaches_the_stages(
    gala: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: dict[str, float] = {}
    for name in ("detect", "embed", "search", "enrol"):
        method = getattr(gala.stages, name)

        def watch(*args: Any, name: str = name, method: Any = method, **kwargs: Any) -> Any:
            places = {"detect": 1, "search": 4}
            left[name] = kwargs.get("remaining_s", args[places.get(name, -1)])
            return method(*args, **kwargs)

        monkeypatch.setattr(gala.stages, name, watch)
    headers = {"X-Timeout-S": "7.5"}
    answer = await gala.client.post(PEOPLE, content=ADA, headers=headers, params={"person_id": "ada"})
    assert answer.status_code == 201, answer.text
    assert (await gala.client.post(RECOGNISE, content=ADA, headers=headers)).status_code == 200
    assert set(left) == {"detect", "embed", "search", "enrol"}
    assert all(0 < each <= 7.5 for each in left.values())
    await gala.client.post(RECOGNISE, content=ADA, headers={"X-Timeout-S": "100000"})
    assert 7.5 < left["detect"] <= gala.services.settings.load.request_timeout_s


async def test_no_stage_works_for_a_request_whose_time_is_up(gala: Api) -> None:
    async def dawdle(*args: Any) -> None:
        await asyncio.sleep(0.3)

    gala.stages.before["detect"] = dawdle
    for path in (RECOGNISE, PEOPLE):
        gala.stages.calls.clear()
        answer = await gala.client.post(path, content=ADA, headers={"X-Timeout-S": "0.2"})
        check_problem(answer, "deadline_exceeded")
        assert gala.stages.names() == ["detect"]


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", ""])
async def test_a_deadline_that_is_none(gala: Api, value: str) -> None:
    answer = await gala.client.post(RECOGNISE, content=ADA, headers={"X-Timeout-S": value})
    check_problem(answer, "invalid_request")


def watched(app: Any, unfinished: set[asyncio.Task[None]] | None = None) -> CallerWatch:
    return CallerWatch(app, RouteIndex.of([stateless]), set() if unfinished is None else unfinished)


async def test_a_caller_that_goes_after_the_answer_cancels_nothing() -> None:
    finished = False

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal finished
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})
        caller.leave()
        for _ in range(10):
            await asyncio.sleep(0)
        finished = True

    caller = Caller("POST", "/v1/detect")
    await caller.call(watched(answer))
    assert finished


async def test_others_that_listen_hear_of_it_too() -> None:
    heard: list[Message] = []

    async def listen(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            heard.append(await receive())
        except asyncio.CancelledError:
            heard.append({"type": "cancelled"})
            raise

    caller = Caller("POST", "/v1/detect")
    running = caller.call(watched(listen))
    await asyncio.sleep(0.01)
    caller.leave()
    await asyncio.wait_for(running, 30)
    assert heard


async def test_no_watcher_is_left_behind() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    before = len(asyncio.all_tasks())
    for _ in range(10):
        await Caller("POST", "/v1/detect").call(watched(answer))
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before


async def test_being_cancelled_from_outside_is_passed_on() -> None:
    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.Event().wait()

    running = Caller("POST", "/v1/detect").call(watched(hang))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_end_waits_for_changes_under_way(make_change: Callable[..., Any]) -> None:
    go_on = asyncio.Event()
    done: list[str] = []

    async def change(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        done.append("changed")
        raise ClientDisconnect

    unfinished: set[asyncio.Task[None]] = set()
    running = make_change(change, unfinished)
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(unfinished) == 1
    asyncio.get_running_loop().call_later(0.02, go_on.set)
    await settle(unfinished)
    assert done == ["changed"]
    await asyncio.sleep(0)
    assert unfinished == set()


@pytest.fixture
def make_change() -> Callable[..., Any]:
    """Calls an application as a route that changes something."""
    from serving.api.routes.people import router

    def make(app: Any, unfinished: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        return Caller("POST", PEOPLE).call(CallerWatch(app, RouteIndex.of([router]), unfinished))

    return make


async def test_a_bug_in_a_change_is_raised_as_before(make_change: Callable[..., Any]) -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await make_change(fail, set())


async def test_a_bug_in_a_change_is_answered(gala: Api) -> None:
    gala.stages.failures["detect"] = [KeyError("words")]
    caller = caller_of(gala, "POST", PEOPLE, ADA)
    await caller.call(gala.app)
    assert caller.status == 500
    assert json.loads(caller.sent[1]["body"])["code"] == "internal_error"
