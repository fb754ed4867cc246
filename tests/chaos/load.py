"""A steady load from a thread of its own, open loop: requests are sent when they are due, answered or not."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
import uuid
from types import TracebackType

import aiohttp

from loadtest.kinds import Scene
from tests.chaos.ledger import Answered, Ledger

TURNS = (
    *("recognise", "verify", "recognise", "enrol", "recognise", "erase"),
    *("recognise", "verify", "recognise", "enrol", "recognise", "erase"),
)
"""Half of all requests recognise; each other kind has a sixth, and every kind a turn in six."""

TIMEOUT_S = 30.0
"""Above the service's own deadline, so that what hangs is told from what is answered late."""


class BackgroundLoad:
    """Sends requests while a `with` block runs, and waits for their answers when it ends. It never retries.

    Args:
        url: of the service.
        token: of an administrator.
        scene: its event is recognised and verified at, its enrol_event enrolled and erased at.
        ledger: is told what was acknowledged.
        rate_per_s: requests a second.
    """

    def __init__(self, url: str, token: str, scene: Scene, ledger: Ledger, rate_per_s: float = 6.0) -> None:
        self._url = url
        self._token = token
        self._scene = scene
        self._ledger = ledger
        self._rate_per_s = rate_per_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), name="chaos-load", daemon=True
        )

    def __enter__(self) -> BackgroundLoad:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Send nothing more, and wait for what is under way."""
        self._stopping.set()
        self._thread.join(TIMEOUT_S + 10)
        assert not self._thread.is_alive(), "the load did not end"

    async def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0)
        under_way: set[asyncio.Task[None]] = set()
        async with aiohttp.ClientSession(
            self._url, headers=headers, timeout=timeout, connector=connector
        ) as session:
            began_s = time.monotonic()
            for turn in itertools.count():
                await asyncio.sleep(max(0.0, began_s + turn / self._rate_per_s - time.monotonic()))
                if self._stopping.is_set():
                    break
                task = asyncio.create_task(self._send(session, TURNS[turn % len(TURNS)], turn))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _send(self, session: aiohttp.ClientSession, kind: str, turn: int) -> None:
        scene, known = self._scene, self._scene.known
        guest, picture = known[turn % len(known)]
        person = str(uuid.uuid4())
        if kind == "recognise":
            method, path, body = "POST", f"/v1/events/{scene.event}/recognise", picture
        elif kind == "verify":
            method, path, body = "POST", f"/v1/events/{scene.event}/people/{guest}/verify", picture
        elif kind == "enrol":
            path = f"/v1/events/{scene.enrol_event}/people?person_id={person}&on_duplicate=allow"
            method, body = "POST", picture
        else:
            taken = self._ledger.take_for_erasure()
            if taken is None:
                return  # enrolments have failed for longer than the supply lasts
            person, method, path, body = (
                taken,
                "DELETE",
                f"/v1/events/{scene.enrol_event}/people/{taken}",
                b"",
            )
        sent_s = time.monotonic()
        code, answer = await _ask(session, method, path, body)
        if code == "ok" and not _is_right(kind, guest, answer):
            code = "wrong_answer"
        if code == "ok" and kind == "enrol":
            self._ledger.note_enrolled(person, turn % len(known))
        if kind == "erase" and code == "ok":
            self._ledger.note_erased(person)
        if kind == "erase" and code == "unknown_person":
            self._ledger.note_vanished(person)
        self._ledger.note(Answered(kind, sent_s, time.monotonic(), code))


async def _ask(session: aiohttp.ClientSession, method: str, path: str, body: bytes) -> tuple[str, bytes]:
    """The code, `ok` for a success, and the body."""
    try:
        async with session.request(method, path, data=body or None) as answer:
            content = await answer.read()
            return ("ok" if answer.ok else _read_code(answer.status, content)), content
    except asyncio.TimeoutError:
        return "client timeout", b""
    except aiohttp.ClientConnectorError:
        return "connection refused", b""
    except aiohttp.ClientError:
        return "connection cut", b""


def _read_code(status: int, content: bytes) -> str:
    try:
        return str(json.loads(content)["code"])
    except (ValueError, LookupError, TypeError):
        return f"HTTP {status}"


def _is_right(kind: str, guest: str, content: bytes) -> bool:
    """Whether a success says what is true: a known person is found, and found to be themselves."""
    if kind == "recognise":
        people = [face["person"] for face in json.loads(content)["faces"]]
        return any(person and person["person_id"] == guest for person in people)
    return kind != "verify" or bool(json.loads(content)["verified"])
