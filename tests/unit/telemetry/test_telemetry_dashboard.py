"""The dashboard and the alerts ask for metrics that there are, and are drawn as they should."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.telemetry.catalogue import ALL_METRICS

UNITS = {"none", "reqps", "s", "ms", "percentunit", "bytes", "dateTimeFromNow"}
COLUMNS = 24


@pytest.fixture(scope="module")
def dashboard(repository: Path) -> dict[str, Any]:
    text = (repository / "config" / "grafana" / "dashboards" / "rollcall.json").read_text()
    read: dict[str, Any] = json.loads(text)
    return read


@pytest.fixture(scope="module")
def alerts(repository: Path) -> list[dict[str, Any]]:
    content = yaml.safe_load((repository / "config" / "prometheus" / "alerts.yaml").read_text())
    return [rule for group in content["groups"] for rule in group["rules"]]


def find_unknown(expression: str) -> set[str]:
    """Names and labels in an expression that the catalogue does not have."""
    unknown = set()
    for name, labels in re.findall(r"(rollcall_\w+)(?:\{([^}]*)\})?", expression):
        metric = ALL_METRICS.get(name) or ALL_METRICS.get(re.sub(r"_(bucket|sum|count)$", "", name))
        if metric is None:
            unknown.add(name)
            continue
        used = set(re.findall(r"(\w+)\s*(?:=|!)", labels)) - {"le", "instance", "job", "node"}
        unknown |= {f"{name}: {label}" for label in used - set(metric.labels)}
    return unknown


def test_every_query_asks_for_what_there_is(dashboard: dict[str, Any], alerts: list[dict[str, Any]]) -> None:
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    queries += [variable.get("definition", "") for variable in dashboard["templating"]["list"]]
    queries += [rule["expr"] for rule in alerts]
    assert {query: found for query in queries if (found := find_unknown(query))} == {}


def test_every_metric_is_on_the_dashboard_or_alerted_on(
    dashboard: dict[str, Any], alerts: list[dict[str, Any]]
) -> None:
    text = json.dumps(dashboard) + " ".join(rule["expr"] for rule in alerts)
    seldom = {"rollcall_database_failures_total", "rollcall_process_start_time_seconds"}
    assert {name for name in ALL_METRICS if name not in text} <= seldom


def test_panels_are_whole_and_side_by_side(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    drawn = [panel for panel in panels if panel["type"] != "row"]
    assert len({panel["title"] for panel in drawn}) == len(drawn)
    for panel in drawn:
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for panel in panels:
        place = panel["gridPos"]
        assert place["w"] > 0
        assert place["h"] > 0
        assert place["x"] + place["w"] <= COLUMNS
    for one, other in itertools.combinations((panel["gridPos"] for panel in panels), 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, f"{one} lies over {other}"


def test_every_alert_says_what_to_do(alerts: list[dict[str, Any]]) -> None:
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"].endswith((".", "?"))
        assert "|" not in rule["annotations"]["action"]
