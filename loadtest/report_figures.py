"""The figures of a load report, from its document."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element

from loadtest.latencies import Latencies
from loadtest.stages import PARTS
from loadtest.tally import Cell
from serving.evaluation.markup import element, table
from serving.evaluation.plots import Axis, Level, Line, Size, Span, draw_bars, draw_lines

Document = Mapping[str, Any]

WIDE = Size(1080, 400)
MAX_POINTS = 240
"""Of a curve over time; neighbours become one."""

_TABLE_ROWS = 40
_NINES = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


def draw_latency_over_time(document: Document) -> Element | None:
    """Percentiles of accepted requests by when they were due."""
    rows = _gather(document, fewest=20)
    lines = []
    for percent in (50, 95, 99):
        points = [(at, cell.accepted.percentile_s(percent)) for at, cell in rows]
        lines.append(Line(f"p{percent}", [(at, 1000 * value) for at, value in points if value is not None]))
    lines.append(
        Line("longest", [(at, 1000 * cell.accepted.max_s) for at, cell in rows if cell.accepted.count])
    )
    values = [value for line in lines for _, value in line.points]
    if not values:
        return None
    limits = [
        Level(line["limit"], f"{line['name']} at most {line['limit']:g} ms")
        for line in document["slo"]["lines"]
        if line["unit"] == " ms"
    ]
    top = max([*values, *(level.y for level in limits)])
    svg = draw_lines(
        "Latency over time",
        _tell_last(lines, "ms"),
        _time_axis(document),
        milliseconds_axis("latency, ms", min(values), top),
        lines,
        size=WIDE,
        levels=limits,
        spans=_find_spans(document),
    )
    each_s = rows[1][0] - rows[0][0] if len(rows) > 1 else document["seconds"]
    caption = (
        f"Accepted requests by when they were due, in stretches of about {each_s:g} s: what is drawn at 10 s "
        "was due then, whenever it was answered."
    )
    return _figure(svg, caption, ["", "s", "ms"], lines)


def draw_rates(document: Document) -> Element:
    """Requests a second: offered, and what became of them."""
    rows = _gather(document, fewest=1)
    interval_s = _stretch_s(document, rows)
    wanted: Sequence[tuple[str, Callable[[Cell], float]]] = (
        ("offered", lambda cell: cell.offered),
        ("accepted", lambda cell: cell.fates["accepted"]),
        ("shed (429, 503)", lambda cell: cell.fates["shed"]),
        ("failed or not sent", lambda cell: cell.fates["failed"] + cell.fates["not_sent"]),
    )
    lines = [Line(name, [(at, count(cell) / interval_s) for at, cell in rows]) for name, count in wanted]
    top = max([value for line in lines for _, value in line.points], default=1.0)
    svg = draw_lines(
        "Requests a second over time",
        _tell_last(lines, "a second"),
        _time_axis(document),
        count_axis("requests a second", top),
        lines,
        size=WIDE,
        spans=_find_spans(document),
    )
    return _figure(
        svg,
        "By when they were due. Offered is what was due, whether or not it was sent.",
        ["", "s", "1/s"],
        lines,
    )


def draw_distribution(document: Document) -> Element | None:
    """Latency over percentile, even in the number of nines, as HdrHistogram draws it."""
    lines = []
    for kind, cell in [("all", document["total"]), *document["kinds"].items()]:
        latencies = Latencies.read(cell["latency"])
        if latencies.count and (kind != "all" or len(document["kinds"]) > 1):
            lines.append(Line(kind.replace("_", " "), _trace(latencies)))
    if not lines:
        return None
    values = [value for line in lines for _, value in line.points]
    last = max(share for line in lines for share, _ in line.points)
    highest = next((nine for nine in _NINES if nine >= last), _NINES[-1])
    ticks = tuple(
        (nine, "median" if nine == 0.5 else f"{100 * nine:g} %") for nine in _NINES if nine <= highest
    )
    svg = draw_lines(
        "Latency by percentile",
        "; ".join(
            f"{line.name}: {line.points[-1][1]:.0f} ms at {100 * line.points[-1][0]:.3g} %" for line in lines
        ),
        Axis(
            "share of accepted requests that were at most as slow",
            0.0,
            max(highest, 0.9),
            ticks,
            _count_nines,
        ),
        milliseconds_axis("latency, ms", min(values), max(values)),
        lines,
    )
    return _figure(svg, "Each step to the right is ten times rarer.", ["kind", "share", "ms"], lines)


def draw_histogram(document: Document) -> Element | None:
    """How many requests took how long."""
    latencies = Latencies.read(document["total"]["latency"])
    shed = Latencies.read(document["total"]["shed_latency"])
    lines = [
        Line(name, _outline(each)) for name, each in (("accepted", latencies), ("shed", shed)) if each.count
    ]
    if not lines:
        return None
    places = [at for line in lines for at, _ in line.points]
    top = max(value for line in lines for _, value in line.points)
    svg = draw_lines(
        "Distribution of latency",
        "; ".join(
            f"{line.name}: most at {max(line.points, key=lambda point: point[1])[0]:.0f} ms" for line in lines
        ),
        milliseconds_axis("latency, ms", min(places), max(places)),
        count_axis("requests", top),
        lines,
    )
    return _figure(svg, "In stretches of equal width on the logarithmic axis.", ["", "ms", "requests"], lines)


def draw_stage_times(document: Document) -> Element | None:
    """Where the time of one task went, by stage."""
    stages = document["service"]["stages"] if document["service"] else {}
    rows = [(stage, [stages[stage]["mean_ms"][part] or 0.0 for part in PARTS]) for stage in stages]
    if not rows:
        return None
    top = max(sum(values) for _, values in rows) * 1.12
    told = "; ".join(f"{stage}: {sum(values):.3g} ms" for stage, values in rows)
    x = count_axis("milliseconds, mean of one task", top)
    svg = draw_bars("Where the time goes, by stage", told, x, PARTS, rows)
    caption = (
        "Queue: in the ingress, for a call. Transport: both ways. Batch wait: in the replica. Model: the "
        "batch it is in."
    )
    lines = [Line(stage, list(zip(range(len(PARTS)), values, strict=True))) for stage, values in rows]
    numbers = table(
        ["stage", *PARTS], [[line.name, *(f"{v:.2f}" for _, v in line.points)] for line in lines], caption
    )
    return element("figure", svg, element("figcaption", caption), _fold(numbers))


def draw_stage_series(document: Document, what: str) -> Element | None:
    """Over time, by stage or deployment: `batch`, `model`, `replicas` or `memory`."""
    rows = document["service"]["series"] if document["service"] else []
    titles = {
        "batch": (
            "Tasks in a batch",
            "tasks, mean",
            "Larger batches under load are what makes the load cheaper.",
        ),
        "time": (
            "Time in a stage",
            "ms, mean of one task",
            "Queue, transport, batch wait and model together.",
        ),
        "replicas": ("Replicas", "replicas", "Living replicas by deployment."),
        "memory": (
            "Memory",
            "MiB resident",
            "Resident memory of the replicas, what they share counted in each.",
        ),
    }
    read: dict[str, Callable[[Document], Mapping[str, float | None]]] = {
        "batch": lambda row: {stage: each["batch"] for stage, each in row["stages"].items()},
        "time": lambda row: {
            stage: sum(value or 0.0 for value in each["mean_ms"].values())
            for stage, each in row["stages"].items()
        },
        "replicas": lambda row: row["replicas"],
        "memory": lambda row: {who: value / 2**20 for who, value in row["resident_bytes"].items()},
    }
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for who, value in read[what](row).items():
            if value is not None:
                points.setdefault(who, []).append((row["at_s"], value))
    lines = [Line(who, series) for who, series in points.items() if len(series) > 1]
    if not lines:
        return None
    title, label, caption = titles[what]
    top = max(value for line in lines for _, value in line.points)
    y = (
        milliseconds_axis(label, min(v for line in lines for _, v in line.points if v > 0), top)
        if what == "time"
        else count_axis(label, top)
    )
    svg = draw_lines(title, _tell_last(lines, ""), _time_axis(document), y, lines)
    return _figure(svg, f"{title}. {caption}", ["", "s", label], lines)


def draw_search(document: Document) -> Element | None:
    """The trials of a search."""
    if not document["search"]:
        return None
    trials = document["search"]["trials"]
    lines = [Line("offered", [(n, trial["rate_per_s"]) for n, trial in enumerate(trials, start=1)])]
    levels = []
    if document["search"]["result_per_s"]:
        levels = [
            Level(document["search"]["result_per_s"], f"{document['search']['result_per_s']:.4g} a second")
        ]
    top = max(trial["rate_per_s"] for trial in trials)
    ticks = tuple(
        (float(n), f"{n} {'held' if t['is_held'] else 'missed'}") for n, t in enumerate(trials, start=1)
    )
    x = Axis("trial", 0.5, len(trials) + 0.5, ticks)
    svg = draw_lines(
        "The search",
        _tell_last(lines, "a second"),
        x,
        count_axis("offered, a second", top),
        lines,
        size=WIDE,
        levels=levels,
    )
    return _figure(
        svg, "What each trial offered, and whether the objectives held.", ["", "trial", "1/s"], lines
    )


def milliseconds_axis(label: str, low: float, high: float) -> Axis:
    """Even in the logarithm, with ticks at 1, 2 and 5."""
    low, high = max(low, 0.01) / 1.15, max(high, low * 1.5, 0.02) * 1.15
    ticks = []
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        ticks += [(factor * 10.0**power, f"{factor * 10.0**power:,.10g}") for factor in (1, 2, 5)]
    inside = tuple(tick for tick in ticks if low <= tick[0] <= high)
    if len(inside) > 9:
        inside = tuple(tick for tick in inside if tick[1].strip("0.,").startswith("1"))
    return Axis(label, low, high, inside, math.log10)


def count_axis(label: str, top: float) -> Axis:
    """From 0, with about five ticks."""
    top = max(top, 1e-9) * 1.06
    power = 10.0 ** math.floor(math.log10(top / 5))
    step = next(factor * power for factor in (1, 2, 5, 10) if top / (factor * power) <= 6)
    return Axis(
        label, 0.0, top, tuple((k * step, f"{k * step:,.10g}") for k in range(math.floor(top / step) + 1))
    )


def _time_axis(document: Document) -> Axis:
    seconds = max(document["seconds"], 1.0)
    unit, word = (
        (3600.0, "hours") if seconds > 10_000 else (60.0, "minutes") if seconds > 600 else (1.0, "seconds")
    )
    axis = count_axis("", seconds / unit / 1.06)
    ticks = tuple((value * unit, text) for value, text in axis.ticks)
    return Axis(f"{word} since the load began", 0.0, seconds, ticks)


def _gather(document: Document, fewest: int) -> list[tuple[float, Cell]]:
    """The time series as (middle, counts), as fine as MAX_POINTS and `fewest` accepted in each allow."""
    interval_s = document["series"]["interval_s"]
    cells = {row["at_s"] // interval_s: Cell.read(row) for row in document["series"]["rows"]}
    if not cells:
        return []
    count = max(cells) + 1
    accepted = sum(cell.accepted.count for cell in cells.values())
    step = max(
        1,
        math.ceil(count / MAX_POINTS),
        min(math.ceil(count / 12), math.ceil(fewest * count / max(1, accepted))),
    )
    rows: list[tuple[float, Cell]] = []
    for first in range(0, count, step):
        # The last stretch is drawn when it is whole, or it would seem to fall.
        if first + step <= count or not rows:
            cell = Cell().merge(cells[at] for at in range(first, min(count, first + step)) if at in cells)
            rows.append(((first + step / 2) * interval_s, cell))
    return rows


def _stretch_s(document: Document, rows: Sequence[tuple[float, Cell]]) -> float:
    return rows[1][0] - rows[0][0] if len(rows) > 1 else max(1.0, document["seconds"])


def _find_spans(document: Document) -> list[Span]:
    spans = []
    if document["judged"]["from_s"] > 0:
        spans.append(Span(0.0, document["judged"]["from_s"], "warm-up"))
    phases = document["phases"]
    # Every other phase is shaded; where all are named, the name says more than its number.
    return [*spans, *(Span(p["from_s"], p["to_s"], p.get("name", "")) for p in phases[1::2])]


def _trace(latencies: Latencies) -> list[tuple[float, float]]:
    shares = [1 - 10 ** (-step / 20) for step in range(0, 101)]
    kept = [share for share in shares if share <= 1 - 1 / latencies.count] or [0.0]
    points = [(share, latencies.percentile_s(100 * share)) for share in kept]
    return [(share, 1000 * value) for share, value in points if value is not None]


def _outline(latencies: Latencies) -> list[tuple[float, float]]:
    counts: dict[int, int] = {}
    for bucket, count in latencies.buckets.items():
        counts[bucket // 8] = counts.get(bucket // 8, 0) + count
    points: list[tuple[float, float]] = []
    places = range(min(counts), max(counts) + 1)
    edges = [1000 * 1e-5 * 1.01 ** (8 * place) for place in (*places, places[-1] + 1)]
    for place, (low, high) in zip(places, pairwise(edges), strict=True):
        points += [(low, counts.get(place, 0)), (high, counts.get(place, 0))]
    return [(points[0][0], 0.0), *points, (points[-1][0], 0.0)]


def _count_nines(share: float) -> float:
    return -math.log10(max(1 - share, 1e-12))


def _tell_last(lines: Sequence[Line], unit: str) -> str:
    return "At the end: " + "; ".join(
        f"{line.name} {line.points[-1][1]:.3g} {unit}".strip() for line in lines if line.points
    )


def _figure(svg: Element, caption: str, headers: Sequence[str], lines: Sequence[Line]) -> Element:
    rows: list[list[str]] = []
    for line in lines:
        step = max(1, len(line.points) // _TABLE_ROWS)
        rows += [[line.name, f"{x:.4g}", f"{y:.4g}"] for x, y in line.points[::step]]
    return element("figure", svg, element("figcaption", caption), _fold(table(list(headers), rows, caption)))


def _fold(numbers: Element) -> Element:
    return element("details", element("summary", "Numbers"), numbers)
