"""What Ctrl-C and SIGTERM do to a command that has started others in sessions of their own."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def unwind_when_ended() -> Iterator[None]:
    """Within the block, which the main thread must run, SIGTERM and SIGHUP unwind the stack as Ctrl-C does.

    What was started has sessions of its own, and would else go on. Further signals do not cut that short, and
    what is ignored already (nohup) stays so.
    """

    def end(number: int, _: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    with _handled_by(end):
        yield


@contextlib.contextmanager
def hold_endings() -> Iterator[list[int]]:
    """Within the block, which the main thread must run, signals that would end this command are only noted.

    The first takes effect when the block ends. An exception from a signal's handler may come anywhere: in
    `Popen` before anyone knows its process, or while the lock is held that every later wait for it needs.
    """
    noted: list[int] = []
    with _handled_by(lambda number, _: noted.append(number)):
        yield noted
    if noted:
        signal.raise_signal(noted[0])


@contextlib.contextmanager
def _handled_by(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in ENDING}
    heeded = [each for each, handler in before.items() if handler is not signal.SIG_IGN]
    for each in heeded:
        signal.signal(each, handle)
    try:
        yield
    finally:
        for each in heeded:
            signal.signal(each, before[each])
