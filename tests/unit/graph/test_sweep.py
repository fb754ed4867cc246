from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from serving.errors import StageUnavailable
from serving.graph import sweep
from serving.graph.sweep import STALE_S, Sweep
from serving.registry.records import Erasure, Place, StaleEnrolment
from serving.settings import LoadSettings
from tests.unit.graph.virtual_time import in_virtual_time
from tests.unit.served import serve_alone


class World:
    """The registry and the stages at once, writing down who is asked for what."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.deleting = ["e1", "e2"]
        self.stale = [StaleEnrolment("e3", "ada", ("f1", "f2")), StaleEnrolment("e3", "bob", ("f3",))]
        self.planned = [
            Erasure("1", "e4", None, Place(None, "e4")),
            Erasure("2", "e3", "cem"),
            Erasure("3", "e3", "dee"),
        ]
        self.stored = {"cem": ["f4", "f5"], "dee": []}
        self.known = {"cem": frozenset({"f5"})}
        self.failures: dict[str, BaseException] = {}
        self.postponed: list[str] = []
        self.erasures = self

    async def deleting_events(self) -> list[Any]:
        return [SimpleNamespace(key=key) for key in self.deleting]

    async def stale_enrolments(self, older_than_s: float) -> list[StaleEnrolment]:
        self.log.append(("older than", older_than_s))
        return self.stale

    async def postpone(self, id: str) -> None:
        self.postponed.append(id)

    async def due(self) -> list[Erasure]:
        return self.planned

    async def compact_stores(self) -> None:
        await self._note("compact", "stores")

    async def _note(self, *entry: Any) -> None:
        self.log.append(entry)
        if entry[1] in self.failures:
            raise self.failures.pop(entry[1])

    async def erase_event(self, key: str, remaining_s: float) -> None:
        await self._note("erase event", key)

    async def finish_event_deletion(self, key: str) -> None:
        await self._note("forget event", key)

    async def abandon_enrolment(self, key: str, person: str, faces: Any, older_than_s: float) -> None:
        await self._note("forget faces", person, key, faces, older_than_s)

    async def claim(self, key: str, person: str, lease_s: float) -> str:
        assert lease_s >= 2 * sweep.CALL_TIMEOUT_S
        await self._note("claim", person)
        return f"claimed {person}"

    async def release(self, key: str, person: str) -> None:
        self.log.append(("release", person))

    async def faces_of(self, key: str, person: str, remaining_s: float) -> list[str]:
        self.log.append(("stored", person))
        return self.stored[person]

    async def places(self, key: str) -> list[Place]:
        return [Place(None, key)]

    async def known_faces(self, key: str, person: str, partition: str) -> frozenset[str]:
        assert partition == key
        self.log.append(("known", person))
        return self.known[person]

    async def erase_faces(self, key: str, faces: Any, remaining_s: float) -> None:
        await self._note("erase faces", faces[0][0], key, faces)

    async def finish(self, id: str) -> None:
        await self._note("erased", id)


def make(world: World) -> Sweep:
    return Sweep(world, serve_alone(world))  # type: ignore[arg-type]


async def test_every_step_in_its_order() -> None:
    world = World()
    await make(world).sweep_once()
    assert world.log == [
        ("erase event", "e1"),
        ("forget event", "e1"),
        ("erase event", "e2"),
        ("forget event", "e2"),
        ("older than", STALE_S),
        ("forget faces", "ada", "e3", ("f1", "f2"), STALE_S),
        ("forget faces", "bob", "e3", ("f3",), STALE_S),
        ("erase event", "e4"),
        ("erased", "1"),
        ("claim", "cem"),
        ("stored", "cem"),
        ("known", "cem"),
        ("erase faces", "cem", "e3", [("cem", "f4")]),
        ("release", "cem"),
        ("erased", "claimed cem"),
        ("claim", "dee"),
        ("stored", "dee"),
        ("release", "dee"),
        ("erased", "claimed dee"),
        ("compact", "stores"),
    ]


async def test_what_was_not_erased_is_not_forgotten() -> None:
    world = World()
    world.failures = {"e2": StageUnavailable(), "cem": StageUnavailable()}
    with pytest.raises(StageUnavailable):
        await make(world).sweep_once()
    assert ("forget event", "e2") not in world.log
    assert ("erased", "claimed cem") not in world.log
    for done in (("forget event", "e1"), ("erased", "1"), ("erased", "claimed dee")):
        assert done in world.log, "one failure must not hold up the others"


async def test_an_erasure_that_fails_lets_enrolments_go_on() -> None:
    world = World()
    world.deleting, world.stale = [], []

    async def fail(*args: Any) -> None:
        raise StageUnavailable

    world.erase_faces = fail  # type: ignore[method-assign]
    with pytest.raises(StageUnavailable):
        await make(world).sweep_once()
    assert ("release", "cem") in world.log


def test_no_request_lasts_until_its_faces_are_stale() -> None:
    longest = next(
        each.le for each in LoadSettings.model_fields["request_timeout_s"].metadata if hasattr(each, "le")
    )
    assert longest * 2 < STALE_S


async def run_through_failures(*failures: Exception) -> int:
    """How many sweeps are begun in five periods when the first ones fail like this."""
    left = list(failures)
    begun = 0

    class Failing(Sweep):
        async def sweep_once(self, stale_s: float = STALE_S) -> None:
            nonlocal begun
            begun += 1
            if left:
                raise left.pop(0)

    failing = Failing(World(), World())  # type: ignore[arg-type]
    failing.start()
    await asyncio.sleep(5 * sweep.PERIOD_S)
    failing.stop()
    until_stopped = begun
    await asyncio.sleep(5 * sweep.PERIOD_S)
    assert begun == until_stopped
    return begun


@in_virtual_time
async def test_it_goes_on_after_an_outage() -> None:
    assert 3 <= await run_through_failures(StageUnavailable(), StageUnavailable()) <= 10


@in_virtual_time
async def test_it_goes_on_after_a_bug() -> None:
    assert 3 <= await run_through_failures(RuntimeError("from Serve or SQLAlchemy")) <= 10
