"""The hostile corpus through the real service: each file has its outcome, and nothing dies or grows of it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from loadtest.service import Service
from tests.http.test_refusals import code_of
from tests.unit.hostile.corpus import LARGE, REFUSALS, Expected, make_bombs, read_expectations

AT_ONCE = 8
MAX_GROWTH_BYTES = 700 * 2**20
"""Of all processes together, at the worst moment: two pictures of 20 million pixels in two detectors, their
coefficients where they are progressive, and what the allocator keeps of it."""
MAX_SENT_BYTES = 30_000_000
PERSON = "ref"


class Watch:
    """The processes of a service: which there are, and the most memory they had together."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.replicas = self._find_replicas()
        self.before = self.most = self._measure()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(10)

    @property
    def grown(self) -> int:
        """Bytes."""
        return self.most - self.before

    def check_all_alive(self) -> None:
        """The replicas are the processes that they were."""
        assert self._find_replicas() == self.replicas

    def _find_replicas(self) -> set[int]:
        found = set()
        for process in self._service.processes():
            try:
                if any(part.startswith("ray::ServeReplica") for part in process.cmdline()):
                    found.add(process.pid)
            except psutil.NoSuchProcess:
                continue
        assert found
        return found

    def _measure(self) -> int:
        total = 0
        for pid in self.replicas:
            try:
                total += psutil.Process(pid).memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    def _run(self) -> None:
        while not self._stopped.wait(0.1):
            self.most = max(self.most, self._measure())


async def _send_all(
    service: Service, token: str, url: str, files: dict[str, bytes]
) -> dict[str, httpx.Response]:
    gate = asyncio.Semaphore(AT_ONCE)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=120) as client:

        async def send(data: bytes) -> httpx.Response:
            async with gate:
                return await client.post(url, content=data)

        answers = await asyncio.gather(*(send(data) for data in files.values()))
    return dict(zip(files, answers, strict=True))


def _judge(answer: httpx.Response, expected: Expected) -> str | None:
    """What is wrong; None if nothing."""
    if answer.status_code >= 500:
        return f"{answer.status_code} {answer.text[:300]}"
    if answer.status_code != 200:
        code = code_of(answer)
        allowed = expected.codes | LARGE if not expected.faces else LARGE
        return None if code in allowed else f"{code}, where {sorted(expected.codes)} were expected"
    faces = answer.json()["faces"]
    if not expected.may_pass:
        return f"taken, with {len(faces)} faces"
    if expected.faces is not None and len(faces) != expected.faces:
        return f"{len(faces)} faces"
    return None


@pytest.mark.timeout(600)
def test_every_hostile_file_has_its_outcome(
    service: Service, client: httpx.Client, token: str, event: str, shared_dir: Path
) -> None:
    corpus = shared_dir / "hostile"
    expectations = read_expectations(corpus)
    reference = (corpus / "synth" / "face_ref.jpg").read_bytes()
    enrolled = client.post(f"{event}/people", params={"person_id": PERSON}, files={"picture": reference})
    assert enrolled.status_code == 201, enrolled.text
    files = {str(path): path.read_bytes() for path in expectations if path.stat().st_size <= MAX_SENT_BYTES}
    assert len(files) > 600
    bombs = {name: data for name, data in make_bombs().items() if len(data) < MAX_SENT_BYTES}
    with Watch(service) as watch:
        answers = asyncio.run(_send_all(service, token, f"{event}/recognise", files))
        wrong = {
            Path(path).name: problem
            for path, answer in answers.items()
            if (problem := _judge(answer, expectations[Path(path)])) is not None
        }
        for name, answer in asyncio.run(_send_all(service, token, f"{event}/recognise", bombs)).items():
            if answer.status_code != 200 and (answer.status_code >= 500 or code_of(answer) not in REFUSALS):
                wrong[name] = answer.text[:300]
        watch.check_all_alive()
    assert wrong == {}
    assert watch.grown < MAX_GROWTH_BYTES
    for path, answer in answers.items():
        if expectations[Path(path)].faces == 1 and answer.status_code == 200:
            (face,) = answer.json()["faces"]
            assert (face["outcome"], face["person"]["person_id"]) == ("match", PERSON), path
    assert client.get("/readyz").status_code == 200
