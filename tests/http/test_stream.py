"""Live video over the real service: through Serve's proxy, the real models and the real gallery."""

from __future__ import annotations

import contextlib
import io
import re
import time
from pathlib import Path

import httpx
import pytest
import websockets
from PIL import Image
from websockets.sync.client import connect

from loadtest.service import Service
from serving.api.stream.wire import POLICY_VIOLATION
from tests.http.metrics_page import forget_answer, scrape
from tests.http.streams import hear, open_stream, show

FRAMES = 30


@pytest.fixture(scope="module")
def frames(samples: dict[str, Path]) -> dict[str, list[bytes]]:
    """A standing person as a camera sees them: a pixel to and fro, and other noise of JPEG each time."""
    made: dict[str, list[bytes]] = {}
    for name in ("guest", "portrait"):
        person = Image.open(samples[name]).convert("RGB")
        person = person.resize((round(person.width * 300 / person.height), 300))
        made[name] = []
        for number in range(FRAMES):
            scene = Image.new("RGB", (640, 360), (96, 104, 112))
            scene.paste(person, (200 + number % 3, 30 + number % 2))
            buffer = io.BytesIO()
            scene.save(buffer, "JPEG", quality=85 + number % 5)
            made[name].append(buffer.getvalue())
    return made


def read_counts(client: httpx.Client) -> dict[str, float]:
    """Frames by outcome, and faces that the embedder has seen, all that was until now."""
    forget_answer(client)
    text = scrape(client)
    counts = {
        outcome: float(value)
        for outcome, value in re.findall(r'rollcall_stream_frames_total\{outcome="(\w+)"\} (\S+)', text)
    }
    embedded = re.findall(r'^rollcall_parcel_tasks_sum\{[^}]*stage="embedder"[^}]*\} (\S+)', text, re.M)
    return {**counts, "embedded": sum(map(float, embedded))}


def test_who_stands_is_embedded_once_and_who_is_unknown_stays_so(
    service: Service, client: httpx.Client, token: str, event: str, samples: dict[str, Path],
    frames: dict[str, list[bytes]],
) -> None:  # fmt: skip
    enrolled = client.post(
        f"{event}/people",
        data={"person_id": "guest", "name": "A guest"},
        files={"picture": samples["guest"].read_bytes()},
    )
    assert enrolled.status_code == 201, enrolled.text
    before = read_counts(client)
    with open_stream(service, event, token, check_in=True) as socket:
        seen = [show(socket, frame) for frame in frames["guest"]]
        assert {each["type"] for each in seen} == {"faces"}
        people = {(face["track"], face["person"]["name"]) for each in seen for face in each["faces"]}
        assert people == {(1, "A guest")}
        assert [each["faces"][0]["arrived"] for each in seen] == ["now"] + ["before"] * (FRAMES - 1)
        counted = {name: value - before[name] for name, value in read_counts(client).items()}
        assert (counted["recognised"], counted["tracked"], counted["embedded"]) == (1, FRAMES - 1, 1)

        strangers = [(show(socket, frame))["faces"][0] for frame in frames["portrait"]]
        assert {(face["outcome"], face["person"]) for face in strangers} == {("unknown", None)}
    [arrival] = client.get(f"{event}/check-ins").json()["check_ins"]
    assert (arrival["person_id"], arrival["times"]) == ("guest", 1)


def test_more_frames_than_there_is_time_for_drop_to_the_newest(
    service: Service, client: httpx.Client, token: str, event: str, frames: dict[str, list[bytes]]
) -> None:
    with open_stream(service, event, token) as socket:
        for frame in frames["portrait"]:
            socket.send(frame)
        answers = [hear(socket)]
        while answers[-1]["frame"] < FRAMES:
            answers.append(hear(socket))
        passed_over = sum(each["dropped"] + each["refused"] for each in answers)
        assert len(answers) + passed_over == FRAMES
        assert passed_over > 0


def test_a_stream_ends_with_its_token(service: Service, token: str, client: httpx.Client, event: str) -> None:
    name, password = f"door-{time.time_ns()}", "a long enough passphrase"
    account = {"name": name, "password": password, "role": "member", "events": [event.rpartition("/")[2]]}
    made = client.post("/v1/accounts", json=account)
    assert made.status_code == 201, made.text
    signed_in = client.post("/v1/auth/sign-in", json={"name": name, "password": password}).json()
    with open_stream(service, event, signed_in["access_token"]) as socket:
        client.post("/v1/auth/sign-out", headers={"Authorization": f"Bearer {signed_in['access_token']}"})
        assert hear(socket)["problem"]["code"] == "token_revoked"
        with pytest.raises(websockets.ConnectionClosed) as closed:
            hear(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401


def test_a_stranger_who_floods_is_let_go(service: Service, client: httpx.Client, event: str) -> None:
    """Tiny frames, before anybody has said who it is, cost the others nothing to speak of."""
    url = f"{service.url.replace('http', 'ws', 1)}{event}/stream"
    with connect(url, proxy=None, open_timeout=60) as socket:
        with contextlib.suppress(websockets.ConnectionClosed, OSError):
            for _ in range(200_000):
                socket.pong()
        with pytest.raises(websockets.ConnectionClosed):
            socket.recv(60)
        assert socket.close_code in (1006, POLICY_VIOLATION)  # 4408: it was let go on till its time was up
    assert client.get("/healthz").status_code == 200
