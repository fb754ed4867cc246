from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import timedelta

import pytest

from serving.database import Database
from serving.database.metadata import now_utc
from serving.registry import Registry
from serving.registry.statistics import BINS, Statistics, Tally, bin_of


def tally(**scores: int) -> Tally:
    """Of one picture; keys are `match_90` for the outcome and the bin."""
    counted = Counter({(key.split("_")[0], int(key.split("_")[1])): faces for key, faces in scores.items()})
    matches = sum(faces for (outcome, _), faces in counted.items() if outcome == "match")
    unknowns = counted.total() - matches
    return Tally(1, counted.total(), matches, unknowns, 0, counted)


@pytest.mark.parametrize(
    ("cosine", "bin"),
    [
        (-1.0, 0),
        (-0.98, 1),
        (0.5, 75),
        (0.94, 97),
        (0.9799, 98),
        (1.0, 99),
        (1.0000001, 99),
        (-1.0000001, 0),
        (0.9399999976158142, 97),
    ],
)
def test_every_cosine_has_a_bin(cosine: float, bin: int) -> None:
    assert bin_of(cosine) == bin


def test_the_border_of_two_bins_belongs_to_the_upper_one() -> None:
    assert [bin_of(round(-1 + 0.02 * place, 2)) for place in range(BINS)] == list(range(BINS))


async def test_counts_add_up_and_events_share_none(registry: Registry) -> None:
    gala, fair = [await registry.create_event(each, None, "starter") for each in ("gala", "fair")]
    assert await registry.statistics(gala.key) == Statistics(None, Tally())
    await registry.add_statistics({gala.key: tally(match_97=2, unknown_80=1), fair.key: tally()})
    first = await registry.statistics(gala.key)
    await registry.add_statistics({gala.key: tally(match_97=1), "gone": tally(match_1=5)})
    found = await registry.statistics(gala.key)
    assert found.tally == Tally(2, 4, 3, 1, 0, Counter({("match", 97): 3, ("unknown", 80): 1}))
    assert found.since == first.since
    assert first.since is not None
    assert abs(now_utc() - first.since) < timedelta(minutes=1)
    assert (await registry.statistics(fair.key)).tally == Tally(1)
    assert await registry.statistics("gone") == Statistics(None, Tally())


async def test_nothing_is_lost_when_many_replicas_count_at_once(
    database_url: str, registry: Registry
) -> None:
    keys = [(await registry.create_event(None, None, "starter")).key for _ in range(4)]
    replicas = [Registry(Database(database_url, migrate_on_open=False)) for _ in range(3)]
    for each in replicas:
        await each.open()
    dice = random.Random(7)
    expected = {key: Tally() for key in keys}

    async def count(replica: Registry) -> None:
        for _ in range(8):
            counted = {}
            for key in dice.sample(keys, 3):  # in another order each time
                counted[key] = tally(
                    **{f"match_{dice.randrange(90, 93)}": 1, f"unknown_{dice.randrange(3)}": 2}
                )
                expected[key].add(counted[key])
            await replica.add_statistics(counted)

    try:
        await asyncio.gather(*(count(each) for each in (*replicas, registry)))
    finally:
        for each in replicas:
            await each.close()
    assert {key: (await registry.statistics(key)).tally for key in keys} == expected


async def test_what_was_counted_goes_with_the_event(registry: Registry) -> None:
    old = await registry.create_event("gala", None, "starter")
    await registry.add_statistics({old.key: tally(match_97=1)})
    await registry.begin_event_deletion("gala")
    await registry.finish_event_deletion(old.key)
    await registry.add_statistics({old.key: tally(match_97=1)})
    assert await registry.statistics(old.key) == Statistics(None, Tally())
    new = await registry.create_event("gala", None, "starter")
    assert await registry.statistics(new.key) == Statistics(None, Tally())


async def test_more_events_than_one_statement_holds(registry: Registry) -> None:
    key = (await registry.create_event("gala", None, "starter")).key
    await registry.add_statistics(
        {**{f"{place:032}": tally() for place in range(1200)}, key: tally(match_1=1)}
    )
    assert (await registry.statistics(key)).tally == tally(match_1=1)
