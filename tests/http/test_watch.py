"""`rollcall watch` on a video file, against the real service: the guest is named, the stranger is not."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from loadtest.service import Service
from tests.http.test_cli import NO, Shell, shell  # noqa: F401  # a fixture

FRAMES_PER_S = 10
SHOWN, EMPTY = 12, 15


@pytest.fixture(scope="module")
def video(samples: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest and a stranger stand side by side, and then nobody is there."""
    path = tmp_path_factory.mktemp("video") / "door.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), FRAMES_PER_S, (720, 360))
    for number in range(SHOWN + EMPTY):
        scene = np.full((360, 720, 3), (112, 104, 96), np.uint8)
        for left, name in ((30, "guest"), (390, "portrait")) if number < SHOWN else ():
            person = cv2.imread(str(samples[name]))
            person = cv2.resize(person, (round(person.shape[1] * 300 / person.shape[0]), 300))[:, :300]
            at = left + number % 3
            scene[30:330, at : at + person.shape[1]] = person
        writer.write(scene)
    writer.release()
    return path


@pytest.fixture
def gala(shell: Shell, samples: dict[str, Path], tmp_path: Path) -> str:  # noqa: F811
    shell.run("events", "create", "watched", "--quality", "off")
    (tmp_path / "guests" / "guest").mkdir(parents=True)
    shutil.copy(samples["guest"], tmp_path / "guests" / "guest" / "1.jpg")
    shell.run("enroll", tmp_path / "guests", "--event", "watched")
    yield "watched"
    shell.run("events", "delete", "watched", "--yes")


def test_the_guest_of_a_video_is_named_and_the_stranger_is_not(
    shell: Shell,  # noqa: F811
    service: Service,
    client: httpx.Client,
    token: str,
    gala: str,
    video: Path,
    samples: dict[str, Path],
    tmp_path: Path,
) -> None:
    said = shell.run("watch", gala, "--file", video, "--fast", "--json", "--check-in", "--place", "door")
    lines = [json.loads(line) for line in said.splitlines()]
    changes = {(each["type"], each["person_id"]): each for each in lines[:-1]}
    assert set(changes) == {(kind, who) for kind in ("appeared", "left") for who in ("guest", None)}
    assert len(lines) == 5
    guest = changes["appeared", "guest"]
    assert (guest["at_s"], guest["outcome"], guest["arrived"]) == (0, "match", "now")
    assert guest["cosine"] > 0.4
    assert changes["left", "guest"]["in_view_s"] == pytest.approx((SHOWN - 1) / FRAMES_PER_S)
    assert changes["appeared", None]["outcome"] == "unknown"
    ended = {name: lines[-1][name] for name in ("type", "frames", "people", "unknown")}
    people = [{"person_id": "guest", "name": None}]
    assert ended == {"type": "ended", "frames": SHOWN + EMPTY, "people": people, "unknown": 1}
    [arrival] = client.get(f"/v1/events/{gala}/check-ins").json()["check_ins"]
    assert (arrival["person_id"], arrival["place"]) == ("guest", "door")

    strangers = tmp_path / "strangers"
    strangers.mkdir()
    shutil.copy(samples["portrait"], strangers / "1.png")
    account = {"name": f"door-{time.time_ns()}", "password": "a long enough passphrase"}
    made = client.post("/v1/accounts", json={**account, "role": "member", "events": [gala]})
    assert made.status_code == 201, made.text
    words = ("watch", gala, "--frames", strangers, "--json", "--every-frame", "--sign-in", account["name"])
    frames = shell.run(*words, code=NO, ROLLCALL_PASSWORD=account["password"])
    assert account["password"] not in frames + shell.last.err
    [frame] = [each for each in map(json.loads, frames.splitlines()) if each["type"] == "frame"]
    assert [face["outcome"] for face in frame["faces"]] == ["unknown"]

    assert "sign_in_failed" in shell.run(*words, code=1, ROLLCALL_PASSWORD="a wrong passphrase")
    assert "unknown_event" in shell.run("watch", "no-such-event", "--file", video, code=1)

    # At its own speed, and ended by Ctrl-C.
    command = [sys.executable, "-m", "serving.cli", "watch", gala, "--file", str(video)]
    environment = {**service.environment, "ROLLCALL_URL": service.url, "ROLLCALL_TOKEN": token}
    with subprocess.Popen(
        command, env={**environment, "PYTHONUNBUFFERED": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as watching:  # fmt: skip
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert "guest" in watching.stdout.readline() + watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130
        told = watching.stderr.read()
    assert "Traceback" not in told
    assert "frames in" in told
