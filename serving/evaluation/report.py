"""The report: one HTML file that needs nothing else, in light and dark, on screen and on paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from serving.evaluation.advice import name_rate
from serving.evaluation.markup import Child, element, render_page, table
from serving.evaluation.report_figures import draw_det, draw_identification, draw_roc, draw_scores
from serving.evaluation.report_sections import (
    add_acquisition,
    add_attacks,
    add_calibration,
    add_fusion,
    add_groups,
    add_identification,
    add_method,
)
from serving.evaluation.wording import show_chance, show_interval, show_rate, show_share

Document = Mapping[str, Any]


def write_report(document: Document) -> str:
    """The page for a result document."""
    packs: Sequence[Document] = document["packs"]
    name = ", ".join(pack["pack"] for pack in packs)
    return render_page(
        f"Evaluation of {name}",
        _header(document),
        _glance(document),
        _advice(packs),
        _curves(packs),
        add_calibration(packs),
        add_identification(packs),
        add_fusion(packs),
        add_groups(packs),
        add_acquisition(packs),
        add_attacks(document["liveness"]),
        add_method(document),
    )


def _header(document: Document) -> Element:
    data = document["data"]
    lead = (
        f"{data['pictures']:,} pictures of {data['people']:,} people, {data['compared']} compared. "
        f"Made {document['made_at'].replace('T', ' ').replace('+00:00', ' UTC')} with Rollcall "
        f"{document['versions'].get('rollcall', '')}."
    )
    count = len(document["packs"])
    title = "Evaluation of " + (document["packs"][0]["pack"] if count == 1 else f"{count} packs")
    return element("header", element("h1", title), element("p", lead, class_="lead"))


def _glance(document: Document) -> Element:
    packs = document["packs"]
    parts: list[Child] = [element("h2", "At a glance")]
    if len(packs) == 1:
        parts.append(element("ul", _tiles(packs[0]), class_="tiles"))
    rows = []
    for pack in packs:
        verification, speed = pack["verification"], pack["speed"]
        accuracy = verification["accuracy"]
        found = pack["identification"]
        rows.append(
            [
                pack["pack"],
                _two(show_share(accuracy["mean"]), f"+- {show_share(accuracy['standard_error'])}")
                if accuracy
                else "-",
                *(show_rate(point["true_match_rate"]) for point in verification["true_match_rates"]),
                show_share(verification["equal_error_rate"]["rate"])
                if verification["equal_error_rate"]
                else "-",
                show_rate(found["false_negative_rate"]) if found else "-",
                _show_ms(speed["find_ms_per_picture"]),
                _show_ms(speed["embed_ms_per_face"]),
            ]
        )
    gallery = next((p["identification"]["gallery"] for p in packs if p["identification"]), None)
    headers = [
        "pack",
        "accuracy",
        *(
            f"TMR at FMR {100 * point['false_match_rate']:g} %"
            for point in packs[0]["verification"]["true_match_rates"]
        ),
        "EER",
        "FNIR at FPIR 1 %" + (f", {gallery:,} enrolled" if gallery else ""),
        "ms to find",
        "ms to embed",
    ]
    parts.append(
        table(headers, rows, "Small: 95 % intervals over people, and the standard error of the folds.")
    )
    parts.append(
        element(
            "p",
            "FMR: share of pairs of strangers accepted. TMR: share of pairs of one person accepted. EER: "
            "where FMR and 1 - TMR meet. FNIR: share of searches of the enrolled that fail. Times: CPU of "
            "one core, median.",
            class_="soft",
        )
    )
    return element("section", parts)


def _tiles(pack: Document) -> Iterable[Element]:
    verification = pack["verification"]
    accuracy = verification["accuracy"]
    if accuracy:
        yield _tile(
            show_share(accuracy["mean"]),
            "accuracy",
            f"{accuracy['folds']} folds, {accuracy['pairs']:,} pairs",
        )
    for point in verification["true_match_rates"]:
        rate = point["true_match_rate"]
        if rate and point["false_match_rate"] <= 1e-3:
            what = f"accepted when strangers pass {name_rate(point['false_match_rate'])}"
            yield _tile(show_share(rate["value"], 1), what, show_interval(rate["interval"]))
    found = pack["identification"]
    if found and found["false_negative_rate"]:
        rate = found["false_negative_rate"]
        what = f"of searches fail, {found['gallery']:,} enrolled, 1 % of strangers found"
        yield _tile(show_share(rate["value"], 1), what, show_interval(rate["interval"]))
    failed = pack["acquisition"]["failed_to_acquire"]
    yield _tile(
        show_share(failed["value"]), "of pictures cannot be used", f"{failed['count']} of {failed['of']:,}"
    )


def _tile(value: str, what: str, more: str) -> Element:
    return element("li", element("b", value), what, element("small", more or "no interval"))


def _advice(packs: Sequence[Document]) -> Element:
    parts: list[Child] = [
        element("h2", "What a threshold costs"),
        element(
            "p",
            "A stricter threshold keeps more strangers out and refuses more of the right people. Choose by "
            "what each of the two mistakes costs you, and by how many people are enrolled: each of them is "
            "one more chance for a stranger.",
        ),
    ]
    for number, pack in enumerate(packs):
        rows: list[list[Any]] = []
        for row in pack["advice"]:
            if row["supported"]:
                chances = [show_chance(each["probability"]) for each in row["stranger_finds_somebody"]]
                missed = f"{100 * row['false_non_match_rate']:.1f} of 100"
                rows.append([name_rate(row["false_match_rate"]), f"{row['threshold']:.4f}", missed, *chances])
            else:
                unknown = element("span", "not supported", class_="no")
                rows.append([name_rate(row["false_match_rate"]), unknown, "-", "-", "-", "-"])
        sizes: Sequence[Document] = next(
            (row["stranger_finds_somebody"] for row in pack["advice"] if row["supported"]), []
        )
        headers = ["strangers accepted", "cosine from", "right people refused"]
        headers += [f"stranger found among {each['people']:,}" for each in sizes] or ["-"] * 3
        words = element("ul", (element("li", row["words"]) for row in pack["advice"]), class_="advice")
        body = [table(headers, rows, pack["pack"]), words]
        if number == 0:
            parts += body
        else:
            parts.append(element("details", element("summary", pack["pack"]), body))
    return element("section", parts)


def _curves(packs: Sequence[Document]) -> Element:
    figures = [draw_roc(packs), draw_det(packs), draw_identification(packs), *(draw_scores(p) for p in packs)]
    drawn = [figure for figure in figures if figure is not None]
    body = element("div", drawn, class_="figures") if drawn else element("p", "The data allow no curve.")
    return element("section", element("h2", "Curves"), body)


def _two(first: str, second: str) -> list[Child]:
    return [first, element("small", second)]


def _show_ms(found: Document | None) -> str:
    return "-" if found is None else f"{found['median']:.1f}"
