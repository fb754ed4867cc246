"""The answer to a scrape: everything that the processes of this node have counted, as Prometheus reads it."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry

from serving.telemetry import catalogue, counting
from serving.telemetry.catalogue import ALL_METRICS, Metric
from serving.telemetry.disks import read_disks
from serving.telemetry.node_directory import Member, NodeDirectory, Reading

CONTENT_TYPE = CONTENT_TYPE_LATEST
MEMORY_S = 1.0
"""An answer is good for so long: asking more often than Prometheus' shortest interval costs nothing."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Exposition:
    """Puts answers together; any number of threads may ask.

    Args:
        directory: whose counts; None: those of this process alone, which runs without Ray.
    """

    def __init__(self, directory: NodeDirectory | None) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._made_at = float("-inf")
        self._answer = b""

    def render(self) -> bytes:
        """The text of the answer, at most `MEMORY_S` old. It blocks for milliseconds."""
        with self._lock:
            if time.monotonic() - self._made_at >= MEMORY_S:
                self._answer = self._render()
                self._made_at = time.monotonic()
            return self._answer

    def _render(self) -> bytes:
        began = time.perf_counter()
        reading = read_this_process() if self._directory is None else self._directory.read()
        families = [*_gather(reading), *_describe_processes(reading.members), *_describe_disks()]
        spent = _make_family(catalogue.SCRAPE_SECONDS)
        spent.add_sample(spent.name, {}, time.perf_counter() - began)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected([*families, spent]))
        return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def read_this_process() -> Reading:
    """What this process has counted, whether or not it keeps a file."""
    totals: dict[str, float] = {}
    gauges: dict[str, list[tuple[float, float]]] = {}
    for key, value, set_at in counting.read_counts():
        if ALL_METRICS[counting.read_key(key)[0]].kind == "gauge":
            gauges[key] = [(value, set_at)]
        else:
            totals[key] = value
    return Reading([], totals, gauges)


def _gather(reading: Reading) -> Iterator[Family]:
    """One family for each metric of which something was counted; what is not in the catalogue is left out."""
    series: dict[str, dict[tuple[str, ...], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for key, value in reading.totals.items():
        name, labels, part = counting.read_key(key)
        series[name][labels][part] = value
    for key, values in reading.gauges.items():
        name, labels, part = counting.read_key(key)
        if name in ALL_METRICS:
            series[name][labels][part] = _merge_gauge(ALL_METRICS[name], values)
    for metric in ALL_METRICS.values():
        if metric.name in series:
            family = _make_family(metric)
            for labels, parts in series[metric.name].items():
                if len(labels) == len(metric.labels):
                    _add_series(family, metric, dict(zip(metric.labels, labels, strict=True)), parts)
            yield family


def _merge_gauge(metric: Metric, values: Sequence[tuple[float, float]]) -> float:
    if metric.merge == "sum":
        return sum(value for value, _ in values)
    if metric.merge == "max":
        return max(value for value, _ in values)
    return max(values, key=lambda pair: pair[1])[0]


def _make_family(metric: Metric) -> Family:
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    family: Family = kinds[metric.kind](metric.name, metric.about, labels=metric.labels)
    return family


def _add_series(family: Family, metric: Metric, labels: dict[str, str], parts: Mapping[str, float]) -> None:
    if metric.kind != "histogram":
        family.add_sample(metric.name, labels, parts[""])
        return
    count = 0.0
    for bound in (*map(counting.show_bound, metric.buckets), "+Inf"):
        count += parts.get(bound, 0.0)
        family.add_sample(f"{metric.name}_bucket", {**labels, "le": bound}, count)
    family.add_sample(f"{metric.name}_count", labels, count)
    family.add_sample(f"{metric.name}_sum", labels, parts.get(counting.SUM, 0.0))


def _describe_processes(members: Sequence[Member]) -> Iterator[Family]:
    """Replicas by deployment, and what each process uses, from /proc."""
    replicas = _make_family(catalogue.REPLICAS)
    counts: dict[str, int] = defaultdict(int)
    for member in members:
        counts[member.deployment] += 1
    for deployment, count in counts.items():
        replicas.add_sample(replicas.name, {"deployment": deployment}, count)
    yield replicas
    used = {metric: _make_family(metric) for metric in _PER_PROCESS}
    for member in members:
        labels = {"deployment": member.deployment, "pid": str(member.pid)}
        for metric, value in zip(_PER_PROCESS, _read_usage(member.pid), strict=False):
            used[metric].add_sample(metric.name, labels, value)
    yield from used.values()


def _describe_disks() -> Iterator[Family]:
    free, size, reserve = (_make_family(metric) for metric in _PER_DISK)
    for disk in read_disks():
        labels = {"holds": disk.holds}
        free.add_sample(free.name, labels, disk.free_bytes)
        size.add_sample(size.name, labels, disk.size_bytes)
        reserve.add_sample(reserve.name, labels, disk.reserve_bytes)
    yield from (free, size, reserve)


_PER_DISK = (catalogue.DISK_FREE_BYTES, catalogue.DISK_BYTES, catalogue.DISK_RESERVE_BYTES)

_PER_PROCESS = (
    catalogue.PROCESS_CPU,
    catalogue.PROCESS_MEMORY,
    catalogue.PROCESS_THREADS,
    catalogue.PROCESS_START,
)


def _read_usage(pid: int) -> tuple[float, ...]:
    """CPU seconds, resident bytes, threads and start of a process; empty when it has just ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ()
    # proc(5): these begin at its field 3, `state`; 14 utime, 15 stime, 20 num_threads, 22 starttime, 24 rss.
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    started_s = _find_boot_time_s() + int(fields[19]) / _TICKS_PER_S
    return cpu_s, float(int(fields[21]) * _PAGE_BYTES), float(fields[17]), started_s


def _find_boot_time_s() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
