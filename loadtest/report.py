"""The report: one HTML file that needs nothing else, in light and dark, on screen and on paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from loadtest.report_figures import (
    draw_distribution,
    draw_histogram,
    draw_latency_over_time,
    draw_rates,
    draw_search,
    draw_stage_series,
    draw_stage_times,
)
from serving.evaluation.markup import Child, element, render_page, table

Document = Mapping[str, Any]
_STYLE = """
.verdict { font-weight: 650; border-left: .35rem solid var(--s2); padding: .35rem .9rem;
  background: var(--panel); }
.verdict.missed { border-color: var(--s6); }
.tiles { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
.lead { max-width: none; }
.wide { margin: 1.5rem 0 2rem; }
td.no, td .no { color: var(--s6); font-weight: 650; }
"""
_PERCENTILES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p99.9_ms", "max_ms")


def write_page(document: Document) -> str:
    """The page for a document of `outcome`."""
    return render_page(
        f"Load of {document['made_at'][:16].replace('T', ' ')}",
        _header(document),
        _objectives(document),
        _search(document),
        _latency(document),
        _kinds(document),
        _service(document),
        _reasons(document),
        _method(document),
        style=_STYLE,
    )


def _header(document: Document) -> Element:
    total, settings = document["total"], document["settings"]
    how = "closed loop" if settings["closed"] else "open-loop Poisson arrivals"
    model = document.get("model") or {}
    made_at = document["made_at"].replace("T", " ").replace("+00:00", " UTC")
    lead = (
        f"{', '.join(document['users'])}, {how}, shape {settings['shape']}, {document['seconds']:.0f} s. "
        f"Pack {model.get('pack_id', 'unknown')}. {made_at}."
    )
    latency = total["latency"]
    tiles = [
        _tile(
            _show(total["accepted_per_s"]), "accepted a second", f"{_show(total['offered_per_s'])} offered"
        ),
        _tile(_show(latency["p50_ms"]), "ms median", "from when a request was due"),
        _tile(_show(latency["p95_ms"]), "ms p95", f"p99.9 {_show(latency['p99.9_ms'])} ms"),
        _tile(
            _show(latency["p99_ms"]), "ms p99", f"p99 / p50 {_divide(latency['p99_ms'], latency['p50_ms'])}"
        ),
        _tile(_percent(total["shed"], total["offered"]), "shed", f"{total['shed']:,} answers 429 or 503"),
        _tile(
            _percent(total["failed"] + total["unfinished"], total["offered"]),
            "failed",
            f"{total['failed'] + total['unfinished']:,}, and {total['not_sent']:,} not sent",
        ),
    ]
    return element(
        "header",
        element("h1", "Load test"),
        element("p", lead, class_="lead"),
        element("ul", tiles, class_="tiles"),
    )


def _objectives(document: Document) -> Element | None:
    if document["search"]:
        return None
    slo = document["slo"]
    missed = [line["name"] for line in slo["lines"] if not line["is_held"]]
    words = f"Missed: {', '.join(missed)}" if missed else "Every objective was held"
    rows = [
        [
            line["name"],
            f"{'at least' if line['at_least'] else 'at most'} {line['limit']:g}{line['unit']}",
            "nothing" if line["measured"] is None else f"{line['measured']:.5g}{line['unit']}",
            "held" if line["is_held"] else element("span", "missed", class_="no"),
        ]
        for line in slo["lines"]
    ]
    return element(
        "section",
        element("h2", "Objectives"),
        element("p", words + ".", class_="verdict missed" if missed else "verdict"),
        table(["objective", "asked", "measured", "verdict"], rows),
    )


def _search(document: Document) -> Element | None:
    found = document["search"]
    if not found:
        return None
    result = found["result_per_s"]
    words = (
        f"{result:.4g} requests a second hold: {document['slo']['objectives']}. "
        f"Repeated {found['repeats']} times, held {found['held']} times; "
        f"found to {100 * found['precision']:g} %."
        if result
        else f"No rate holds: {document['slo']['objectives']}."
    )
    return element(
        "section",
        element("h2", "The highest rate that holds"),
        element("p", words, class_="verdict" if result else "verdict missed"),
        draw_search(document),
    )


def _latency(document: Document) -> Element:
    over_time = draw_latency_over_time(document)
    parts: list[Child] = [element("h2", "Latency"), _wide(over_time)]
    pair = [each for each in (draw_distribution(document), draw_histogram(document)) if each is not None]
    parts += [element("div", pair, class_="figures"), element("h2", "Rate"), _wide(draw_rates(document))]
    return element("section", parts)


def _kinds(document: Document) -> Element:
    rows = []
    for kind, cell in [*document["kinds"].items(), ("all", document["total"])]:
        counts = [f"{cell[name]:,}" for name in ("offered", "accepted", "shed", "failed", "not_sent")]
        rows.append(
            [kind.replace("_", " "), *counts, *(_show(cell["latency"][name]) for name in _PERCENTILES)]
        )
    headers = ["request", "offered", "accepted", "shed", "failed", "not sent"]
    headers += [name.removesuffix("_ms") for name in _PERCENTILES]
    words = "Latency in milliseconds, of accepted requests, from when they were due."
    shed = document["total"]["shed_latency"]
    more = None
    if shed["count"]:
        without = document["shed_without_retry_after"]
        more = element(
            "p",
            f"Shed requests were answered within {_show(shed['p50_ms'])} ms (median), "
            f"{_show(shed['p99_ms'])} ms (p99), {_show(shed['max_ms'])} ms at most; "
            f"{without:,} of {shed['count']:,} without Retry-After.",
        )
    return element("section", element("h2", "By request"), table(headers, rows, words), more)


def _service(document: Document) -> Element | None:
    found = document["service"]
    if not found:
        return None
    figures = [
        draw_stage_times(document),
        *(draw_stage_series(document, w) for w in ("time", "batch", "replicas", "memory")),
    ]
    rows = [
        [
            stage,
            _show(each["tasks_per_s"]),
            _show(each["batch"]),
            _show(each["parcel"]),
            _show(each["busy_replicas"]),
            *(_show(value) for value in each["mean_ms"].values()),
        ]
        for stage, each in found["stages"].items()
    ]
    headers = [
        "stage",
        "tasks/s",
        "batch",
        "parcel",
        "busy replicas",
        "queue",
        "transport",
        "batch wait",
        "model",
    ]
    cores = ", ".join(f"{who} {value:.2f}" for who, value in found["cores_by_deployment"].items())
    memory = found["memory"]
    words = f"Cores used by the replicas: {cores or 'unknown'}."
    if memory["growth"]:
        first, last = (memory[name] / 2**20 for name in ("first_bytes", "last_bytes"))
        words += f" Their memory went from {first:,.0f} to {last:,.0f} MiB."
    return element(
        "section",
        element("h2", "In the service"),
        table(headers, rows, "From Rollcall's metrics; the last four are mean milliseconds of one task."),
        element("p", words),
        element("div", [each for each in figures if each is not None], class_="figures"),
    )


def _reasons(document: Document) -> Element | None:
    if not document["reasons"]:
        return None
    rows = [[reason, f"{count:,}"] for reason, count in document["reasons"].items()]
    return element(
        "section", element("h2", "What was not accepted"), table(["request: answer", "count"], rows)
    )


def _method(document: Document) -> Element:
    machine, lag = document["machine"], document["generator_lag"]
    settings = [[name, f"{value}"] for name, value in document["settings"].items() if value not in (None, "")]
    facts = (
        f"Load generator: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}, "
        f"load average {machine['load_average'][0]:.1f} at the end. It sent requests "
        f"{_show(lag['p50_ms'])} ms late (median), {_show(lag['p99_ms'])} ms (p99), "
        f"{_show(lag['max_ms'])} ms at most; that is part of every latency here."
    )
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    unexpected = document["unexpected_answers"]
    told = ", ".join(f"{count:,} of {kind.replace('_', ' ')}" for kind, count in unexpected.items())
    words = f"Accepted answers that did not name whom they should: {told}." if told else ""
    return element(
        "section",
        element("h2", "How it was measured"),
        element("p", facts),
        element("p", words) if words else None,
        element("p", f"Commit {document['commit'] or 'unknown'}. {versions}."),
        element("details", element("summary", "Settings"), table(["option", "value"], settings)),
    )


def _wide(figure: Element | None) -> Element | None:
    return None if figure is None else element("div", figure, class_="wide")


def _tile(value: str, what: str, more: str) -> Element:
    return element("li", element("b", value), what, element("small", more))


def _show(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _percent(count: int, of: int) -> str:
    return f"{100 * count / of:.3g} %" if of else "-"


def _divide(over: float | None, under: float | None) -> str:
    return f"{over / under:.2f}" if over and under else "-"
