"""What clients were told, so that it can be asked for afterwards."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Answered:
    """One request of the load.

    Attributes:
        kind: recognise, verify, enrol or erase.
        sent_s, done_s: when, by the monotonic clock.
        code: `ok`, the error code that was answered, or what became of the connection.
    """

    kind: str
    sent_s: float
    done_s: float
    code: str

    @property
    def is_failed(self) -> bool:
        """Whether the client did not get what it asked for."""
        return self.code != "ok"


@dataclass(slots=True)
class Ledger:
    """Who was acknowledged as enrolled or erased, and every answer. Safe to use from several threads.

    Whoever had no answer, or an error, may or may not be there: nothing was promised.

    Attributes:
        enrolled: person by number of the picture; acknowledged, and nobody has asked to erase them.
        erased: acknowledged.
        vanished: acknowledged as enrolled, and unknown to the erasure that followed.
    """

    enrolled: dict[str, int] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    vanished: set[str] = field(default_factory=set)
    answers: list[Answered] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, answered: Answered) -> None:
        """A request has ended."""
        with self._lock:
            self.answers.append(answered)

    def note_enrolled(self, person: str, picture: int) -> None:
        """The service has acknowledged an enrolment."""
        with self._lock:
            self.enrolled[person] = picture

    def take_for_erasure(self) -> str | None:
        """The one enrolled longest, who is about to be erased: from now on they need not be found."""
        with self._lock:
            person = next(iter(self.enrolled), None)
            if person is not None:
                del self.enrolled[person]
            return person

    def note_erased(self, person: str) -> None:
        """The service has acknowledged an erasure."""
        with self._lock:
            self.erased.add(person)

    def note_vanished(self, person: str) -> None:
        """An erasure was answered with: there is no such person."""
        with self._lock:
            self.vanished.add(person)

    def read_answers(self) -> list[Answered]:
        """All so far, in the order they came."""
        with self._lock:
            return list(self.answers)

    def count_failed(self, since_s: float = 0.0) -> Counter[str]:
        """Failed requests by code, of those sent since."""
        return Counter(each.code for each in self.read_answers() if each.is_failed and each.sent_s >= since_s)


KINDS = ("recognise", "verify", "enrol", "erase")


def find_recovery_s(answers: list[Answered], since_s: float, now_s: float, quiet_s: float) -> float | None:
    """From when on requests succeed again, seconds after `since_s`; None: not yet.

    It is the sending of the first request after the last one that failed, once every kind has succeeded since
    and for `quiet_s` nothing that was sent has failed. What has no answer yet does not count.

    Args:
        answers: in any order.
        now_s: by the clock of `since_s`.
    """
    sent = sorted((each for each in answers if each.sent_s >= since_s), key=lambda each: each.sent_s)
    last_failed = max((place for place, each in enumerate(sent) if each.is_failed), default=-1)
    after = sent[last_failed + 1 :]
    if not after or now_s - after[0].sent_s < quiet_s or after[-1].sent_s - after[0].sent_s < quiet_s / 2:
        return None
    if {each.kind for each in after} != set(KINDS):
        return None
    return 0.0 if last_failed < 0 else after[0].sent_s - since_s
