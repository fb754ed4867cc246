"""What a request costs the generator: `python -m loadtest.generator_cost`.

CPU milliseconds of this process for a request and its answer, a recognition of one face, against a process
that answers everything alike. Taking turns:

- `plain`: geventhttpclient and `json`, without the Python client;
- `as sent`: what the load tests do: paths and answers of the client, carried by geventhttpclient;
- `client`: the client as programs use it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from geventhttpclient import HTTPClient

from loadtest.kinds import KINDS, Scene
from rollcall_client import Client

PICTURE = b"\xff\xd8" + bytes(60_000)
"""As long as a picture of one face; nobody decodes it."""
PERSON = {"person_id": "guest-1", "name": None, "face_id": "f" * 32, "cosine": 0.71, "false_match_rate": 1e-9}
POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
MEASURES = (
    "face_px", "sharpness", "brightness", "contrast", "yaw_degrees", "pitch_degrees", "roll_degrees",
    "cut_fraction",
)  # fmt: skip
ANSWER = {
    "request_id": "r" * 32, "event_id": "gala", "pack_id": "starter-int8-mirror", "threshold": 0.36,
    "width": 640, "height": 480,
    "faces": [{
        "outcome": "match", "person": {**PERSON, "band": "high"}, "best_cosine": 0.71,
        "candidates": [{**PERSON, "band": "high"}],
        "box": {"x": 101.5, "y": 99.25, "width": 120.5, "height": 160.25},
        "landmarks": dict.fromkeys(POINTS, (101.5, 99.25)), "detection_score": 0.93, "faults": [],
        "quality": dict.fromkeys(MEASURES, 0.75),
        "liveness": {"status": "not_checked", "score": None, "threshold": None},
    }],
    "timings": {"decode_ms": 3.1, "detect_ms": 10.2, "embed_ms": 6.3, "match_ms": 1.2, "total_ms": 22.5},
}  # fmt: skip


def serve(port: Any, body: bytes) -> None:
    """Answer every request with `body`; tell the port first."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                lines = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            size = next(
                int(line.split(b":")[1])
                for line in lines.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            await reader.readexactly(size)
            writer.write(head.encode() + body)

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**20)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def measure(ask: Callable[[], object], count: int) -> float:
    """CPU milliseconds of one of `count` calls."""
    began = time.process_time()
    for _ in range(count):
        ask()
    return (time.process_time() - began) / count * 1000


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.generator_cost", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--count", type=int, default=500, help="requests of a turn")
    parser.add_argument("--turns", type=int, default=9)
    options = parser.parse_args(arguments)
    here, there = multiprocessing.get_context("spawn").Pipe()
    body = json.dumps(ANSWER).encode()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, body), daemon=True)
    server.start()
    try:
        if not here.poll(30):
            raise RuntimeError("the other process did not begin")
        url = f"http://127.0.0.1:{here.recv()}"
        ways = make_ways(url)
        costs: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(options.turns + 1):
            for name, ask in ways.items():
                cost = measure(ask, options.count)
                if turn:  # the first is for what is made once
                    costs[name].append(cost)
    finally:
        server.terminate()
        server.join(10)
    for name, found in costs.items():
        ratios = [each / plain for each, plain in zip(found, costs["plain"], strict=True)]
        print(f"{name:8} {statistics.median(found):.3f} ms CPU, {statistics.median(ratios):.2f} x plain")
    return 0


def make_ways(url: str) -> dict[str, Callable[[], object]]:
    """Each way to ask, as a call that is answered rightly."""
    scene, rng = Scene("gala", "other", [("guest-1", PICTURE)], [], []), random.Random(1)
    carrier = HTTPClient.from_url(url, network_timeout=30)
    headers = {"Authorization": "Bearer t", "Content-Type": "application/octet-stream"}
    client = Client(url, token="t")

    def send(path: str, picture: bytes) -> bytes:
        answer = carrier.post(path, picture, headers)
        return bytes(answer.read())

    def ask_plainly() -> None:
        person, picture = rng.choice(scene.known)
        faces = json.loads(send(f"/v1/events/{scene.event}/recognise", picture))["faces"]
        assert person in {face["person"]["person_id"] for face in faces if face["person"]}

    def ask_as_sent() -> None:
        call = KINDS["one_face"](scene, rng)
        assert call.is_right(send(call.path, call.body))

    def ask_by_client() -> None:
        person, picture = rng.choice(scene.known)
        faces = client.recognition.recognise(scene.event, picture).faces
        assert person in {face.person.person_id for face in faces if face.person}

    return {"plain": ask_plainly, "as sent": ask_as_sent, "client": ask_by_client}


if __name__ == "__main__":
    sys.exit(main())
