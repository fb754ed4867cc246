"""Rates and intervals as they stand in reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from serving.evaluation.markup import Child, element


def show_share(value: float | None, digits: int = 2) -> str:
    """A share in per cent, with more digits where it is small."""
    if value is None:
        return "-"
    if value != 0 and value < 0.001:
        return f"{100 * value:.2g} %"
    return f"{100 * value:.{digits}f} %"


def show_chance(value: float) -> str:
    """A probability in per cent; one that is nearly certain is not said to be."""
    return "more than 99.9 %" if value > 0.999 else show_share(value, 1)


def show_interval(interval: Mapping[str, float] | None) -> str:
    """An interval in per cent, or nothing."""
    if interval is None:
        return ""
    low, high = show_share(interval["low"]), show_share(interval["high"])
    return f"{low.removesuffix(' %')} to {high}"


def show_rate(rate: Mapping[str, Any] | None) -> Child | list[Child]:
    """A rate with its interval below; a rate that is missing is said not to be supported by the data."""
    if rate is None:
        return unsupported()
    interval = show_interval(rate.get("interval"))
    return [show_share(rate["value"]), element("small", interval) if interval else None]


def unsupported() -> Element:
    """What stands in place of a number that the data do not support."""
    return element("span", "not supported by the data", class_="no")
