"""The WebSocket protocol beneath a stream, with bounds on what tiny frames and strangers may cost.

uvicorn takes a WebSocket apart on the event loop that serves everybody, at some ten microseconds a frame,
before any of our code hears of it. A frame may be six bytes long: a stranger who sends a megabyte of empty
fragments or pings a second would have all of the loop's time, and each fragment is an object in memory.
A message is held whole before we hear of it, too, up to 16 MiB of it: the first one, which says who it is,
must be short.
"""

from __future__ import annotations

import logging
from typing import Any

from uvicorn.protocols.websockets import auto
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

logger = logging.getLogger("ray.serve")

SLICE_BYTES = 16 * 1024
"""Taken apart at once; beyond the bound no more than a slice of frames is looked at, some 20 ms."""
SMALL_FRAME_BYTES = 1024
"""Pings, messages that are text, the ends of pictures: what honest clients send in frames below this."""
SMALL_FRAMES_PER_S = 250.0
SMALL_FRAMES_BURST = 1000.0
"""Twice the most frames a second that a stream may be set to have, and four seconds of them."""
FIRST_MESSAGE_BYTES = 64 * 1024
"""What may come until it is whole, give or take a slice; what starts a stream has a few kilobytes."""
POLICY_VIOLATION, TOO_BIG = 1008, 1009


class FrugalWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's own protocol; ends one with too many small frames (1008) or too long a start (1009)."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._small_left = SMALL_FRAMES_BURST
        self._filled_s = self.loop.time()
        self._is_over = False
        self._first_left: int | None = FIRST_MESSAGE_BYTES

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            if self._is_over:
                return
            some = data[start : start + SLICE_BYTES]
            super().data_received(some)
            if self._first_left is not None:
                self._first_left -= len(some)
                if self._first_left < 0:
                    self._end(TOO_BIG, "the first message is too long")

    def send_receive_event_to_app(self) -> None:
        self._first_left = None
        super().send_receive_event_to_app()

    def handle_cont(self, event: Any) -> None:
        if self._tolerates(event.data):
            super().handle_cont(event)

    def handle_text(self, event: Any) -> None:
        if self._tolerates(event.data):
            super().handle_text(event)

    def handle_bytes(self, event: Any) -> None:
        if self._tolerates(event.data):
            super().handle_bytes(event)

    def handle_ping(self) -> None:
        if self._tolerates(b""):
            super().handle_ping()

    def handle_pong(self, event: Any) -> None:
        if self._tolerates(event.data):
            super().handle_pong(event)

    def _tolerates(self, data: Any) -> bool:
        """Count a frame; whether it is to be listened to."""
        if self._is_over:
            return False
        if len(data) >= SMALL_FRAME_BYTES:
            return True
        now_s = self.loop.time()
        filled = self._small_left + (now_s - self._filled_s) * SMALL_FRAMES_PER_S
        self._small_left, self._filled_s = min(SMALL_FRAMES_BURST, filled) - 1, now_s
        if self._small_left < 0:
            self._end(POLICY_VIOLATION, "too many small frames")
        return not self._is_over

    def _end(self, code: int, reason: str) -> None:
        self._is_over = True
        self.frames.clear()
        self.stop_keepalive()
        if not (self.close_sent or self.transport.is_closing()):
            self.conn.fail(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.transport.close()  # the application hears of it when the connection is lost


def install() -> None:
    """Have uvicorn use this protocol in this process, for servers that start from now on."""
    if auto.AutoWebSocketsProtocol is WebSocketsSansIOProtocol:
        auto.AutoWebSocketsProtocol = FrugalWebSocket
    elif auto.AutoWebSocketsProtocol is not FrugalWebSocket:
        logger.warning("uvicorn has another WebSocket protocol than expected; small frames are not bounded")
