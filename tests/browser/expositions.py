"""What the metrics of the service say, read and reckoned with in Python."""

from __future__ import annotations

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.browser.chromium import Page

PROBES = ("/metrics", "/healthz", "/readyz")
Families = dict[str, Metric]

QUANTILES = """(async () => {
  const module = await import(new URL("console/service/exposition.js", document.baseURI));
  const { pickHistogram, quantileOf, readExposition } = module;
  const [before, after] = %s.map(readExposition);
  return %s.map(([name, label, value, share]) => quantileOf(
    pickHistogram(before, after, name, (labels) => labels[label] === value), share));
})()"""
"""The console's quantiles: of two texts, and of cases [metric, label, value, share]."""
SAMPLES = """(async () => {
  const { readExposition } = await import(new URL("console/service/exposition.js", document.baseURI));
  return [...readExposition(%s)].flatMap(([name, samples]) => samples.map(
    ({ labels, value }) => [name, Object.entries(labels).sort(), String(value)]));
})()"""
"""The console's reading of a text: [name, sorted labels, value]."""


def read_metrics(client: httpx.Client) -> tuple[str, Families]:
    text = client.get("/metrics").text
    return text, {family.name: family for family in text_string_to_metric_families(text)}


def total(families: Families, name: str, **wanted: str) -> float:
    """A counter over its series with these labels; requests that ask how the service is do not count."""
    samples = families[name].samples if name in families else []
    return sum(
        sample.value
        for sample in samples
        if sample.name == f"{name}_total"
        and sample.labels.get("route") not in PROBES
        and all(sample.labels[label] == value for label, value in wanted.items())
    )


def replicas_of(families: Families) -> dict[str, int]:
    return {s.labels["deployment"]: int(s.value) for s in families["rollcall_replicas"].samples}


def compute_quantile(before: Families, after: Families, case: tuple[str, str, str, float]) -> float | None:
    """As Prometheus does: evenly spread within the bucket in which the rank falls."""
    name, label, value, share = case

    def read(families: Families) -> dict[float, float]:
        buckets: dict[float, float] = {}
        for sample in families[name].samples:
            if sample.name == f"{name}_bucket" and sample.labels[label] == value:
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0) + sample.value
        return buckets

    was, now = read(before), read(after)
    counts = [(bound, now[bound] - was.get(bound, 0)) for bound in sorted(now)]
    rank = counts[-1][1] * share
    if not counts[-1][1]:
        return None
    low = below = 0.0
    for bound, count in counts:
        if count >= rank:
            return low if bound == float("inf") else low + (bound - low) * (rank - below) / (count - below)
        low, below = bound, count
    raise AssertionError


def count_scrapes(page: Page) -> int:
    """How often the page asked for the metrics."""
    return sum(
        event["method"] == "Network.requestWillBeSent"
        and event["params"]["request"]["url"].endswith("/metrics")
        for event in page.events
    )
