"""The result of an evaluation on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table

_NO = "not supported"
_FEW_DIGITS_PERCENT = 3
"""From here one digit after the point says all that an interval can."""


def print_evaluation(document: Mapping[str, Any], console: Console) -> None:
    """Everything that one reads first: accuracy, rates, identification, failures, advice."""
    packs: Sequence[Mapping[str, Any]] = document["packs"]
    data = document["data"]
    console.print(f"{data['pictures']:,} pictures of {data['people']:,} people, {data['compared']} compared")
    console.print(_verification(packs))
    if any(pack["identification"] for pack in packs):
        console.print(_identification(packs))
    if any(pack["calibration"] for pack in packs):
        console.print(_calibration(packs))
    console.print(_acquisition(packs))
    console.print(_detection(packs))
    if document["liveness"]:
        console.print(_attacks(document["liveness"]))
    for pack in packs:
        console.print(f"[bold]What thresholds of {pack['pack']} cost[/]")
        for row in pack["advice"]:
            console.print(f"  {row['words']}")


def print_attacks(found: Mapping[str, Any], console: Console) -> None:
    """The section on liveness."""
    console.print(_attacks(found))


def _verification(packs: Sequence[Mapping[str, Any]]) -> Table:
    points = packs[0]["verification"]["true_match_rates"]
    table = _make_table(
        "Verification: TMR at each FMR, with 95 % intervals over people",
        "accuracy",
        *(f"at {point['false_match_rate']:g}" for point in points),
        "EER",
    )
    for pack in packs:
        found = pack["verification"]
        accuracy, equal = found["accuracy"], found["equal_error_rate"]
        table.add_row(
            pack["pack"],
            f"{accuracy['mean']:.2%}\n+- {accuracy['standard_error']:.2%}" if accuracy else "-",
            *(show_rate(point["true_match_rate"]) for point in found["true_match_rates"]),
            f"{equal['rate']:.2%}" if equal else "-",
        )
    return table


def _identification(packs: Sequence[Mapping[str, Any]]) -> Table:
    table = _make_table(
        "Identification, open set: at FPIR 1 %, and at the default threshold",
        "enrolled",
        "rank 1",
        "FNIR",
        "FNIR, FPIR",
    )
    for pack in packs:
        found = pack["identification"]
        if found:
            default = found["at_default_threshold"]
            both = "-"
            if default:
                both = f"{default['false_negative_rate']:.2%}, {default['false_positive_rate']:.2%}"
            table.add_row(
                pack["pack"],
                f"{found['gallery']:,}",
                f"{found['rank_1_rate']:.2%}",
                show_rate(found["false_negative_rate"]),
                both,
            )
    return table


def _calibration(packs: Sequence[Mapping[str, Any]]) -> Table:
    table = _make_table("Calibration in force: FMR", "cosine", "predicted", "measured", "ratio")
    for pack in packs:
        for check in (pack["calibration"] or {"checks": []})["checks"]:
            table.add_row(
                pack["pack"],
                f"{check['threshold']:.4f}",
                f"{check['predicted']:g}",
                show_rate(check["measured"]),
                f"{check['ratio']:.2f}" if check["supported"] else _NO,
            )
    return table


def _acquisition(packs: Sequence[Mapping[str, Any]]) -> Table:
    levels = [level["level"] for level in packs[0]["acquisition"]["levels"]]
    table = _make_table("Pictures that cannot be used, or enrolled at each quality level", "used", *levels)
    for pack in packs:
        found = pack["acquisition"]
        shares = [found["failed_to_acquire"], *(level["failed_to_enrol"] for level in found["levels"])]
        table.add_row(pack["pack"], *map(_show_share, shares))
    return table


def _detection(packs: Sequence[Mapping[str, Any]]) -> Table:
    sizes = [row["min_px"] for row in (packs[0]["detection"] or {"recall": []})["recall"]]
    title = "Recall of faces, and" if sizes else "The"
    table = _make_table(
        f"{title} CPU milliseconds of one core (median): find in a picture, embed a face",
        *(f">= {size} px" for size in sizes),
        "find",
        "embed",
    )
    for pack in packs:
        speed = pack["speed"]
        table.add_row(
            pack["pack"],
            *(_show_share(row) for row in (pack["detection"] or {"recall": []})["recall"]),
            *(
                f"{speed[stage]['median']:.1f}" if speed[stage] else "-"
                for stage in ("find_ms_per_picture", "embed_ms_per_face")
            ),
        )
    return table


def _attacks(found: Mapping[str, Any]) -> Table:
    table = Table(
        "pictures of",
        "count",
        "rate",
        "value",
        title=f"Presentation attacks, threshold {found['threshold']:g}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for row in found["apcer"]:
        table.add_row(row["kind"], str(row["of"]), "APCER", show_rate(row))
    table.add_row("living faces", str(found["bpcer"]["of"]), "BPCER", show_rate(found["bpcer"]))
    return table


def show_rate(rate: Mapping[str, Any] | None) -> str:
    """A rate with its interval, or that the data do not support one."""
    if rate is None:
        return _NO
    interval = rate.get("interval")
    text = f"{rate['value']:.2%}"
    if not interval:
        return text
    low, high = 100 * interval["low"], 100 * interval["high"]
    digits = 1 if high >= _FEW_DIGITS_PERCENT else 2
    return f"{text}\n{low:.{digits}f}..{high:.{digits}f}"


def _make_table(title: str, *columns: str) -> Table:
    """A table with a row or more for each pack, that fits 80 columns."""
    numbers = (Column(name, justify="right") for name in columns)
    return Table(
        Column("pack", no_wrap=True),
        *numbers,
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )


def _show_share(found: Mapping[str, Any]) -> str:
    return "-" if found["value"] is None else f"{found['value']:.2%}\nof {found['of']:,}"
