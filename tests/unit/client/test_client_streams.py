"""Live streams of the client, over real WebSockets, against a service that answers by a script."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from rollcall_client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    DeadlinePassed,
    FrameRefused,
    Retries,
    Session,
    StreamFaces,
    problems,
    stream_messages,
)
from serving.api.stream import messages
from tests.unit.client.client_script import TOKENS

FACE = {
    "track": 1, "looked_up": True, "box": {"x": 1, "y": 2, "width": 3, "height": 4}, "landmarks": None,
    "detection_score": 0.9, "liveness": None, "outcome": "unknown", "person": None, "best_cosine": None,
    "candidates": None, "faults": [], "arrived": None, "first_at": None, "times": None, "a new field": 1,
}  # fmt: skip
TIMINGS = {"decode_ms": 1, "detect_ms": 1, "embed_ms": 1, "match_ms": 1, "total_ms": 4}
QUICK = Retries(max_tries=3, first_pause_s=0.01, longest_pause_s=5)
Script = Callable[["Camera"], None]


def problem(code: str, status: int, **more: Any) -> dict[str, Any]:
    return {"code": code, "status": status, "title": "t", "detail": f"it is {code}", "cure": "c", **more}


@dataclass
class Camera:
    """One connection as the service sees it."""

    socket: ServerConnection
    number: int
    start: dict[str, Any]
    told: list[Any]
    frames: int = 0

    def ready(self) -> None:
        limits = {"frames_per_s": 10, "max_frame_bytes": 1000, "idle_timeout_s": 60, "max_duration_s": 600}
        places = {"event_id": "gala", "pack_id": "p", "threshold": 0.3, "token_expires_at": None}
        self.say("ready", stream_id=f"s{self.number}", **limits, **places)

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def hear(self) -> bytes:
        """The next frame; what is said before it is noted."""
        while True:
            message = self.socket.recv(20)
            self.told.append(message if isinstance(message, bytes) else json.loads(message))
            if isinstance(message, bytes):
                self.frames += 1
                return message

    def answer(self, kind: str = "faces", frame: int | None = None, **fields: Any) -> None:
        size = {"width": 8, "height": 6, "faces": [FACE], "timings": TIMINGS} if kind == "faces" else {}
        passed = {"dropped": 0, "refused": 0, **size, **fields}
        self.say(kind, frame=self.frames if frame is None else frame, **passed)

    def end(self, code: str, status: int, **more: Any) -> None:
        self.say("end", frame=None, problem=problem(code, status, **more))
        self.socket.close(4000 + status, code)


@dataclass
class Service:
    """Plays one script for each connection, the last one again and again."""

    scripts: list[Script]
    told: list[Any] = field(default_factory=list)
    starts: list[dict[str, Any]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    answer: Response | None = None
    url: str = ""

    def look(self, _: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        return self.answer

    def handle(self, socket: ServerConnection) -> None:
        self.starts.append(json.loads(socket.recv(20)))
        camera = Camera(socket, len(self.starts), self.starts[-1], self.told)
        self.scripts[min(len(self.starts), len(self.scripts)) - 1](camera)


@pytest.fixture
def play() -> Iterator[Callable[..., Service]]:
    servers: list[tuple[Server, threading.Thread]] = []

    def begin(*scripts: Script) -> Service:
        service = Service(list(scripts))
        server = serve(service.handle, "127.0.0.1", 0, process_request=service.look, close_timeout=1)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        service.url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        return service

    yield begin
    for server, thread in servers:
        server.shutdown()
        thread.join(10)


@pytest.fixture(params=["sync", "async"])
def show(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """Show frames over a stream; what came of each, an exception last."""

    def run(service: Service, frames: list[Any], timeout_s: float = 20, **options: Any) -> list[Any]:
        options = {"token": "t", "retries": QUICK, **options}
        asked = {name: options.pop(name) for name in ("check_in", "place", "on_trouble") if name in options}
        seen: list[Any] = []
        if request.param == "sync":
            try:
                with (
                    Client(service.url, **options) as client,
                    client.open_stream("gala", **asked) as stream,
                ):
                    seen += ((stream.show(each, timeout_s=timeout_s), stream.ready) for each in frames)
            except Exception as error:
                seen.append(error)
            return seen

        async def go() -> None:
            async with (
                AsyncClient(service.url, **options) as client,
                client.open_stream("gala", **asked) as stream,
            ):
                for each in frames:
                    seen.append((await stream.show(each, timeout_s=timeout_s), stream.ready))

        try:
            asyncio.run(go())
        except Exception as error:
            seen.append(error)
        return seen

    return run


def serve_frames(camera: Camera, count: int = 99) -> None:
    camera.ready()
    for _ in range(count):
        camera.hear()
        camera.answer()


def test_frames_are_answered_and_the_token_is_in_no_address(play: Any, show: Any) -> None:
    service = play(serve_frames)
    seen = show(service, [b"one", b"two"], check_in=True, place="door")
    assert [(type(answer), answer.frame, ready.stream_id) for answer, ready in seen] == [
        (StreamFaces, 1, "s1"),
        (StreamFaces, 2, "s1"),
    ]
    assert seen[0][0].faces[0].outcome == "unknown"
    assert service.starts == [{"type": "start", "check_in": True, "place": "door"}]
    [request] = service.requests
    assert request.path == "/v1/events/gala/stream"
    assert request.headers["Authorization"] == "Bearer t"
    assert service.told == [b"one", b"two"]


def test_frames_that_are_not_looked_at_end_nothing(play: Any, show: Any) -> None:
    def script(camera: Camera) -> None:
        camera.ready()
        camera.hear()
        camera.answer("busy", problem=problem("overloaded", 503, retry_after_s=1), dropped=2)
        camera.hear()
        camera.answer("problem", problem=problem("not_an_image", 415))
        camera.hear()
        camera.answer(frame=2)  # late; nobody waits for it
        camera.answer()

    busy, wrong, good = (answer for answer, _ in show(play(script), [b"1", b"2", b"3"]))
    assert isinstance(busy, FrameRefused)
    assert isinstance(busy.problem, problems.Overloaded)
    assert (busy.is_busy, busy.dropped, busy.problem.retry_after_s) == (True, 2, 1)
    assert isinstance(wrong.problem, problems.NotAnImage)
    assert not wrong.is_busy
    assert good.frame == 3


def cut(camera: Camera) -> None:
    camera.socket.socket.shutdown(socket.SHUT_RDWR)


LOST: dict[str, Callable[[Camera], None]] = {
    "replaced": lambda camera: camera.socket.close(1012, "restart"),
    "a proxy ends": lambda camera: camera.socket.close(1011),
    "cut": cut,
    "idle": lambda camera: camera.end("stream_idle", 408),
    "over": lambda camera: camera.end("stream_over", 408),
    "no stage": lambda camera: camera.end("stage_unavailable", 503),
    "too many": lambda camera: camera.end("too_many_streams", 429, retry_after_s=0.01),
    "the last word is lost": lambda camera: camera.socket.close(4503, "stage_unavailable"),
}


@pytest.mark.parametrize(
    ("how", "when"),
    [
        *((how, "before the answer") for how in LOST),
        *((how, when) for how in ("replaced", "cut", "no stage") for when in ("at once", "after it")),
    ],
)
def test_a_stream_that_is_lost_is_opened_anew(play: Any, show: Any, how: str, when: str) -> None:
    def lose(camera: Camera) -> None:
        if when != "at once":
            camera.ready()
            camera.hear()
        if when == "after it":
            camera.answer()
        LOST[how](camera)

    service, taken, troubles = play(lose, serve_frames), [0], []

    def take() -> bytes:
        taken[0] += 1
        return b"frame %d" % taken[0]

    seen = show(service, [take, take], on_trouble=lambda *trouble: troubles.append(trouble))
    assert all(isinstance(each, tuple) for each in seen), seen
    assert [(answer.frame, ready.stream_id) for answer, ready in seen] == (
        [(1, "s1"), (1, "s2")] if when == "after it" else [(1, "s2"), (2, "s2")]
    )
    assert len(troubles) == 1
    frames = [each for each in service.told if isinstance(each, bytes)]
    assert len(set(frames)) == len(frames), "an old frame was sent again"


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("unknown_event", 404, problems.UnknownEvent),
        ("event_closed", 409, problems.EventClosed),
        ("token_revoked", 401, problems.TokenRevoked),
        ("too_many_streams", 429, problems.TooManyStreams),  # for longer than one is patient
    ],
)
def test_what_does_not_pass_is_raised(play: Any, show: Any, code: str, status: int, kind: type) -> None:
    more = {"retry_after_s": 60} if status == 429 else {}
    service = play(lambda camera: camera.end(code, status, **more))
    [raised] = show(service, [b"frame"])
    assert type(raised) is kind
    assert raised.cure == "c"
    assert len(service.starts) == 1


def test_nobody_is_tried_for_ever(play: Any, show: Any) -> None:
    service = play(lambda camera: camera.socket.close(1011))
    [raised] = show(service, [b"frame"])
    assert isinstance(raised, ConnectionFailed)
    assert len(service.starts) == QUICK.max_tries
    silent = play(lambda camera: (camera.ready(), camera.hear(), camera.hear()))
    [raised] = show(silent, [b"frame"], timeout_s=0.05)
    assert isinstance(raised, DeadlinePassed)
    assert len(silent.starts) == QUICK.max_tries


def refuse(status: int, body: Any, **headers: str) -> Response:
    return Response(status, "No", Headers(headers), json.dumps(body).encode())


@pytest.mark.parametrize(
    ("answer", "raised", "tries"),
    [
        (refuse(401, problem("token_invalid", 401)), problems.TokenInvalid, 1),
        (refuse(404, problem("unknown_event", 404)), problems.UnknownEvent, 1),
        (refuse(503, problem("overloaded", 503), **{"Retry-After": "0"}), problems.Overloaded, 3),
        (refuse(502, "a proxy's page"), httpx, 3),
    ],
)
def test_a_handshake_that_is_refused(play: Any, show: Any, answer: Response, raised: Any, tries: int) -> None:
    service = play(serve_frames)
    service.answer = answer
    [error] = show(service, [b"frame"])
    if raised is httpx:
        assert error.status == 502
    else:
        assert type(error) is raised
    assert len(service.requests) == tries


def test_a_redirection_is_not_followed(play: Any, show: Any) -> None:
    other, service = play(serve_frames), play(serve_frames)
    service.answer = refuse(307, "", Location=f"{other.url}/v1/events/gala/stream".replace("http", "ws", 1))
    [error] = show(service, [b"frame"])
    assert "points to" in str(error)
    assert other.requests == []


def test_a_session_is_renewed_before_the_stream_ends_with_it(play: Any, show: Any) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content) == {"refresh_token": "r1"}
        return httpx.Response(200, json=TOKENS)

    ending = Session("old", datetime.now(timezone.utc) + timedelta(seconds=1), "r1")
    session: dict[str, Any] = {"token": None, "session": ending, "transport": httpx.MockTransport(answer)}
    service = play(serve_frames)
    [(first, _)] = show(service, [b"frame"], **session)
    assert isinstance(first, StreamFaces)
    assert service.requests[0].headers["Authorization"] == "Bearer new"

    # In the middle of a stream, of a token that was revoked: once more in the name of a new one.
    later = Session("old", datetime.now(timezone.utc) + timedelta(hours=1), "r1")
    ended = play(lambda camera: camera.end("token_expired", 401), serve_frames)
    [(second, _)] = show(ended, [b"frame"], **{**session, "session": later})
    assert second.frame == 1
    assert [each.headers["Authorization"] for each in ended.requests] == ["Bearer old", "Bearer new"]


def test_a_newer_token_is_told_and_opens_the_next_stream(play: Any) -> None:
    service = play(lambda camera: serve_frames(camera, 1), serve_frames)
    with Client(service.url, token="t", retries=QUICK) as client, client.open_stream("gala") as stream:
        stream.renew("newer")
        stream.show(b"1")
        stream.show(b"2")
    assert service.told[0] == {"type": "token", "token": "newer"}
    assert [each.headers["Authorization"] for each in service.requests] == ["Bearer t", "Bearer newer"]


def test_an_event_that_would_be_another_address_is_refused() -> None:
    with Client("http://127.0.0.1:9", token="t") as client, pytest.raises(ValueError, match="event"):
        client.open_stream("..")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (stream_messages.StreamReady, messages.Ready),
        (stream_messages.StreamFace, messages.StreamFace),
        (stream_messages.StreamFaces, messages.Faces),
    ],
)
def test_the_messages_are_those_of_the_service(ours: Any, theirs: Any) -> None:
    assert set(ours.model_fields) == set(theirs.model_fields) - {"type"}


def test_the_options_are_those_of_the_service() -> None:
    taken = set(Client.open_stream.__annotations__) - {"event", "retries", "on_trouble", "return"}
    assert taken == set(messages.Start.model_fields) - {"type", "token"}
