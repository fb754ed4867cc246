"""Line plots and histograms as inline SVG: no script, no font and no request; colours come from the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from xml.etree.ElementTree import Element

from serving.evaluation.markup import element

WIDTH, HEIGHT = 640, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 24, 16, 52
_TICK_ROOM = 44
_LEGEND_ROW = 20
_LEGEND_WIDTH = 290
_LETTER = 8
_BAR_LEFT = 92
_BAR_ROW = 40
_DASHES = (None, "7 3", "2 3", "9 3 2 3", "4 2", "1 2", "12 3", "6 2 2 2 2 2")
SERIES_COLOURS = len(_DASHES)


@dataclass(frozen=True)
class Axis:
    """One axis: `scale` turns a value into something even, ticks are values with their text."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    scale: Callable[[float], float] = float

    def place(self, value: float) -> float:
        """0 at the low end to 1 at the high end; values outside lie on the ends."""
        low, high = self.scale(self.low), self.scale(self.high)
        inside = min(max(value, self.low), self.high)
        return (self.scale(inside) - low) / (high - low)


@dataclass(frozen=True)
class Line:
    """A curve: its name in the legend, and points in the units of the axes."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Mark:
    """A vertical line at x, with its text."""

    x: float
    text: str


@dataclass(frozen=True)
class Level:
    """A horizontal line at y, with its text."""

    y: float
    text: str


@dataclass(frozen=True)
class Span:
    """A stretch of the x axis, shaded, with its text."""

    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Size:
    """Of a picture, in its own units; on the page it is as wide as there is room."""

    width: int
    height: int


_USUAL = Size(WIDTH, HEIGHT)


def probit_axis(label: str, low: float, high: float) -> Axis:
    """Even in the normal deviate of a rate, the scale of DET curves (Martin et al., Eurospeech 1997)."""
    ticks = [1e-6, 1e-5, 1e-4, 1e-3, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8]
    return Axis(label, low, high, _name_rates(ticks, low, high), NormalDist().inv_cdf)


def rate_axis(label: str, low: float, high: float) -> Axis:
    """Even in the logarithm of a rate."""
    ticks = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0]
    return Axis(label, low, high, _name_rates(ticks, low, high), math.log10)


def share_axis(label: str, low: float, high: float) -> Axis:
    """Even in a share, in per cent, with about five ticks."""
    step = next((s for s in (0.005, 0.01, 0.02, 0.05, 0.1) if (high - low) / s <= 6), 0.2)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple((k * step, f"{100 * k * step:g} %") for k in range(first, last + 1))
    return Axis(label, low, high, ticks)


def cosine_axis(label: str, low: float, high: float) -> Axis:
    """Even in the cosine, with about six ticks."""
    step = next((s for s in (0.02, 0.05, 0.1, 0.2) if (high - low) / s <= 8), 0.25)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(label, low, high, tuple((k * step, f"{k * step:.2f}") for k in range(first, last + 1)))


def draw_lines(
    title: str,
    description: str,
    x: Axis,
    y: Axis,
    lines: Sequence[Line],
    is_diagonal: bool = False,
    *,
    size: Size = _USUAL,
    levels: Sequence[Level] = (),
    spans: Sequence[Span] = (),
) -> Element:
    """A figure of curves.

    is_diagonal adds the line on which both rates are equal. The text of a level stands on its left end,
    that of a span at its top, below levels that are there.
    """
    cell = min(_LEGEND_WIDTH, 60 + _LETTER * max((len(line.name) for line in lines), default=0))
    columns = max(1, (size.width - _LEFT) // cell)
    legend = _LEGEND_ROW * math.ceil(len(lines) / columns) if len(lines) > 1 else 0
    svg, frame = _begin(title, description, x, y, legend, size)
    heights = [frame.place(x, y, x.low, level.y)[1] for level in levels]
    span_text = frame.top + 16.0
    for height in sorted(heights):
        if height - 18 < span_text < height + 13:
            span_text = height + 16
    for span in spans:
        left, right = (frame.place(x, y, value, y.low)[0] for value in (span.low, span.high))
        height = frame.bottom - frame.top
        at = {"x": round(left, 1), "y": frame.top, "width": round(right - left, 1), "height": height}
        svg.append(element("rect", **at, class_="span"))
        svg.append(element("text", span.text, x=round(left + 6, 1), y=round(span_text, 1), class_="tick"))
    for level, height in zip(levels, heights, strict=True):
        svg.append(element("path", d=f"M{_LEFT} {height:.1f}H{frame.right}", class_="mark"))
        svg.append(element("text", level.text, x=_LEFT + 6, y=round(height - 5, 1), class_="note"))
    if is_diagonal:
        ends = (max(x.low, y.low), min(x.high, y.high))
        svg.append(_path([frame.place(x, y, value, value) for value in ends], "guide"))
    for number, line in enumerate(lines):
        points = [frame.place(x, y, *point) for point in line.points]
        svg.append(_path(points, f"line s{number % SERIES_COLOURS}", _DASHES[number % SERIES_COLOURS]))
    if legend:
        svg.append(_draw_legend([line.name for line in lines], columns, cell))
    return svg


def draw_bars(
    title: str, description: str, x: Axis, parts: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]]
) -> Element:
    """Horizontal bars of named rows, each stacked of the same parts; x begins at 0."""
    height = _LEGEND_ROW + _TOP + _BAR_ROW * len(rows) + _BOTTOM
    y = Axis("", 0.0, float(len(rows)), ())
    svg, frame = _begin(title, description, x, y, _LEGEND_ROW, Size(WIDTH, height), left=_BAR_LEFT)
    for number, (name, values) in enumerate(rows):
        top = frame.top + _BAR_ROW * number + 6
        begin = 0.0
        for slot, value in enumerate(values):
            left, right = (frame.place(x, y, at, 0.0)[0] for at in (begin, begin + value))
            at = {"x": round(left, 1), "y": top, "width": round(right - left, 1), "height": _BAR_ROW - 12}
            svg.append(element("rect", **at, class_=f"bar s{slot % SERIES_COLOURS}"))
            begin += value
        middle = top + (_BAR_ROW - 12) / 2 + 4
        svg.append(element("text", name, x=_BAR_LEFT - 8, y=middle, text_anchor="end", class_="note"))
        end, _ = frame.place(x, y, begin, 0.0)
        svg.append(
            element(
                "text",
                f"{begin:,.0f}" if begin >= 100 else f"{begin:.3g}",
                x=round(end + 6, 1),
                y=middle,
                class_="note",
            )
        )
    for slot, part in enumerate(parts):
        left = _BAR_LEFT + 120 * slot
        svg.append(element("rect", x=left, y=4, width=14, height=10, class_=f"bar s{slot}"))
        svg.append(element("text", part, x=left + 20, y=13, class_="note"))
    return svg


def draw_histogram(
    title: str,
    description: str,
    edges: Sequence[float],
    impostor: Sequence[float],
    genuine: Sequence[float],
    marks: Sequence[Mark],
) -> Element:
    """Shares of scores of strangers and of one person, with thresholds as vertical lines."""
    top = max([*impostor, *genuine], default=0) or 1.0
    x = cosine_axis("cosine", edges[0], edges[-1])
    y = share_axis("share of pairs", 0.0, top * 1.05)
    room = _LEGEND_ROW * (1 + len(marks))
    svg, frame = _begin(title, description, x, y, room)
    for shares, name in ((impostor, "impostor"), (genuine, "genuine")):
        outline = [(edges[0], 0.0)]
        for low, high, share in zip(edges, edges[1:], shares, strict=False):
            outline += [(low, share), (high, share)]
        outline.append((edges[-1], 0.0))
        svg.append(_path([frame.place(x, y, *point) for point in outline], f"area {name}"))
    # The outermost line begins highest, so that no text crosses another's line.
    middle = (edges[0] + edges[-1]) / 2
    for number, mark in enumerate(sorted(marks, key=lambda mark: -abs(mark.x - middle))):
        left, _ = frame.place(x, y, mark.x, 0.0)
        height = _TOP + _LEGEND_ROW * (number + 1)
        svg.append(element("path", d=f"M{left:.1f} {height}V{HEIGHT - _BOTTOM}", class_="mark"))
        # The text stands on the side that has room for it.
        on_left = left > WIDTH / 2
        svg.append(
            element(
                "text",
                mark.text,
                x=round(left + (-6 if on_left else 6), 1),
                y=height + 8,
                text_anchor="end" if on_left else "start",
                class_="note",
            )
        )
    for place, (name, text) in enumerate((("impostor", "different people"), ("genuine", "one person"))):
        left = _LEFT + 150 * place
        svg.append(element("rect", x=left, y=4, width=14, height=10, class_=f"area {name}"))
        svg.append(element("text", text, x=left + 20, y=13, class_="note"))
    return svg


@dataclass(frozen=True)
class _Frame:
    """The rectangle inside the axes."""

    left: float
    right: float
    top: float
    bottom: float

    def place(self, x: Axis, y: Axis, at: float, height: float) -> tuple[float, float]:
        return (
            self.left + x.place(at) * (self.right - self.left),
            self.bottom - y.place(height) * (self.bottom - self.top),
        )


def _begin(
    title: str, description: str, x: Axis, y: Axis, legend: int, size: Size = _USUAL, left: int = _LEFT
) -> tuple[Element, _Frame]:
    """The picture with its grid and axes; legend: room above it in pixels."""
    frame = _Frame(left, size.width - _RIGHT, _TOP + legend, size.height - _BOTTOM)
    svg = element(
        "svg",
        element("title", title),
        element("desc", description),
        viewBox=f"0 0 {size.width} {size.height}",
        role="img",
        class_="plot",
    )
    free = 0.0
    for value, text in x.ticks:
        at, _ = frame.place(x, y, value, y.low)
        svg.append(element("path", d=f"M{at:.1f} {frame.top}V{frame.bottom}", class_="grid"))
        if at < free:
            continue
        free = at + _TICK_ROOM
        svg.append(
            element("text", text, x=round(at, 1), y=frame.bottom + 18, text_anchor="middle", class_="tick")
        )
    for value, text in y.ticks:
        _, height = frame.place(x, y, x.low, value)
        svg.append(element("path", d=f"M{left} {height:.1f}H{frame.right}", class_="grid"))
        svg.append(
            element("text", text, x=left - 8, y=round(height + 4, 1), text_anchor="end", class_="tick")
        )
    svg.append(element("path", d=f"M{left} {frame.top}V{frame.bottom}H{frame.right}", class_="axis"))
    middle = (left + frame.right) / 2
    svg.append(element("text", x.label, x=middle, y=size.height - 10, text_anchor="middle", class_="label"))
    height = (frame.top + frame.bottom) / 2
    svg.append(
        element(
            "text",
            y.label,
            text_anchor="middle",
            class_="label",
            transform=f"translate(14 {height}) rotate(-90)",
        )
    )
    return svg, frame


def _path(points: Sequence[tuple[float, float]], kind: str, dashes: str | None = None) -> Element:
    steps = "L".join(f"{left:.1f} {height:.1f}" for left, height in points)
    return element("path", d=f"M{steps}" if steps else "M0 0", class_=kind, stroke_dasharray=dashes)


def _draw_legend(names: Sequence[str], columns: int, cell: int) -> Element:
    legend = element("g")
    for number, name in enumerate(names):
        left = _LEFT + cell * (number % columns)
        height = 10 + _LEGEND_ROW * (number // columns)
        slot = number % SERIES_COLOURS
        legend.append(
            element(
                "path",
                d=f"M{left} {height}h34",
                class_=f"line s{slot}",
                stroke_dasharray=_DASHES[slot],
            )
        )
        legend.append(element("text", name, x=left + 42, y=height + 4, class_="note"))
    return legend


def _name_rates(ticks: Sequence[float], low: float, high: float) -> tuple[tuple[float, str], ...]:
    inside = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    return tuple((tick, f"{100 * tick:g} %".replace("e-0", "e-")) for tick in inside)
