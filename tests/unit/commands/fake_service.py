"""A service as `rollcall people` sees it, and what is sent to it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import httpx
from click.testing import Result
from typer.testing import CliRunner

from serving import cli
from tests.unit.client.schema_samples import make_sample

JOB = {
    "id": "j1", "event_id": "gala", "kind": "import_pictures", "state": "done", "created_by": "me",
    "created_at": "2026-05-01T18:00:00Z", "started_at": None, "finished_at": None,
    "total": 3, "done": 3, "rejected": 0, "error": None, "has_result": False,
}  # fmt: skip
ENROLMENT = {
    "request_id": "r", "event_id": "gala", "faces": [], "person": {
        "id": "ada", "name": None, "metadata": {}, "consent_reference": None, "face_ids": [],
        "created_at": "2026-05-01T18:00:00Z", "updated_at": "2026-05-01T18:00:00Z",
    },
}  # fmt: skip
EXPORTED = b'{"person_id": "ada"}\n'


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"code": code, "detail": f"it is {code}", "cure": f"cure {code}"}
    return httpx.Response(status, json=body, headers=headers)


def make_event(created_at: str) -> httpx.Response:
    document = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text())
    components = document["components"]["schemas"]
    made = make_sample(components["EventView"], components)
    return httpx.Response(200, json={**made, "id": "gala", "created_at": created_at})


@dataclass
class FakeService:
    """Answers as the service does; `trouble` is answered first, one at each request."""

    trouble: list[httpx.Response | Exception] = field(default_factory=list)
    pictures: list[dict[str, str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    uploads: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=lambda: [JOB])
    rejections: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    deleted: int = 0
    event: httpx.Response = field(default_factory=lambda: make_event("2026-05-01T18:00:00Z"))
    on_job: Callable[[], object] = lambda: None
    on_picture: Callable[[dict[str, str]], httpx.Response | None] = lambda _: None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        body = await request.aread()
        assert request.headers["authorization"] == "Bearer secret"
        if request.method == "GET" and request.url.path == "/v1/events/gala":
            return self.event
        if self.trouble:
            trouble = self.trouble.pop(0)
            if isinstance(trouble, Exception):
                raise trouble
            return trouble
        path = request.url.path.removeprefix("/v1/events/gala")
        if path == "/people":
            return self._enrol(request, body)
        if path == "/imports":
            self.uploads.append((request.headers["content-type"], body, dict(request.url.params)))
            return httpx.Response(202, json=JOB)
        if path == "/exports":
            return httpx.Response(202, json=JOB)
        if path == "/jobs/j1" and request.method == "DELETE":
            self.deleted += 1
            return httpx.Response(204)
        if path == "/jobs/j1":
            self.on_job()
            return httpx.Response(200, json=self.jobs.pop(0) if len(self.jobs) > 1 else self.jobs[0])
        if path == "/jobs/j1/rejections":
            start = int(request.url.params.get("cursor", 0))
            page = self.rejections[start : start + 2]
            cursor = str(start + 2) if start + 2 < len(self.rejections) else None
            return httpx.Response(200, json={"rejections": page, "next_cursor": cursor})
        if path == "/jobs/j1/result":
            return httpx.Response(200, content=EXPORTED)
        raise AssertionError(path)

    def _enrol(self, request: httpx.Request, body: bytes) -> httpx.Response:
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        fields = {}
        for part in BytesParser().parsebytes(head + body).get_payload():
            name = re.search('name="([^"]+)"', part["Content-Disposition"])
            assert name is not None
            fields[name[1]] = part.get_payload(decode=True).decode()
        refusal = self.on_picture(fields)
        if refusal is not None:
            return refusal
        self.pictures.append(fields)
        self.keys.append(request.headers["idempotency-key"])
        return httpx.Response(201, json=ENROLMENT)


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.app, ["people", *map(str, words)])


def import_folder(folder: Path, *words: object) -> Result:
    return run("import", folder, "--event", "gala", *words)


def notes(folder: Path) -> list[Path]:
    return list(folder.parent.glob(".*.rollcall"))


def good_only(folder: Path) -> None:
    (folder / "not an id" / "1.jpg").unlink()
    (folder / "people.ndjson").unlink()
