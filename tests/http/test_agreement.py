"""The service answers exactly what the pack answers in process, on LFW pictures.

Every fifth person's by default; all 2,320 pictures with `make agreement`, which takes five minutes longer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import httpx
import numpy as np
import pytest

from loadtest.baseline import load_pipeline
from loadtest.service import Service
from serving.errors import RollcallError
from serving.settings import load_settings

CLIENTS = 16
EVERY_NTH_PERSON = 1 if os.environ.get("ROLLCALL_TEST_ALL_PICTURES") else 5
BOX_TOLERANCE_PX = 0.11
COSINE_TOLERANCE = 2e-4

ItemT = TypeVar("ItemT")


async def run_all(items: Sequence[ItemT], work: Callable[[ItemT], Awaitable[None]]) -> None:
    """`work` on every item, `CLIENTS` at a time."""
    queue = list(items)[::-1]

    async def run() -> None:
        while queue:
            await work(queue.pop())

    await asyncio.gather(*(run() for _ in range(CLIENTS)))


@pytest.mark.timeout(900)
def test_http_agrees_with_the_pack_in_process(
    service: Service, token: str, event: str, shared_dir: Path
) -> None:
    everyone = sorted((shared_dir / "lfw" / "images").rglob("*.jpg"))
    assert len(everyone) == 2320
    chosen = set(sorted({path.parent for path in everyone})[::EVERY_NTH_PERSON])
    files = [path for path in everyone if path.parent in chosen]
    pipeline = load_pipeline(load_settings())
    contents = {path: path.read_bytes() for path in files}
    expected = {path: pipeline.recognise([content])[0] for path, content in contents.items()}
    threshold = None
    answers: dict[Path, dict] = {}
    enrolled: dict[str, np.ndarray] = {}
    to_enrol = {path.parent.name: path for path in reversed(files)}  # the first picture of each person

    async def enrol(item: tuple[str, Path]) -> None:
        person, path = item
        answer = await client.post(
            f"{event}/people", params={"person_id": person, "on_duplicate": "allow"}, content=contents[path]
        )
        faces = expected[path]
        assert not isinstance(faces, RollcallError)
        if len(faces) == 1:
            assert answer.status_code == 201, f"{path.name}: {answer.text}"
            assert_box(answer.json()["faces"][0]["box"], faces[0][0].box)
            enrolled[person] = faces[0][1]
        else:
            code = "several_faces" if faces else "no_face"
            assert (answer.status_code, answer.json()["code"]) == (422, code), path.name

    async def recognise(path: Path) -> None:
        answer = await client.post(f"{event}/recognise", content=contents[path])
        assert answer.status_code == 200, f"{path.name}: {answer.text}"
        answers[path] = answer.json()

    async def run() -> None:
        nonlocal client
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=120) as client:
            await run_all(sorted(to_enrol.items()), enrol)
            await run_all(files, recognise)

    client: httpx.AsyncClient
    asyncio.run(run())

    people = sorted(enrolled)
    gallery = np.stack([enrolled[person] for person in people])
    assert len(people) > 900 / EVERY_NTH_PERSON
    for path in files:
        faces, answered = expected[path], answers[path]["faces"]
        threshold = answers[path]["threshold"]
        assert len(answered) == len(faces), path.name
        for (face, vector), got in zip(faces, answered, strict=True):
            assert_box(got["box"], face.box)
            assert abs(got["detection_score"] - face.detection_score) < 1e-4
            for point, (x, y) in zip(got["landmarks"].values(), face.landmarks, strict=True):
                assert abs(point[0] - x) < BOX_TOLERANCE_PX
                assert abs(point[1] - y) < BOX_TOLERANCE_PX
            cosines = gallery @ vector
            best = int(np.argmax(cosines))
            candidate = got["candidates"][0]
            assert abs(candidate["cosine"] - cosines[best]) < COSINE_TOLERANCE, path.name
            if np.partition(cosines, -2)[-2] < cosines[best] - COSINE_TOLERANCE:
                assert candidate["person_id"] == people[best], path.name
            if abs(cosines[best] - threshold) > COSINE_TOLERANCE:
                assert got["outcome"] == ("match" if cosines[best] >= threshold else "unknown"), path.name


def assert_box(got: dict[str, float], box: tuple[float, float, float, float]) -> None:
    for name, value in zip(("x", "y", "width", "height"), box, strict=True):
        assert abs(got[name] - value) < BOX_TOLERANCE_PX
