"""A service that answers by a script, on a clock that stands still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

HEALTH = httpx.Response(200, json={"status": "ok"})
TOKENS = {"access_token": "new", "token_type": "Bearer", "expires_in_s": 900, "refresh_token": "r2"}
JOB = {
    "id": "j1", "event_id": "gala", "kind": "export", "state": "done", "created_by": "me",
    "created_at": "2026-05-01T18:00:00Z", "started_at": None, "finished_at": None, "total": 3, "done": 3,
    "rejected": 0, "error": None, "has_result": True,
}  # fmt: skip


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"code": code, "status": status, "title": "t", "detail": f"it is {code}", "cure": f"cure {code}"}
    return httpx.Response(status, json={**body, "context": {"n": 1}, "request_id": "r-1"}, headers=headers)


@dataclass
class Script:
    """Answers in turn, the last one again and again; time passes only by pauses and by `takes_s`."""

    answers: list[httpx.Response | Exception]
    takes_s: float = 0.0
    now_s: float = 100.0
    requests: list[httpx.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    answer_by: Callable[[httpx.Request], httpx.Response] | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.bodies.append(request.read())
        return self._answer(request)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.bodies.append(await request.aread())
        return self._answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.now_s += self.takes_s
        if self.answer_by is not None:
            return self.answer_by(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds

    async def pause_async(self, seconds: float) -> None:
        self.pause(seconds)


def health(client: Any) -> Any:
    return client.operations.health()
