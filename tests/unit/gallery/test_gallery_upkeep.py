"""The owner's upkeep without an actor: flushes go on, and failing compactions keep their distance."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.gallery.gallery_faces import face, random_vectors

pytest.importorskip("ray")

from serving.errors import InternalError
from serving.gallery import owner as owner_module
from serving.gallery.owner import GalleryOwner

TIMEOUT_S = 60.0


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[GalleryOwner]:
    """One in which an erasure is due for compaction; its thread has its first turn in 10 ms."""
    owner = GalleryOwner(str(tmp_path), "test", 32, flush_interval_s=0.01, compact_after_s=0.0)
    yield owner
    owner.close()


class Attempts:
    """Stands before `compact` and `flush` of the engine; fails compactions by `error`."""

    def __init__(self, owner: GalleryOwner, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = InternalError("no space left on device")
        self.calls: list[str] = []
        self._compact, self._flush = owner._core.compact, owner._core.flush
        monkeypatch.setattr(owner._core, "compact", self.compact)
        monkeypatch.setattr(owner._core, "flush", self.flush)

    def compact(self) -> None:
        self.calls.append("compact")
        if self.error is not None:
            raise self.error
        self._compact()

    def flush(self) -> None:
        self.calls.append("flush")
        self._flush()

    def count(self, name: str) -> int:
        return self.calls.count(name)


@pytest.fixture
def attempts(owner: GalleryOwner, monkeypatch: pytest.MonkeyPatch) -> Attempts:
    return Attempts(owner, monkeypatch)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the owner's monotonic clock on by so many seconds."""
    real, skipped_s = time.monotonic, [0.0]

    def skip(seconds: float) -> None:
        skipped_s[0] += seconds

    monkeypatch.setattr(owner_module.time, "monotonic", lambda: real() + skipped_s[0])
    return skip


def erase_someone(owner: GalleryOwner) -> None:
    (vector,) = random_vectors(1, 32, seed=1)
    record = face("e", "ann", "1", vector)
    owner._do(lambda: owner._core.upsert([record]))
    owner.erase_person("e", "ann")


def wait_for(condition: Callable[[], bool]) -> None:
    give_up_at = time.perf_counter() + TIMEOUT_S
    while not condition():
        assert time.perf_counter() < give_up_at
        time.sleep(0.005)


def turn(attempts: Attempts) -> None:
    """Wait until the upkeep has gone round twice."""
    seen = attempts.count("flush")
    wait_for(lambda: attempts.count("flush") >= seen + 2)


@pytest.mark.parametrize("error", [InternalError("log still there"), OSError("read-only file system")])
def test_a_failing_compaction_backs_off_and_flushes_go_on(
    owner: GalleryOwner, attempts: Attempts, later: Callable[[float], None], error: Exception
) -> None:
    attempts.error = error
    erase_someone(owner)
    wait_for(lambda: attempts.count("compact") == 1)
    for failures, pause_s in enumerate((60, 120, 240, 480, 960, 1920, 3600, 3600, 3600), start=1):
        later(pause_s - 2)
        turn(attempts)
        assert attempts.count("compact") == failures
        later(2)
        wait_for(lambda due=failures + 1: attempts.count("compact") == due)
        turn(attempts)
    assert attempts.count("flush") > 2 * attempts.count("compact")
    assert owner._core.compaction_due
    assert owner.count("e", None) == 0


def test_a_compaction_comes_after_a_flush_and_ends_the_backing_off(
    owner: GalleryOwner, attempts: Attempts, later: Callable[[float], None]
) -> None:
    erase_someone(owner)
    wait_for(lambda: attempts.count("compact") == 1)
    attempts.error = None
    later(60)
    wait_for(lambda: not owner._core.compaction_due)
    assert attempts.count("compact") == 2
    before = [attempts.calls[place - 1] for place, name in enumerate(attempts.calls) if name == "compact"]
    assert before == ["flush", "flush"]
    attempts.error = InternalError("again")
    erase_someone(owner)
    wait_for(lambda: attempts.count("compact") == 3)
    later(60)
    wait_for(lambda: attempts.count("compact") == 4)


def test_a_compaction_by_hand_ends_the_backing_off_too(owner: GalleryOwner, attempts: Attempts) -> None:
    erase_someone(owner)
    wait_for(lambda: attempts.count("compact") == 1)
    attempts.error = None
    owner.compact()
    erase_someone(owner)
    wait_for(lambda: attempts.count("compact") == 3)


def test_upkeep_outlives_a_mark_that_cannot_be_read(
    owner: GalleryOwner, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(core: object) -> float:
        raise PermissionError

    monkeypatch.setattr(type(owner._core), "erased_since", property(refuse))
    owner.open()
    turn(attempts)
