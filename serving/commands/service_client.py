"""Calls to a running service over HTTP, patient with what passes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any

import httpx

from serving.errors import CommandError

MAX_TRIES = 12
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 330.0
"""Above the longest that a service may take for a request."""
_PASSING = frozenset({429, 502, 503, 504})
_FATAL_CODES = frozenset({"unknown_event", "event_closed", "pack_mismatch", "forbidden", "too_many_jobs"})

Body = bytes | AsyncIterator[bytes]


class Refusal(Exception):
    """The service refused this one request, for what it holds; others may do better."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class ServiceClient:
    """A service, as an account or API key sees it. Use it as an async context manager.

    Args:
        url: of the service, without a path.
        token: an access token or API key.
        transport: for tests.
    """

    def __init__(self, url: str, token: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=64),
            transport=transport,
        )

    async def __aenter__(self) -> ServiceClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def call(
        self, method: str, path: str, make_body: Callable[[], Body] | None = None, **options: Any
    ) -> httpx.Response:
        """The answer to a request, which is repeated while the service is busy or away.

        Args:
            make_body: called for each try, since a stream can be sent once only.
            options: of `httpx.AsyncClient.request`.

        Raises:
            Refusal: a 4xx that is about this request alone.
            CommandError: no request can succeed, or the service stays away.
        """
        pause_s = FIRST_PAUSE_S
        trouble = ""
        for _ in range(MAX_TRIES):
            try:
                body = None if make_body is None else make_body()
                answer = await self._client.request(method, path, content=body, **options)
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__} {error}".strip()
                wait_s = pause_s
            else:
                problem = _read_problem(answer)
                if answer.is_success:
                    return answer
                if answer.status_code not in _PASSING and problem.get("code") != "request_in_progress":
                    raise _explain(answer.status_code, problem)
                if problem.get("code") in _FATAL_CODES:
                    raise _explain(answer.status_code, problem)
                trouble = str(problem.get("code") or answer.status_code)
                wait_s = max(pause_s, _retry_after_s(answer))
            await asyncio.sleep(wait_s * random.uniform(1.0, 1.25))  # noqa: S311
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        raise CommandError(f"the service at {self._client.base_url} does not answer as it should: {trouble}")

    async def stream(self, path: str) -> AsyncIterator[bytes]:
        """The body of an answer to GET, piece by piece; raises as `call`, and when it is cut off."""
        try:
            async with self._client.stream("GET", path) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise _explain(answer.status_code, _read_problem(answer))
                async for piece in answer.aiter_bytes():
                    yield piece
        except httpx.TransportError as error:
            raise CommandError(f"the answer was cut off: {type(error).__name__}") from None


def _read_problem(answer: httpx.Response) -> Mapping[str, Any]:
    if answer.is_success:
        return {}
    try:
        problem = answer.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _explain(status: int, problem: Mapping[str, Any]) -> Exception:
    code, detail = str(problem.get("code") or status), str(problem.get("detail") or "")
    if status == 401:
        return CommandError(f"{detail or code}; get a token with: rollcall token, and repeat the command")
    if code in _FATAL_CODES or "code" not in problem or status >= 500:
        cure = problem.get("cure")
        return CommandError(f"the service says {code}: {detail}" + (f" {cure}" if cure else ""))
    return Refusal(code, detail)


def _retry_after_s(answer: httpx.Response) -> float:
    text = answer.headers.get("Retry-After", "")
    return min(float(text), LONGEST_PAUSE_S) if text.isdigit() else 0.0
