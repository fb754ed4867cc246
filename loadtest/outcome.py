"""What a load gave: one document, as JSON and as a page, and whether it held its objectives.

The document's form is `report.schema.json`; its version changes when a reader of the old one would go wrong.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from loadtest.latencies import GROWTH, SMALLEST_S
from loadtest.machine import describe_run
from loadtest.options import describe_options, read_objectives
from loadtest.report import write_page
from loadtest.scraping import Snapshot, ask_prometheus
from loadtest.slo import judge, measure_drift
from loadtest.stages import describe_stages
from loadtest.tally import Cell, Tally

if TYPE_CHECKING:  # importing it makes a process Locust's, with its own idea of threads and sockets
    from loadtest.driver import Driver

SCHEMA = "rollcall-load/1"
SCHEMA_FILE = Path(__file__).with_name("report.schema.json")

logger = logging.getLogger("rollcall.load")


def write_outcome(environment: Any, driver: Driver) -> bool:
    """Write the report of a run that has ended, say where it is, and whether the objectives were held.

    Args:
        environment: Locust's, with what `locustfile` put there.
        driver: of the run.
    """
    options, tally = environment.parsed_options, driver.tally
    search = driver.search
    document = {
        **make_document(tally, driver.ended_s, options),
        "began_s": driver.began_s,
        "users": [each.__name__ for each in environment.user_classes],
        "workers": getattr(environment.runner, "worker_count", 0),
        "phases": _describe_phases(environment, driver),
        "model": _describe_model(driver.model),
        "search": search.dump() if search else None,
    }
    snapshots = _find_snapshots(environment, driver)
    document["service"] = describe_stages(snapshots, tally.warm_up_s, driver.ended_s) if snapshots else None
    is_held = search.result_per_s is not None if search else document["slo"]["is_held"]
    path = write_files(document, Path(options.report))
    for line in document["slo"]["told"] if not search else _tell_search(document):
        print(line)
    print(f"report: {path}")
    return bool(is_held)


def make_document(tally: Tally, seconds: float, options: Any) -> dict[str, Any]:
    """The document without what only the service or the shape can tell.

    Args:
        seconds: how long load was offered.
        options: Locust's, with those of `add_options`.
    """
    judged_s = max(0.0, seconds - tally.warm_up_s)
    total, objectives = tally.total(), read_objectives(options)
    lines = judge(objectives, total, judged_s, measure_drift(tally, tally.warm_up_s, seconds))
    return {
        "schema": SCHEMA,
        **describe_run(),
        "settings": describe_options(options),
        "seconds": seconds,
        "judged": {"from_s": tally.warm_up_s, "to_s": seconds},
        "bucket": {"smallest_s": SMALLEST_S, "growth": GROWTH},
        "total": _describe_cell(total, judged_s),
        "kinds": {kind: _describe_cell(cell, judged_s) for kind, cell in sorted(tally.kinds.items())},
        "reasons": dict(tally.reasons.most_common()),
        "shed_without_retry_after": tally.without_retry_after,
        "unexpected_answers": dict(tally.unexpected),
        "generator_lag": tally.lag.summarise(),
        "series": {
            "interval_s": tally.interval_s,
            "rows": [
                {"at_s": at * tally.interval_s, **cell.dump()} for at, cell in sorted(tally.cells.items())
            ],
            "answered": [[at * tally.interval_s, count] for at, count in sorted(tally.answered.items())],
        },
        "slo": {
            "objectives": objectives.describe(),
            "is_held": all(line.is_held for line in lines),
            "lines": [line.dump() for line in lines],
            "told": [line.describe() for line in lines],
        },
    }


def write_files(document: dict[str, Any], stem: Path) -> Path:
    """Write STEM.json and STEM.html; the page's path."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    page = stem.with_name(stem.name + ".html")
    stem.with_name(stem.name + ".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    page.write_text(write_page(document), encoding="utf-8")
    return page


def _describe_cell(cell: Cell, seconds: float) -> dict[str, Any]:
    return {
        "offered": cell.offered,
        "accepted": cell.fates["accepted"],
        "shed": cell.fates["shed"],
        "failed": cell.fates["failed"],
        "not_sent": cell.fates["not_sent"],
        "unfinished": cell.offered - cell.ended,
        "offered_per_s": cell.offered / seconds if seconds else None,
        "accepted_per_s": cell.fates["accepted"] / seconds if seconds else None,
        "latency": {**cell.accepted.summarise(), **cell.accepted.dump()},
        "shed_latency": {**cell.shed.summarise(), **cell.shed.dump()},
    }


def _describe_phases(environment: Any, driver: Driver) -> list[dict[str, Any]]:
    if driver.search is not None:
        return list(environment.shape_class.windows)
    return [] if driver.plan is None else driver.plan.dump()


def _describe_model(model: dict[str, Any]) -> dict[str, Any]:
    return {name: model.get(name) for name in ("pack_id", "dimension", "version")}


def _find_snapshots(environment: Any, driver: Driver) -> list[Snapshot]:
    options = environment.parsed_options
    if options.prometheus:
        try:
            return ask_prometheus(options.prometheus, driver.began_s, driver.ended_s, options.scrape)
        except (httpx.HTTPError, LookupError, ValueError) as error:
            logger.warning("%s gave no metrics: %s", options.prometheus, error)
            return []
    return driver.scraper.read() if driver.scraper is not None else []


def _tell_search(document: dict[str, Any]) -> list[str]:
    found, objectives = document["search"], document["slo"]["objectives"]
    if found["result_per_s"] is None:
        return [f"MISSED  no rate holds: {objectives}"]
    precision = 100 * found["precision"]
    return [
        f"{found['result_per_s']:.4g} requests a second hold: {objectives}",
        f"repeated {found['repeats']} times, held {found['held']} times; precision {precision:g} %",
    ]
