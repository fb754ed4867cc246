"""What `rollcall watch` makes of frames and answers; tests/http/test_watch.py has it at a real service."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from rollcall_client import StreamFaces
from serving import cli
from serving.commands import frame_sources
from serving.commands.frame_sources import Camera, FrameSource, FrameWriter, PictureFolder, VideoFile
from serving.commands.sightings import Sightings
from serving.errors import CommandError

BOX = {"x": 0, "y": 0, "width": 1, "height": 1}
TIMINGS = {"decode_ms": 1, "detect_ms": 1, "embed_ms": 1, "match_ms": 1, "total_ms": 4}


def see(*faces: tuple[int, str | None] | str) -> StreamFaces:
    """A frame of faces: their track, and who they are; `refused` for one that is not looked up."""
    rows = []
    for face in faces:
        track, who = (9, None) if isinstance(face, str) else face
        person = None
        if who is not None:
            person = {"person_id": who, "name": who.upper(), "face_id": "f", "cosine": 0.7}
            person |= {"false_match_rate": 1e-6, "band": "high"}
        outcome = face if isinstance(face, str) else "unknown" if who is None else "match"
        rows.append(
            {"track": track, "looked_up": True, "box": BOX, "detection_score": 1, "outcome": outcome}
            | {"person": person, "best_cosine": 0.7 if who else None, "faults": []}
        )
    return StreamFaces.model_validate(
        {"frame": 1, "width": 8, "height": 8, "faces": rows, "dropped": 0, "refused": 0, "timings": TIMINGS}
    )


ADA, STRANGER = (1, "ada"), (2, None)


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        (
            [(0, see(ADA, STRANGER)), (0.5, see(ADA)), (1.6, see(ADA)), (3, see())],
            ["0 +ada", "0 +?", "1.6 -?", "3 -ada"],
        ),
        ([(0, see(ADA)), (0.9, see()), (1.0, see((5, "ada")))], ["0 +ada"]),
        ([(0, see((1, None))), (0.1, see(ADA))], ["0 +?", "0.1 -?", "0.1 +ada"]),
        ([(0, see("refused"))], []),
        ([(0, see(ADA, (2, "ada")))], ["0 +ada"]),
    ],
    ids=["come and go", "lost for a moment", "known at second sight", "refused", "twice in one picture"],
)
def test_who_appears_and_who_leaves(frames: list[tuple[float, StreamFaces]], told: list[str]) -> None:
    sightings = Sightings()
    changes = [change for at_s, seen in frames for change in sightings.note(at_s, seen, "s1")]
    signs = {"appeared": "+", "left": "-"}
    assert [f"{c.at_s:g} {signs[c.kind]}{c.sighting.person_id or '?'}" for c in changes] == told
    assert {each.kind for each in sightings.end(9)} <= {"left"}
    assert sightings.in_view == []


def test_the_tracks_of_another_stream_are_others() -> None:
    sightings = Sightings()
    sightings.note(0, see(STRANGER), "s1")
    assert [each.kind for each in sightings.note(0.1, see(STRANGER), "s2")] == ["appeared"]
    assert sightings.unknown == 2


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A second of ten frames, each of another grey."""
    path = tmp_path / "greys.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
    for number in range(10):
        writer.write(np.full((240, 320, 3), number * 20, np.uint8))
    writer.release()
    return path


class Clock:
    """Stands still but for sleeps and what the test lets pass."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def read(source: FrameSource, pass_time: Callable[[], object] = lambda: None) -> list[tuple[int, float, int]]:
    """Number, time and grey of each frame until the end."""
    found = []
    while (frame := source.take()) is not None:
        picture = cv2.imdecode(np.frombuffer(frame.data, np.uint8), cv2.IMREAD_COLOR)
        found.append((frame.number, round(frame.at_s, 3), round(float(picture.mean()) / 20)))
        pass_time()
    source.close()
    return found


@pytest.mark.parametrize(
    ("answer_takes_s", "is_fast", "numbers"),
    [(0, False, range(10)), (0.25, False, (0, 2, 5, 7)), (0.25, True, range(10))],
    ids=["in time", "too slow: the newest", "fast: every one"],
)
def test_a_file_runs_at_its_own_speed(
    video: Path, monkeypatch: pytest.MonkeyPatch, answer_takes_s: float, is_fast: bool, numbers: Any
) -> None:
    clock = Clock()
    monkeypatch.setattr(frame_sources, "time", clock)
    found = read(VideoFile(video, FrameWriter(640), is_fast=is_fast), partial(clock.sleep, answer_takes_s))
    assert found == [(each, each / 10, each) for each in numbers]
    if not is_fast and not answer_takes_s:
        assert clock.now_s == pytest.approx(51.0)  # when an eleventh would be due


def test_frames_are_as_small_as_they_must_be(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8)
    small = FrameWriter(320).write(noise)
    assert cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR).shape == (240, 320, 3)
    assert len(FrameWriter(640, 20_000).write(noise)) <= 20_000
    for name in ("b.png", "a.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(cv2.imencode(".jpg", noise)[1].tobytes())
    folder = PictureFolder(tmp_path, FrameWriter(640, 20_000), is_fast=True)
    frames = [folder.take() for _ in range(3)]
    assert [each and len(each.data) <= 20_000 for each in frames] == [True, True, None]


def test_a_camera_of_the_network_gives_its_newest_frame_until_it_goes() -> None:
    shown, gone = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for number in range(60):
                data = cv2.imencode(".jpg", np.full((120, 160, 3), number * 4, np.uint8))[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                if number == 30:
                    shown.wait(20)
            gone.set()

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        camera = Camera(f"http://user:secret@127.0.0.1:{server.server_port}/video", FrameWriter(640))
        assert "secret" not in camera.name
        first = camera.take()
        shown.set()
        gone.wait(20)
        numbers = [first.number]

        def watch_on() -> None:
            while True:
                numbers.append(camera.take().number)

        with pytest.raises(CommandError, match="shows nothing any more"):
            watch_on()
        assert numbers == sorted(set(numbers))
        camera.close()
    finally:
        shown.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--camera", "63"], 1, "camera 63 cannot be opened"),
        (["--camera", "http://127.0.0.1:9/video"], 1, "a player shows it"),
        (["--file", "notes.txt"], 1, "cannot be read as a video"),
        (["--frames", "empty"], 1, "holds no picture"),
        (["--file", "missing.avi"], 2, "missing.avi"),
        (["--file", "notes.txt", "--camera", "0"], 2, "exclude each other"),
        (["--fast"], 2, "--fast goes with"),
        (["--every-frame"], 2, "goes with --json"),
        (["--place", "door"], 2, "--check-in"),
    ],
)
def test_what_cannot_be_watched(
    words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLCALL_TOKEN", "t")
    Path("notes.txt").write_text("no video")
    Path("empty").mkdir()
    done = CliRunner().invoke(cli.app, ["watch", "gala", *words])
    told = f"{done.output} {done.exception and getattr(done.exception, 'detail', '')}"
    assert (done.exit_code, said in " ".join(told.replace("│", " ").split())) == (code, True), told
