"""What the service's metrics say of a load: where a task's time went, batches, replicas, memory, CPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from loadtest.scraping import Snapshot

PARTS = ("queue", "transport", "batch wait", "model")
STAGES = ("detector", "liveness", "embedder", "matcher")
MAX_ROWS = 300
"""Of the time series in the report."""

Sums = dict[tuple[str, str], float]
"""Growth of a counter by its name and stage, or deployment."""


def describe_stages(snapshots: Sequence[Snapshot], from_s: float, to_s: float) -> dict[str, Any] | None:
    """Means between two times, and series over all of it; None with fewer than two snapshots."""
    if len(snapshots) < 2:
        return None
    inside = [each for each in snapshots if from_s <= each.at_s <= to_s]
    if len(inside) < 2:
        inside = list(snapshots)
    growth = _grow(inside)
    seconds = inside[-1].at_s - inside[0].at_s
    cpu = {who: value for (name, who), value in growth.items() if name == "process_cpu_seconds_total"}
    return {
        "from_s": inside[0].at_s,
        "to_s": inside[-1].at_s,
        "stages": {stage: _describe(growth, stage, seconds) for stage in _find_stages(growth)},
        "cores_by_deployment": {who: value / seconds for who, value in sorted(cpu.items())},
        "shed": {who: value for (name, who), value in growth.items() if name == "shed_total"},
        "memory": _describe_memory(inside),
        "series": _describe_series(snapshots),
    }


def _describe_series(snapshots: Sequence[Snapshot]) -> list[dict[str, Any]]:
    step = max(1, -(-len(snapshots) // MAX_ROWS))
    kept = list(snapshots[::step])
    rows = []
    for before, after in pairwise(kept):
        growth, seconds = _grow([before, after]), after.at_s - before.at_s
        rows.append(
            {
                "at_s": round(after.at_s, 3),
                "stages": {stage: _describe(growth, stage, seconds) for stage in _find_stages(growth)},
                "replicas": _gauge(after, "rollcall_replicas", "deployment"),
                "resident_bytes": _gauge(after, "rollcall_process_resident_bytes", "deployment"),
                "waiting": _gauge(after, "rollcall_stage_waiting", "stage"),
            }
        )
    return rows


def _describe(growth: Sums, stage: str, seconds: float) -> dict[str, Any]:
    """Mean milliseconds of one task in each part, mean batch and parcel, busy replicas; None: no task."""

    def mean(name: str, scale: float = 1.0) -> float | None:
        count = growth.get((f"{name}_count", stage), 0.0)
        return scale * growth.get((f"{name}_sum", stage), 0.0) / count if count > 0 else None

    call_ms, replica_ms = mean("stage_call_seconds", 1e3), mean("replica_seconds", 1e3)
    transport_ms = None if call_ms is None or replica_ms is None else max(0.0, call_ms - replica_ms)
    times = (
        mean("stage_queue_seconds", 1e3),
        transport_ms,
        mean("batch_wait_seconds", 1e3),
        mean("batch_seconds", 1e3),
    )
    return {
        "mean_ms": dict(zip(PARTS, times, strict=True)),
        "batch": mean("batch_tasks"),
        "parcel": mean("parcel_tasks"),
        "tasks_per_s": growth.get(("batch_tasks_sum", stage), 0.0) / seconds,
        "busy_replicas": growth.get(("batch_seconds_sum", stage), 0.0) / seconds,
    }


def _find_stages(growth: Sums) -> list[str]:
    found = {stage for name, stage in growth if name == "batch_tasks_count" and growth[name, stage] > 0}
    return sorted(found, key=lambda stage: (STAGES.index(stage) if stage in STAGES else len(STAGES), stage))


def _grow(snapshots: Sequence[Snapshot]) -> Sums:
    """How much each counter grew, over packs and nodes; one that fell began again at zero."""
    grown: Sums = defaultdict(float)
    for before, after in pairwise(snapshots):
        for (name, labels), value in after.values.items():
            if not name.endswith(("_sum", "_count", "_total")):
                continue
            told = dict(labels)
            who = told.get("stage") or told.get("deployment") or told.get("reason") or ""
            previous = before.values.get((name, labels), 0.0)
            grown[name.removeprefix("rollcall_"), who] += value - previous if value >= previous else value
    return grown


def _gauge(snapshot: Snapshot, wanted: str, label: str) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for (name, labels), value in snapshot.values.items():
        if name == wanted:
            found[dict(labels).get(label, "")] += value
    return dict(sorted(found.items()))


def _describe_memory(snapshots: Sequence[Snapshot]) -> dict[str, float | None]:
    """Resident bytes of all replicas in the first and last fifth of the time, and how they grew."""
    totals = [
        sum(_gauge(each, "rollcall_process_resident_bytes", "deployment").values()) for each in snapshots
    ]
    totals = [total for total in totals if total > 0]
    if not totals:
        return {"first_bytes": None, "last_bytes": None, "growth": None}
    fifth = max(1, len(totals) // 5)
    first, last = sum(totals[:fifth]) / fifth, sum(totals[-fifth:]) / fifth
    return {"first_bytes": first, "last_bytes": last, "growth": last / first}
