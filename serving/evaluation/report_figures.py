"""The figures of the report, from the result's document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element

from serving.evaluation.markup import Child, element, table
from serving.evaluation.plots import (
    Line,
    Mark,
    draw_histogram,
    draw_lines,
    probit_axis,
    rate_axis,
    share_axis,
)

Document = Mapping[str, Any]
_TABLE_ROWS = 12


def draw_roc(packs: Sequence[Document]) -> Element | None:
    """True match rate over false match rate."""
    curves = _verification_curves(packs)
    if not curves:
        return None
    low = _power_below(min(x for _, points in curves for x, _ in points))
    worst = max(y for _, points in curves for _, y in points[: max(1, len(points) // 4)])
    bottom = max(0.0, math.floor((1 - worst) * 20 - 0.5) / 20)
    lines = [Line(name, [(x, 1 - y) for x, y in points]) for name, points in curves]
    title = "ROC: share of one person's pairs accepted, over the share of strangers' pairs accepted"
    svg = draw_lines(
        title,
        _describe_curves("true match rate", "false match rate", lines),
        rate_axis("false match rate", low, 1.0),
        share_axis("true match rate", bottom, 1.0),
        lines,
    )
    caption = "ROC. Higher and further left is better. Curves begin where the data support a rate."
    return _figure(svg, caption, "false match rate", "true match rate", lines)


def draw_det(packs: Sequence[Document]) -> Element | None:
    """False non-match rate over false match rate, both even in the normal deviate."""
    lines = [
        Line(name, [point for point in points if point[1] > 0 and point[0] < 0.6])
        for name, points in _verification_curves(packs)
    ]
    lines = [line for line in lines if len(line.points) > 1]
    if not lines:
        return None
    low = min(x for line in lines for x, _ in line.points)
    bottom = min(y for line in lines for _, y in line.points)
    top = min(0.8, max(y for line in lines for _, y in line.points) * 1.2)
    title = "DET: share of one person's pairs refused, over the share of strangers' pairs accepted"
    svg = draw_lines(
        title,
        _describe_curves("false non-match rate", "false match rate", lines),
        probit_axis("false match rate", low, 0.6),
        probit_axis("false non-match rate", max(bottom * 0.8, 1e-5), max(top, 0.05)),
        lines,
        is_diagonal=True,
    )
    caption = "DET, on normal deviates. Lower is better; on the dotted line both rates are equal."
    return _figure(svg, caption, "false match rate", "false non-match rate", lines)


def draw_identification(packs: Sequence[Document]) -> Element | None:
    """False negative over false positive identification rate."""
    lines = [
        Line(
            f"{pack['pack']}, gallery of {pack['identification']['gallery']:,}",
            [
                (row["false_positive_rate"], row["false_negative_rate"])
                for row in pack["identification"]["curve"]
            ],
        )
        for pack in packs
        if pack["identification"]
    ]
    if not lines:
        return None
    low = min(x for line in lines for x, _ in line.points)
    top = max(y for line in lines for _, y in line.points)
    svg = draw_lines(
        "Identification: share of searches of enrolled people that fail, over strangers' that find somebody",
        _describe_curves("false negative rate", "false positive rate", lines),
        rate_axis("false positive identification rate", low, 1.0),
        share_axis("false negative identification rate", 0.0, min(1.0, top * 1.1 + 0.005)),
        lines,
    )
    caption = "Open-set identification: lower is better. A larger gallery makes both rates worse."
    return _figure(svg, caption, "FPIR", "FNIR", lines)


def draw_scores(pack: Document) -> Element | None:
    """Histogram of scores with the thresholds in force."""
    histogram = pack["verification"]["histogram"]
    if not any(histogram["genuine"]) or not any(histogram["impostor"]):
        return None
    marks = []
    if pack["calibration"]:
        cut = pack["calibration"]["default_threshold"]
        marks.append(Mark(cut, f"default threshold {cut:.4f}"))
        for name in ("low", "high"):
            if name in pack["calibration"]["bands"]:
                edge = pack["calibration"]["bands"][name]
                marks.append(Mark(edge, f"band {name} from {edge:.4f}"))
    edges = histogram["edges"]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    means = {
        kind: sum(m * s for m, s in zip(middles, histogram[kind], strict=True))
        for kind in ("impostor", "genuine")
    }
    svg = draw_histogram(
        f"Scores of {pack['pack']}",
        f"Pairs of different people have a mean cosine of {means['impostor']:.3f}, pairs of one person of "
        f"{means['genuine']:.3f}.",
        edges,
        histogram["impostor"],
        histogram["genuine"],
        marks,
    )
    rows = [
        [f"{low:.3f} to {high:.3f}", f"{impostor:.3%}", f"{genuine:.3%}"]
        for low, high, impostor, genuine in zip(
            edges, edges[1:], histogram["impostor"], histogram["genuine"], strict=False
        )
        if impostor > 0 or genuine > 0
    ]
    numbers = table(["cosine", "different people", "one person"], rows, f"Scores of {pack['pack']}")
    caption = f"{pack['pack']}: each colour sums to 100 %. What overlaps cannot be told apart."
    return element("figure", svg, element("figcaption", caption), _fold(numbers))


def _verification_curves(packs: Sequence[Document]) -> list[tuple[str, list[tuple[float, float]]]]:
    """(name, points of FMR and FNMR, FMR rising) of the packs that have some."""
    return [
        (pack["pack"], [(row["fmr"], row["fnmr"]) for row in pack["verification"]["curve"]])
        for pack in packs
        if pack["verification"]["curve"]
    ]


def _figure(svg: Element, caption: str, x: str, y: str, lines: Sequence[Line]) -> Element:
    """A figure with its numbers in a table for those who cannot see it."""
    rows: list[list[Child]] = []
    for line in lines:
        step = max(1, len(line.points) // _TABLE_ROWS)
        rows += [[line.name, f"{a:.4%}", f"{b:.3%}"] for a, b in line.points[::step]]
    return element(
        "figure", svg, element("figcaption", caption), _fold(table(["curve", x, y], rows, caption))
    )


def _fold(numbers: Element) -> Element:
    return element("details", element("summary", "Numbers"), numbers)


def _describe_curves(y: str, x: str, lines: Sequence[Line]) -> str:
    told = []
    for line in lines:
        at = min(line.points, key=lambda point: abs(math.log10(max(point[0], 1e-9)) + 3))
        told.append(f"{line.name}: {at[1]:.2%} at {at[0]:.2%}")
    return f"{y} at {x}: " + "; ".join(told)


def _power_below(value: float) -> float:
    return float(10 ** math.floor(math.log10(max(value, 1e-9)) + 1e-9))
