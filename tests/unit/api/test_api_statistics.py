"""The counts in memory: what is noted, when it is written, and that a failure loses none."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from serving.api import statistics
from serving.api.statistics import StatisticsRecorder
from serving.errors import StageUnavailable
from serving.registry.statistics import Tally
from tests.unit.graph.virtual_time import in_virtual_time


class Store:
    """A registry that only counts."""

    def __init__(self) -> None:
        self.stored: dict[str, Tally] = {}
        self.writes = 0
        self.failures: list[Exception] = []
        self.meanwhile: list[Any] = []

    async def add_statistics(self, tallies: Mapping[str, Tally]) -> None:
        self.writes += 1
        await asyncio.sleep(0)
        for each in self.meanwhile:
            each()
        self.meanwhile = []
        if self.failures:
            raise self.failures.pop()
        for key, tally in tallies.items():
            self.stored.setdefault(key, Tally()).add(tally)


def make(store: Store) -> StatisticsRecorder:
    return StatisticsRecorder(store)  # type: ignore[arg-type]


async def test_every_face_counts_by_its_outcome() -> None:
    store = Store()
    recorder = make(store)
    recorder.note_recognition("a", [("match", 0.95), ("match", 0.951), ("unknown", -0.99), ("refused", None)])
    recorder.note_recognition("a", [("unknown", None), ("refused", 0.9)])
    recorder.note_recognition("b", [])
    await recorder.flush()
    assert store.stored == {
        "a": Tally(2, 6, 2, 2, 2, Counter({("match", 97): 2, ("unknown", 0): 1})),
        "b": Tally(1),
    }
    await recorder.flush()
    assert store.writes == 1, "nothing to write, no write"


async def test_a_failed_write_is_made_up_for_with_what_came_meanwhile() -> None:
    store = Store()
    recorder = make(store)
    recorder.note_recognition("a", [("match", 0.95)])
    store.failures = [StageUnavailable()]
    store.meanwhile = [
        lambda: recorder.note_recognition("a", [("unknown", 0.1)]),
        lambda: recorder.note_recognition("b", []),
    ]
    with pytest.raises(StageUnavailable):
        await recorder.flush()
    await asyncio.gather(*(recorder.flush() for _ in range(3)))
    assert store.stored == {
        "a": Tally(2, 2, 1, 1, 0, Counter({("match", 97): 1, ("unknown", 55): 1})),
        "b": Tally(1),
    }


async def test_memory_is_bounded_while_the_registry_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MAX_EVENTS", 3)
    store = Store()
    recorder = make(store)
    for _ in range(2):
        for key in "abc":
            recorder.note_recognition(key, [])
        store.failures = [StageUnavailable()]
        store.meanwhile = [lambda: recorder.note_recognition("d", [])]
        with pytest.raises(StageUnavailable):
            await recorder.flush()
    await recorder.flush()
    assert {key: tally.recognitions for key, tally in store.stored.items()} == {"a": 2, "b": 2, "c": 2}


@in_virtual_time
async def test_it_writes_each_second_goes_on_after_failures_and_once_more_at_the_end() -> None:
    store = Store()
    recorder = make(store)
    recorder.start()
    store.failures = [StageUnavailable(), RuntimeError("from the driver")]
    recorder.note_recognition("a", [])
    await asyncio.sleep(0.5)
    assert store.writes == 0
    await asyncio.sleep(3)
    assert (store.writes, store.stored) == (3, {"a": Tally(1)})
    recorder.note_recognition("a", [])
    await recorder.stop()
    assert (store.writes, store.stored) == (4, {"a": Tally(2)})


@in_virtual_time
async def test_the_end_waits_for_no_registry_that_hangs() -> None:
    class Hanging(Store):
        async def add_statistics(self, tallies: Mapping[str, Tally]) -> None:
            await asyncio.Event().wait()

    recorder = make(Hanging())
    recorder.start()
    recorder.note_recognition("a", [])
    loop = asyncio.get_running_loop()
    began = loop.time()
    await recorder.stop()
    assert loop.time() - began <= statistics.STOP_TIMEOUT_S + 0.1


async def test_one_that_never_started_still_writes_at_the_end() -> None:
    store = Store()
    recorder = make(store)
    recorder.note_recognition("a", [])
    await recorder.stop()
    assert store.stored == {"a": Tally(1)}
