"""What the benchmark asks of Rollcall, row by row, and how each row is read from what its part measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["met", "missed", "not run"]
Document = Mapping[str, Any]

MILLION = 1_000_000
MANY_CORES = 16


class NotMeasured(Exception):
    """A part ran and did not measure this; says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A row of the benchmark's table.

    Attributes:
        row: what is measured.
        part: the part of the benchmark that measures it.
        limit: what is asked.
        read: the figure, from the part's JSON.
        at_least: whether the figure must be as large as the limit, rather than as small.
        unit: of limit and figure.
    """

    row: str
    part: str
    limit: float
    read: Callable[[Document], float]
    at_least: bool = False
    unit: str = ""

    def judge(self, document: Document | None, absence: str) -> dict[str, Any]:
        """The row for the report.

        Args:
            document: what the part measured; None: it did not.
            absence: why there is none.
        """
        reached: float | None = None
        why: str | None = absence
        if document is not None:
            try:
                reached, why = self.read(document), None
            except NotMeasured as error:
                why = str(error)
        state: State = "not run"
        if reached is not None:
            is_met = reached >= self.limit if self.at_least else reached <= self.limit
            state = "met" if is_met else "missed"
        return {
            "row": self.row,
            "part": self.part,
            "target": self.limit,
            "at_least": self.at_least,
            "unit": self.unit,
            "reached": reached,
            "state": state,
            "why": why,
        }


def _median(rounds: list[Mapping[str, float]], stage: str) -> float:
    values = sorted(each[stage] for each in rounds)
    return values[len(values) // 2]


def _read_tax(document: Document) -> float:
    rows = [row for row in document["service"] if row["clients"] == 16]
    if not rows:
        raise NotMeasured("no load of 16 clients")
    return float(rows[0]["tax"])


def _read_work_ms(document: Document) -> float:
    return 1e3 * _median(document["seconds"]["one face, 640x480"]["new"], "total")


def _read_start_s(document: Document) -> float:
    return statistics.median(float(each["ready_s"]) for each in document["rounds"])


def _read_decoding(document: Document) -> float:
    rounds = document["decoding_seconds"]
    if not rounds:
        raise NotMeasured("no picture of 12 MP")
    return _median(rounds, "to the input, reduced") / _median(rounds, "to the input, whole")


def _read_lost_accuracy(document: Document) -> float:
    return 100 * float(document["full"]["accuracy"] - document["served"]["accuracy"])


def _read_lost_recall(document: Document) -> float:
    return 100 * float(document["full"]["recall"] - document["served"]["recall"])


def _read_ratio(contender: str, *, large: bool = False) -> Callable[[Document], float]:
    def read(document: Document) -> float:
        cores = document["machine"]["cores"]
        if large and cores < MANY_CORES:
            raise NotMeasured(f"{MANY_CORES} cores are needed, and here are {cores}")
        return min(float(row["ratio"]) for row in document["rows"] if row["contender"] == contender)

    return read


def _read_line(name: str) -> Callable[[Document], float]:
    def read(document: Document) -> float:
        for line in document["lines"]:
            if line["name"] == name:
                if line["measured"] is None:
                    raise NotMeasured("it never came, or nothing was there to be measured")
                return float(line["measured"])
        raise NotMeasured(f"no line {name!r}")

    return read


def _read_matcher(name: str) -> Callable[[Document], float]:
    def read(document: Document) -> float:
        figure = _read_line(name)(document)
        if document["faces"] < MILLION:
            raise NotMeasured(
                f"{figure:.4g} at {document['faces']:,} faces; see docs/load-testing.md for 1 M"
            )
        return figure

    return read


TARGETS = (
    Target("graph tax: CPU of the service / in process, 16 clients", "tax", 1.15, _read_tax),
    Target("the work, one face in 640x480, in process", "work", 25.0, _read_work_ms, unit=" ms"),
    Target("from the command to ready", "start", 15.0, _read_start_s, unit=" s"),
    Target("LFW accuracy lost against full-size fp32", "quality", 0.1, _read_lost_accuracy, unit=" points"),
    Target("recall lost, faces of 32 px and more", "quality", 1.0, _read_lost_recall, unit=" points"),
    Target(
        "the graph alone, empty models / Ray's defaults",
        "empty_graph",
        0.2,
        lambda document: float(document["ratio"]),
    ),
    Target("rate / plain service, every count of clients", "compare", 0.9, _read_ratio("threads"), True),
    Target("the same, 16 cores", "compare", 2.0, _read_ratio("threads", large=True), True),
    Target("rate / naive service, every count of clients", "compare", 2.0, _read_ratio("naive"), True),
    Target("p99 / p50 at 70 % of the peak", "overload", 2.5, _read_line("p99 / p50 at 70 % of the peak")),
    Target("3x the peak: accepted / peak", "overload", 0.95, _read_line("accepted / peak"), True),
    Target(
        "the same, of the cores left to the service",
        "overload",
        0.95,
        _read_line("accepted / peak, of the cores left to the service"),
        True,
    ),
    Target("3x the peak: p99 of refusals", "overload", 100.0, _read_line("p99 of refusals"), unit=" ms"),
    Target(
        "3x the peak: p99 of refusals, once sent",
        "overload",
        100.0,
        _read_line("p99 of refusals, once sent"),
        unit=" ms",
    ),
    Target(
        "3x the peak: refusals without Retry-After",
        "overload",
        0.0,
        _read_line("refusals without Retry-After"),
    ),
    Target("3x the peak: other failures", "overload", 0.0, _read_line("other failures")),
    Target("3x the peak: memory, end / begin", "overload", 1.05, _read_line("memory, end / begin")),
    Target(
        "p99 back to normal after it", "overload", 10.0, _read_line("p99 back to normal after"), unit=" s"
    ),
    Target(
        "matcher, 1 M faces, 16 clients: p99",
        "matcher",
        10.0,
        _read_matcher("p99 through the owner"),
        unit=" ms",
    ),
    Target("the same: recall@1, known", "matcher", 0.999, _read_matcher("recall@1, known probes"), True),
    Target("the same: recall@1, unknown", "matcher", 0.999, _read_matcher("recall@1, unknown probes"), True),
    Target("12 MP to the detector's input / whole decode", "work", 0.45, _read_decoding),
    Target(
        "GPU: pictures/s through HTTP within p99 200 ms",
        "gpu",
        2000.0,
        lambda document: float(document["rate_per_s"]),
        True,
    ),
    Target("GPU: of bare ONNX Runtime", "gpu", 0.7, lambda document: float(document["of_bare"]), True),
    Target(
        "replicas 1 -> 8: of linear", "replicas", 0.85, lambda document: float(document["of_linear"]), True
    ),
)
"""In the order in which they are printed."""
