"""One stream from its first message to its end: who reads, who works, who watches the clock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from datetime import datetime, timezone
from typing import Any, TypeVar

from fastapi import WebSocket
from pydantic import BaseModel
from starlette.websockets import WebSocketDisconnect

from serving.api.envelope import describe
from serving.api.services import Services
from serving.api.stream.caller import StreamCaller
from serving.api.stream.limits import FramePacer
from serving.api.stream.mailbox import Frame, Mailbox
from serving.api.stream.messages import Faces, Ready, Renewal, Start, describe_problem, read_message
from serving.api.stream.recogniser import FrameRecogniser
from serving.api.stream.report import StreamReport
from serving.errors import (
    ALL_ERRORS,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    Overloaded,
    RateLimited,
    RollcallError,
    StageUnavailable,
    StreamIdle,
    StreamOver,
    TokenExpired,
)
from serving.telemetry.recording import FrameOutcome

logger = logging.getLogger("ray.serve")
T = TypeVar("T")

START_TIMEOUT_S = 10.0
"""In which the first message must come: a browser sends it at once."""
SEND_TIMEOUT_S = 10.0
"""Who takes no answer for so long is not there any more."""
BUSY = (Overloaded, StageUnavailable, DeadlineExceeded, RateLimited)
"""A frame may meet with these and the next one not."""
UNCONFIRMED = (Overloaded, StageUnavailable, DeadlineExceeded)
"""Of a look at the database: it says neither yes nor no."""
LEAST_WAIT_S = 0.05
LOOK_TIMEOUT_S = 10.0
"""Of one look at what the stream rests on: the token's end must not be missed meanwhile."""
UNCONFIRMED_S = 60.0
"""So much longer than `recheck_s` a stream goes on unconfirmed: a restart of the database ends none, and none
shows names for hours to somebody who may not see them any more."""
RENEWAL_PERIOD_S = 1.0
"""Newer tokens are looked at so often; tokens are good for minutes."""
CLOSE_BASE = 4000
"""A stream that ends with an error closes with this and the error's HTTP status."""


class StreamSession:
    """Serves one accepted WebSocket."""

    def __init__(
        self, websocket: WebSocket, services: Services, caller: StreamCaller, report: StreamReport
    ) -> None:
        self._websocket = websocket
        self._services = services
        self._settings = services.settings.stream
        self._caller = caller
        self._report = report
        self._mailbox = Mailbox()
        self._count = 0
        self._began_s = self._heard_s = time.monotonic()
        self._pacer = FramePacer(self._settings.frames_per_s, self._began_s)
        self._recogniser: FrameRecogniser | None = None
        self._confirmed_s = self._began_s
        self._token: str | None = None
        self._offered = asyncio.Event()
        self._renewed = asyncio.Event()

    async def read_start(self) -> Start:
        """The first message.

        Raises:
            InvalidRequest: it is something else.
            StreamIdle: none came in time.
            WebSocketDisconnect: the client has gone.
        """
        try:
            message = await asyncio.wait_for(self._receive(), START_TIMEOUT_S)
        except asyncio.TimeoutError:
            raise StreamIdle("No first message came.", idle_timeout_s=START_TIMEOUT_S) from None
        if not isinstance(message, str):
            raise InvalidRequest("the first message is the JSON text that starts the stream, not a frame")
        start = read_message(message)
        if not isinstance(start, Start):
            raise InvalidRequest("the first message is of type start")
        return start

    async def run(self, options: Start) -> None:
        """Answer frames until the client goes; raises RollcallError when the stream ends otherwise."""
        event = self._caller.event
        assert event is not None
        self._recogniser = recogniser = FrameRecogniser(self._websocket, self._services, options, event)
        self._report.tally, self._report.checks_in = recogniser.tally, options.check_in
        identity = self._caller.identity
        expires = None if identity is None else identity.expires_at
        await self._send(
            Ready(
                stream_id=self._report.stream_id,
                event_id=event.id,
                pack_id=recogniser.judge.line.pack.id,
                threshold=recogniser.judge.threshold,
                frames_per_s=self._settings.frames_per_s,
                max_frame_bytes=self._settings.max_frame_bytes,
                idle_timeout_s=self._settings.idle_timeout_s,
                max_duration_s=self._settings.max_duration_s,
                token_expires_at=None if expires is None else datetime.fromtimestamp(expires, timezone.utc),
            )
        )
        self._heard_s = time.monotonic()
        await _run_until_one_ends(
            self._read(), self._work(recogniser), self._watch(recogniser), self._renew()
        )

    async def read_during(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do `work`; frames that come meanwhile wait as they do later, the newest alone.

        Raises:
            RollcallError: what either comes to.
            WebSocketDisconnect: the client has gone.
        """
        await _run_until_one_ends(self._read(), work)

    async def end(self, error: RollcallError) -> None:
        """Say why the stream ends, and close it."""
        self._report.error = error
        message = describe_problem(self._describe(error), "end", None)
        draining = asyncio.ensure_future(self._drain())
        try:
            await asyncio.wait_for(self._websocket.send_json(message), SEND_TIMEOUT_S)
            code = CLOSE_BASE + error.status
            await asyncio.wait_for(self._websocket.close(code, error.code), SEND_TIMEOUT_S)
        except (asyncio.TimeoutError, WebSocketDisconnect, RuntimeError):
            return  # nobody is left to tell
        finally:
            draining.cancel()

    async def _drain(self) -> None:
        """Take what still comes and drop it: who takes no answer could fill the memory meanwhile."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await self._receive()

    async def _receive(self) -> str | bytes:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        data = message.get("bytes")
        if data is not None:
            return bytes(data)
        return str(message.get("text") or "")

    async def _read(self) -> None:
        """Take what comes, at once: Serve keeps what is not taken in memory, without a bound."""
        while True:
            message = await self._receive()
            now = time.monotonic()
            if not self._pacer.tolerates(now):
                raise RateLimited("The stream sends many times the frames it may.", retry_after_s=5)
            if isinstance(message, str):
                renewal = read_message(message)
                if not isinstance(renewal, Renewal):
                    raise InvalidRequest("the stream has been started already")
                self._token = renewal.token.get_secret_value()
                self._offered.set()
                continue
            self._heard_s = now
            self._count += 1
            kept = message if len(message) <= self._settings.max_frame_bytes else b""
            passed_over = self._mailbox.put(Frame(self._count, kept, now, len(message)))
            if passed_over is not None:
                self._report.count(passed_over)

    async def _work(self, recogniser: FrameRecogniser) -> None:
        while True:
            await self._mailbox.wait()
            wait_s = self._pacer.begin(time.monotonic())
            if wait_s > 0:
                self._mailbox.is_pacing = True
                await asyncio.sleep(wait_s)
                self._mailbox.is_pacing = False
            frame, passed = self._mailbox.take()
            outcome: FrameOutcome
            answer: BaseModel | dict[str, Any]
            try:
                seen = await recogniser.recognise(frame)
            except RollcallError as error:
                if error.status >= 500 and not isinstance(error, BUSY):
                    raise
                outcome = "busy" if isinstance(error, BUSY) else "failed"
                kind = "busy" if outcome == "busy" else "problem"
                told = describe_problem(self._describe(error), kind, frame.number)
                answer = {**told, "dropped": passed.dropped, "refused": passed.refused}
            else:
                outcome = "recognised" if seen.looked_up else "tracked"
                timings, _ = seen.clock.finish()
                answer = Faces(
                    frame=frame.number,
                    width=seen.found.width,
                    height=seen.found.height,
                    faces=seen.faces,
                    dropped=passed.dropped,
                    refused=passed.refused,
                    timings=timings,
                )
            self._report.count(outcome, time.monotonic() - frame.at_s)
            await self._send(answer)

    async def _renew(self) -> None:
        """Take over newer tokens, the newest alone; one that cannot be looked up now is tried again."""
        while True:
            await self._offered.wait()
            self._offered.clear()
            token = self._token
            assert token is not None
            try:
                await self._caller.renew(token)
            except UNCONFIRMED:
                self._offered.set()
            else:
                self._renewed.set()
            await asyncio.sleep(RENEWAL_PERIOD_S)

    async def _watch(self, recogniser: FrameRecogniser) -> None:
        """End the stream when its time is up; see now and then whether what it rests on still holds."""
        settings = self._settings
        look_at_s = time.monotonic() + settings.recheck_s
        while True:
            self._renewed.clear()
            now = time.monotonic()
            idle_s = settings.idle_timeout_s - (now - self._heard_s)
            left_s = settings.max_duration_s - (now - self._began_s)
            token_s = self._caller.remaining_s()
            if idle_s <= 0:
                raise StreamIdle(idle_timeout_s=settings.idle_timeout_s)
            if left_s <= 0:
                raise StreamOver(max_duration_s=settings.max_duration_s)
            if token_s is not None and token_s <= 0:
                raise TokenExpired
            if now >= look_at_s:
                await self._look_again(recogniser)
                look_at_s = time.monotonic() + settings.recheck_s
            waits = [idle_s, left_s, look_at_s - time.monotonic(), *([] if token_s is None else [token_s])]
            try:
                await asyncio.wait_for(self._renewed.wait(), max(LEAST_WAIT_S, min(waits)))
            except asyncio.TimeoutError:
                continue
            look_at_s = 0.0  # the newer token may allow less

    async def _look_again(self, recogniser: FrameRecogniser) -> None:
        """A database that does not answer for a moment ends no stream: the next look is soon."""
        try:
            event = await self._within_time(self._caller.look_again())
            await self._within_time(recogniser.follow(event))
        except UNCONFIRMED as error:
            if time.monotonic() - self._confirmed_s > self._settings.recheck_s + UNCONFIRMED_S:
                raise
            logger.warning(
                "stream %r: the caller could not be looked up: %s", self._report.stream_id, error.code
            )
        else:
            self._confirmed_s = time.monotonic()

    async def _within_time(self, look: Coroutine[Any, Any, T]) -> T:
        try:
            return await asyncio.wait_for(look, LOOK_TIMEOUT_S)
        except asyncio.TimeoutError:
            raise DeadlineExceeded from None

    async def _send(self, message: BaseModel | dict[str, Any]) -> None:
        if isinstance(message, BaseModel):
            sending: Coroutine[Any, Any, None] = self._websocket.send_text(message.model_dump_json())
        else:
            sending = self._websocket.send_json(message)
        try:
            await asyncio.wait_for(sending, SEND_TIMEOUT_S)
        except (asyncio.TimeoutError, RuntimeError):
            raise WebSocketDisconnect(1006) from None  # who takes nothing, or was given up by the server

    def _describe(self, error: RollcallError) -> dict[str, Any]:
        shown = conceal(error, self._report.stream_id)
        problem = describe(shown, self._report.stream_id)
        retry_after_s = shown.context.get("retry_after_s", shown.retry_after_s)
        return {**problem, "retry_after_s": retry_after_s}


def conceal(error: RollcallError, stream_id: str) -> RollcallError:
    """The error as a client may see it: what a store or stage said of itself is for the log alone."""
    if type(error) in ALL_ERRORS and not isinstance(error, (InternalError, StageUnavailable)):
        return error
    logger.error("stream %r: %s: %s", stream_id, error.code, error.detail)
    return type(error)() if type(error) in ALL_ERRORS else InternalError()


async def _run_until_one_ends(*parts: Coroutine[Any, Any, Any]) -> None:
    """Run all; when one raises, or the caller is cancelled, end the others and raise that."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:  # in their order: a client that has gone needs no other reason
            if task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
