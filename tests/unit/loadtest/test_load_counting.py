"""Latencies, tallies and objectives, against numpy and by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from loadtest import tally as tally_module
from loadtest.latencies import Latencies
from loadtest.slo import Objectives, judge, measure_drift
from loadtest.tally import Cell, Fate, Outcome, Tally


@pytest.mark.parametrize("count", [1, 2, 99, 5000])
def test_percentiles_are_those_of_numpy_to_half_a_per_cent(count: int) -> None:
    values = np.random.default_rng(count).lognormal(-3, 1.2, count)
    latencies = Latencies()
    for value in values:
        latencies.add(float(value))
    for share in (0, 0.5, 0.9, 0.99, 0.999, 1):
        # Nearest rank, as the class says.
        expected = np.quantile(values, share, method="inverted_cdf")
        assert latencies.percentile_s(100 * share) == pytest.approx(expected, rel=0.0051)
    assert latencies.max_s == values.max()
    assert latencies.mean_s() == pytest.approx(values.mean(), rel=0.0051)
    assert latencies.summarise()["count"] == count


def test_histograms_merge_as_if_they_were_one_and_survive_json() -> None:
    values = np.random.default_rng(1).exponential(0.2, 900)
    whole, parts = Latencies(), [Latencies() for _ in range(3)]
    for place, value in enumerate(values):
        whole.add(float(value))
        parts[place % 3].add(float(value))
    merged = Latencies().merge(Latencies.read(json.loads(json.dumps(part.dump()))) for part in parts)
    assert merged.dump() == whole.dump()
    assert Latencies().percentile_s(50) is None
    assert Latencies().summarise()["p99_ms"] is None


def count(tally: Tally, at_s: float, fate: Fate, latency_s: float = 0.1, kind: str = "one_face") -> None:
    tally.offer(kind, at_s)
    tally.note(Outcome(kind, at_s, fate, "503 overloaded" if fate == "shed" else "", latency_s))


def test_latency_belongs_to_when_a_request_was_due_and_the_warm_up_is_not_judged() -> None:
    tally = Tally(warm_up_s=5.0)
    count(tally, 1.0, "failed")
    count(tally, 7.2, "accepted", 8.0)
    count(tally, 7.9, "shed", 0.01)
    tally.offer("one_face", 8.0)
    assert tally.total().offered == 3
    assert tally.between(7, 8).accepted.percentile_s(50) == pytest.approx(8.0, rel=0.006)
    assert tally.between(8, 20).accepted.count == 0
    assert dict(tally.answered) == {15: 1}
    assert tally.under_way == 1
    assert tally.reasons == {"one_face: 503 overloaded": 1}
    assert tally.without_retry_after == 1
    assert tally.between(1, 2).fates["failed"] == 1


def test_tallies_of_workers_add_up_also_when_one_has_coarser_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally_module, "MAX_CELLS", 16)
    whole, parts = Tally(), [Tally(), Tally()]
    for second in range(100):
        parts_place = 0 if second < 8 else 1
        for tally in (whole, parts[parts_place]):
            count(tally, second + 0.5, "accepted", 0.01 * (second + 1))
    assert (parts[0].interval_s, parts[1].interval_s) == (1, 8)
    merged = Tally().merge(Tally.read(json.loads(json.dumps(parts[0].dump()))))
    merged.merge(Tally.read(json.loads(json.dumps(parts[1].dump()))))
    assert merged.dump() == whole.dump()
    assert len(merged.cells) <= 16
    assert sum(cell.offered for cell in merged.cells.values()) == 100


def make_cell(accepted: int = 90, shed: int = 0, failed: int = 0, not_sent: int = 0, late: int = 0) -> Cell:
    cell = Cell(offered=accepted + shed + failed + not_sent + late)
    fates: tuple[tuple[Fate, int], ...] = (
        ("accepted", accepted),
        ("shed", shed),
        ("failed", failed),
        ("not_sent", not_sent),
    )
    for fate, number in fates:
        for place in range(number):
            cell.note(Outcome("one_face", 0.0, fate, latency_s=(place + 1) / 100))
    return cell


@pytest.mark.parametrize(
    ("objectives", "cell", "missed"),
    [
        (Objectives(), make_cell(), []),
        (Objectives(), Cell(), ["error share"]),
        (Objectives(), make_cell(failed=1), ["error share"]),
        (Objectives(), make_cell(late=1), ["error share"]),
        (Objectives(errors=0.05), make_cell(failed=1), []),
        (Objectives(errors=None), make_cell(failed=50), []),
        (Objectives(errors=1.0), make_cell(not_sent=1), ["not sent"]),
        (Objectives(p50_ms=460, p95_ms=870, p99_ms=910), make_cell(), []),
        (Objectives(p50_ms=440, p95_ms=840, p99_ms=880), make_cell(), ["p50", "p95", "p99"]),
        (Objectives(p50_ms=460), Cell(), ["p50", "error share"]),
        (Objectives(), make_cell(shed=80), []),
        (Objectives(shed=0.1), make_cell(shed=10), []),
        (Objectives(shed=0.05), make_cell(shed=10), ["shed share"]),
        (Objectives(rate_per_s=9), make_cell(), []),
        (Objectives(rate_per_s=9.1), make_cell(shed=80), ["accepted rate"]),
        (Objectives(drift=1.2), make_cell(), ["drift of p95"]),
    ],
)
def test_objectives(objectives: Objectives, cell: Cell, missed: list[str]) -> None:
    lines = judge(objectives, cell, seconds=10.0)
    assert [line.name for line in lines if not line.is_held] == missed
    for line in lines:
        assert line.describe().startswith("held" if line.is_held else "MISSED")


def test_drift_is_the_last_third_over_the_first() -> None:
    tally = Tally()
    for second in range(30):
        count(tally, second + 0.5, "accepted", 0.1 if second < 10 else 0.25)
    assert measure_drift(tally, 0, 30) == pytest.approx(2.5, rel=0.011)
    assert measure_drift(tally, 0, 300) is None
    assert math.isfinite(measure_drift(tally, 10, 30) or math.nan)
