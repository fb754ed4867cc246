"""How much picture work one ingress replica accepts before it says `overloaded`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from serving.errors import Overloaded
from serving.telemetry import recording


class AdmissionGate:
    """Counts requests and bytes inside; refuses above its bounds, at once and cheaply.

    Args:
        max_requests: picture requests held at the same time.
        max_bytes: bytes of their bodies.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self.requests = 0
        self.bytes = 0

    def check_place(self) -> None:
        """Raise Overloaded when no place is free; takes none."""
        if self.requests >= self._max_requests:
            recording.note_refusal("requests")
            raise Overloaded(max_pending_requests=self._max_requests)

    @contextmanager
    def admit(self) -> Iterator[Admission]:
        """Hold a place for one request.

        Raises:
            Overloaded: no place is free.
        """
        self.check_place()
        admission = Admission(self)
        self.requests += 1
        recording.note_admitted(self.requests, self.bytes)
        try:
            yield admission
        finally:
            self.requests -= 1
            self.bytes -= admission.bytes
            recording.note_admitted(self.requests, self.bytes)

    def _add(self, count: int) -> None:
        if self.bytes + count > self._max_bytes:
            recording.note_refusal("bytes")
            raise Overloaded(max_pending_bytes=self._max_bytes)
        self.bytes += count


class Admission:
    """One admitted request's share of the gate."""

    def __init__(self, gate: AdmissionGate) -> None:
        self._gate = gate
        self.bytes = 0

    def add_bytes(self, count: int) -> None:
        """Account for `count` more bytes of the body.

        Raises:
            Overloaded: the gate holds as many bytes as it may.
        """
        self._gate._add(count)
        self.bytes += count
