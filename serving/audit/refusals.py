"""Refusals that repeat, counted: who is refused a thousand times a second fills no disk."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from serving.audit.records import AuditEntry
from serving.database.metadata import now_utc

WINDOW_S = 60.0
MAX_CALLERS = 4096
"""Callers whose refusals are counted each for itself in one window; those of all others count together."""
ANY_ACTION = "access.denied"
"""The action of a count of refusals of several kinds."""


@dataclass(slots=True)
class _Repeated:
    entry: AuditEntry
    count: int = 0


class Refusals:
    """Tells the first refusal of a kind in a window from the rest, and makes one entry of the rest.

    A kind is the origin, the actor and the outcome; of a known actor, and of failed sign-ins, the action too.

    Args:
        write: takes the counts when their window is over.
    """

    def __init__(self, write: Callable[[AuditEntry], None]) -> None:
        self._write = write
        self._repeated: dict[tuple[str | None, ...], _Repeated] = {}
        self._timer: asyncio.TimerHandle | None = None

    def is_first(self, entry: AuditEntry, origin: str | None) -> bool:
        """Whether this is the first of its kind; if not it is counted."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW_S, self.end_window)
        key: tuple[str | None, ...] = (origin, entry.actor_id, entry.actor, entry.outcome)
        counted = dataclasses.replace(entry, request_id=None, person_id=None)
        if entry.actor_kind != "anonymous" or entry.outcome == "sign_in_failed":
            key += (entry.action,)
        else:
            counted = dataclasses.replace(counted, action=ANY_ACTION, event_id=None, event_key=None)
        known = self._repeated.get(key)
        if known is None and len(self._repeated) >= MAX_CALLERS:
            key = ("many",)
            counted = AuditEntry("anonymous", ANY_ACTION, "several")
            known = self._repeated.get(key)
            if known is None:
                known = self._repeated[key] = _Repeated(counted)
        if known is None:
            self._repeated[key] = _Repeated(counted)
            return True
        known.count += 1
        return False

    def end_window(self) -> None:
        """Write what was counted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        repeated, self._repeated = self._repeated, {}
        for each in repeated.values():
            if each.count:
                details = {**(each.entry.details or {}), "repeated": each.count}
                self._write(dataclasses.replace(each.entry, details=details, at=now_utc()))
