"""Counting in this process: in a dictionary, and once `keep_in` names a file, in memory mapped from it too.

A count takes about a microsecond and no lock of another process, and outlives this one.
"""

from __future__ import annotations

import bisect
import json
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.utils import floatToGoString

from serving.telemetry import catalogue
from serving.telemetry.catalogue import Metric

MAX_SERIES = 1000
"""Label sets of one metric in one process. The widest, requests by route and status, has a few hundred."""

OTHER = "other"
"""What stands in the labels of all that is counted beyond `MAX_SERIES`."""

SUM = "sum"


class _Cell:
    """One number, and its name in the file."""

    __slots__ = ("at_s", "key", "value")

    def __init__(self, key: str) -> None:
        self.key = key
        self.value = 0.0
        self.at_s = 0.0


class _Cells:
    """All numbers of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # the event loop and the model's thread both count
        self._cells: dict[str, _Cell] = {}
        self._file: MmapedDict | None = None

    def make(self, key: str) -> _Cell:
        cell = self._cells.get(key)
        if cell is None:
            with self.lock:
                cell = self._cells.setdefault(key, _Cell(key))
                self._store(cell)
        return cell

    def add(self, cell: _Cell, amount: float) -> None:
        with self.lock:
            cell.value += amount
            self._store(cell)

    def add_two(self, one: _Cell, amount_of_one: float, two: _Cell, amount_of_two: float) -> None:
        with self.lock:
            one.value += amount_of_one
            two.value += amount_of_two
            self._store(one)
            self._store(two)

    def put(self, cell: _Cell, value: float) -> None:
        with self.lock:
            cell.value = value
            cell.at_s = time.time()
            self._store(cell)

    def keep_in(self, path: Path) -> None:
        with self.lock:
            self._file = MmapedDict(str(path))
            for cell in self._cells.values():
                self._store(cell)

    def let_go(self) -> None:
        with self.lock:
            if self._file is not None:
                self._file.close()
                self._file = None
            self._cells.clear()

    def read(self) -> Iterator[tuple[str, float, float]]:
        with self.lock:
            return iter([(cell.key, cell.value, cell.at_s) for cell in self._cells.values()])

    def _store(self, cell: _Cell) -> None:
        if self._file is not None:
            self._file.write_value(cell.key, cell.value, cell.at_s)


_CELLS = _Cells()


def keep_in(path: Path) -> None:
    """Write all counts of this process to a file from now on, those that were made before included."""
    _CELLS.keep_in(path)


def let_go() -> None:
    """Close the file and forget everything; for tests, where one process plays several."""
    for instruments in (_COUNTERS, _GAUGES, _HISTOGRAMS):
        instruments.clear()  # type: ignore[attr-defined]
    _CELLS.let_go()


def read_counts() -> Iterator[tuple[str, float, float]]:
    """Key, value and, of a gauge, when it was set (seconds since 1970), of everything counted here."""
    return _CELLS.read()


def make_key(metric: str, labels: tuple[str, ...], part: str = "") -> str:
    """The name of a number in the file. `part`: of a histogram the bucket's upper bound, or `SUM`."""
    return json.dumps([metric, labels, part])


@lru_cache(maxsize=16384)
def read_key(key: str) -> tuple[str, tuple[str, ...], str]:
    """The inverse of `make_key`."""
    metric, labels, part = json.loads(key)
    return metric, tuple(labels), part


@lru_cache(maxsize=1024)
def show_bound(bound: float) -> str:
    """A bucket's upper bound as Prometheus writes it."""
    return str(floatToGoString(bound))


class CounterSeries:
    """One series of a counter."""

    __slots__ = ("_cell",)

    def __init__(self, metric: Metric, labels: tuple[str, ...]) -> None:
        self._cell = _CELLS.make(make_key(metric.name, labels))

    def add(self, amount: float = 1.0) -> None:
        """Count; amounts below zero are not for counters."""
        _CELLS.add(self._cell, amount)


class GaugeSeries:
    """One series of a gauge."""

    __slots__ = ("_cell",)

    def __init__(self, metric: Metric, labels: tuple[str, ...]) -> None:
        self._cell = _CELLS.make(make_key(metric.name, labels))

    def set(self, value: float) -> None:
        """This is how it stands."""
        _CELLS.put(self._cell, value)

    def add(self, amount: float) -> None:
        """So much more, or less."""
        _CELLS.add(self._cell, amount)


class HistogramSeries:
    """One series of a histogram: a value counts in the first bucket whose upper bound it does not pass."""

    __slots__ = ("_bounds", "_buckets", "_sum")

    def __init__(self, metric: Metric, labels: tuple[str, ...]) -> None:
        self._bounds = metric.buckets
        keys = [show_bound(bound) for bound in (*metric.buckets, float("inf"))]
        self._buckets = [_CELLS.make(make_key(metric.name, labels, key)) for key in keys]
        self._sum = _CELLS.make(make_key(metric.name, labels, SUM))

    def observe(self, value: float) -> None:
        """Count a value."""
        bucket = self._buckets[bisect.bisect_left(self._bounds, value)]
        _CELLS.add_two(bucket, 1.0, self._sum, value)


SeriesT = TypeVar("SeriesT", CounterSeries, GaugeSeries, HistogramSeries)


class _Instrument(Generic[SeriesT]):
    """The series of one metric by their labels, at most `MAX_SERIES` and one for all others together."""

    def __init__(self, metric: Metric, kind: type[SeriesT]) -> None:
        self.metric = metric
        self._kind: type[SeriesT] = kind
        self._series: dict[tuple[str, ...], SeriesT] = {}

    def of(self, *labels: str) -> SeriesT:
        """The series of these label values, in the order of `metric.labels`."""
        found = self._series.get(labels)
        return self._add(labels) if found is None else found

    def _add(self, labels: tuple[str, ...]) -> SeriesT:
        if len(labels) != len(self.metric.labels):
            raise ValueError(f"{self.metric.name} has the labels {self.metric.labels}, not {labels}")
        others = (OTHER,) * len(labels)
        if labels != others and len(self._series) >= MAX_SERIES:
            counter(catalogue.SERIES_REFUSED).of(self.metric.name).add()
            return self.of(*others)
        return self._series.setdefault(labels, self._kind(self.metric, labels))


_COUNTERS: dict[str, _Instrument[CounterSeries]] = {}
_GAUGES: dict[str, _Instrument[GaugeSeries]] = {}
_HISTOGRAMS: dict[str, _Instrument[HistogramSeries]] = {}


def counter(metric: Metric) -> _Instrument[CounterSeries]:
    """What counts `metric` in this process; the same one each time."""
    return _find(_COUNTERS, metric, CounterSeries, "counter")


def gauge(metric: Metric) -> _Instrument[GaugeSeries]:
    """As `counter`."""
    return _find(_GAUGES, metric, GaugeSeries, "gauge")


def histogram(metric: Metric) -> _Instrument[HistogramSeries]:
    """As `counter`."""
    return _find(_HISTOGRAMS, metric, HistogramSeries, "histogram")


def _find(
    known: dict[str, _Instrument[SeriesT]], metric: Metric, kind: type[SeriesT], name: str
) -> _Instrument[SeriesT]:
    found = known.get(metric.name)
    if found is None:
        if metric.kind != name:
            raise ValueError(f"{metric.name} is a {metric.kind}")
        found = known.setdefault(metric.name, _Instrument(metric, kind))
    return found
