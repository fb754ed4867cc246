"""The report: stages joined from metrics, a page that is whole and needs nothing else."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any
from xml.etree import ElementTree

import configargparse
import jsonschema
import pytest

from loadtest.bisection import RateSearch
from loadtest.options import add_options
from loadtest.outcome import SCHEMA, SCHEMA_FILE, make_document
from loadtest.overload import judge_overload
from loadtest.report import write_page
from loadtest.scraping import Snapshot, gather_series, read_snapshot
from loadtest.stages import describe_stages
from loadtest.tally import Outcome, Tally

EXPOSITION = """
rollcall_stage_queue_seconds_sum{{pack="p",stage="detector"}} {queue}
rollcall_stage_queue_seconds_count{{pack="p",stage="detector"}} {tasks}
rollcall_stage_call_seconds_sum{{pack="p",stage="detector"}} {call}
rollcall_stage_call_seconds_count{{pack="p",stage="detector"}} {batches}
rollcall_replica_seconds_sum{{pack="p",stage="detector"}} {replica}
rollcall_replica_seconds_count{{pack="p",stage="detector"}} {batches}
rollcall_batch_wait_seconds_sum{{pack="p",stage="detector"}} 0
rollcall_batch_wait_seconds_count{{pack="p",stage="detector"}} {tasks}
rollcall_batch_seconds_sum{{pack="p",stage="detector"}} {model}
rollcall_batch_seconds_count{{pack="p",stage="detector"}} {batches}
rollcall_batch_tasks_sum{{pack="p",stage="detector"}} {tasks}
rollcall_batch_tasks_count{{pack="p",stage="detector"}} {batches}
rollcall_replicas{{deployment="Detector"}} 2
rollcall_process_resident_bytes{{deployment="Detector",pid="1"}} {memory}
rollcall_process_resident_bytes{{deployment="Detector",pid="2"}} 1e8
"""


def make_snapshot(at_s: float, tasks: float) -> Snapshot:
    """After so many tasks: batches of 4, 10 ms of queue, 2 ms of transport, 50 ms of model in each."""
    batches = tasks / 4
    values = {"queue": 0.01 * tasks, "call": 0.052 * batches, "replica": 0.05 * batches}
    text = EXPOSITION.format(
        tasks=tasks, batches=batches, model=0.05 * batches, memory=1e8 + 1e6 * at_s, **values
    )
    return read_snapshot(at_s, text)


def read_options(*arguments: str) -> argparse.Namespace:
    class Parser(configargparse.ArgumentParser):  # type: ignore[misc]
        """Takes what Locust's takes, which makes a process Locust's."""

        def add_argument(
            self, *names: str, is_secret: bool = False, include_in_web_ui: bool = True, **more: Any
        ) -> Any:
            return super().add_argument(*names, **more)

    parser = Parser(default_config_files=[])
    add_options(parser)
    return parser.parse_args(arguments, env_vars={})


def make_tally() -> Tally:
    tally = Tally(warm_up_s=2.0)
    for number in range(600):
        at_s, kind = number / 20, ("one_face", "crowd", "verify")[number % 3]
        tally.offer(kind, at_s)
        fate = "shed" if 10 <= at_s < 20 and number % 2 else "accepted"
        reason = "503 overloaded" if fate == "shed" else ""
        latency_s = 0.05 + 0.001 * (number % 100) if fate == "accepted" else 0.004
        tally.note(Outcome(kind, at_s, fate, reason, latency_s, 0.001, says_when=True))  # type: ignore[arg-type]
    return tally


@pytest.fixture
def document() -> dict[str, Any]:
    options = read_options("--slo-p99-ms", "100", "--shape", "steps", "--token", "very-secret")
    snapshots = [make_snapshot(at, 20.0 * at) for at in range(31)]
    phases = [("before", 0, 10), ("<during & after>", 10, 20), ("after", 20, 30)]
    search = RateSearch(8.0)
    while (rate := search.next_rate()) is not None:
        search.tell(rate < 50)
    return {
        **make_document(make_tally(), 30.0, options),
        "users": ["MixedDay"],
        "workers": 0,
        "phases": [
            {"name": name, "from_s": begin, "to_s": end, "from_per_s": 20, "to_per_s": 20}
            for name, begin, end in phases
        ],
        "model": {"pack_id": "starter"},
        "service": describe_stages(snapshots, 2.0, 30.0),
        "search": search.dump(),
    }


def test_stages_are_joined_from_metrics() -> None:
    told = describe_stages([make_snapshot(at, 20.0 * at) for at in range(31)], 5.0, 25.0)
    assert told is not None
    detector = told["stages"]["detector"]
    expected = {"queue": 10.0, "transport": 2.0, "batch wait": 0.0, "model": 50.0}
    assert detector["mean_ms"] == pytest.approx(expected)
    assert detector["batch"] == pytest.approx(4.0)
    assert detector["tasks_per_s"] == pytest.approx(20.0)
    assert detector["busy_replicas"] == pytest.approx(0.25)
    assert told["memory"]["growth"] == pytest.approx((2e8 + 23.5e6) / (2e8 + 6.5e6), rel=1e-3)
    assert {row["replicas"]["Detector"] for row in told["series"]} == {2}
    assert describe_stages([make_snapshot(0, 0)], 0, 1) is None


def test_a_counter_that_begins_again_has_not_fallen() -> None:
    told = describe_stages([make_snapshot(0, 100), make_snapshot(1, 120), make_snapshot(2, 20)], 0, 2)
    assert told is not None
    assert told["stages"]["detector"]["tasks_per_s"] == pytest.approx(20.0)


def test_prometheus_says_the_same_as_the_service() -> None:
    own = [make_snapshot(at, 20.0 * at) for at in range(5)]
    series = [
        {
            "metric": {"__name__": name, **dict(labels)},
            "values": [[1000 + each.at_s, str(each.values[name, labels])] for each in own],
        }
        for name, labels in own[0].values
    ]
    gathered = gather_series(json.loads(json.dumps(series)), began_s=1000.0)
    assert describe_stages(gathered, 0, 4) == describe_stages(own, 0, 4)


def test_the_document_keeps_to_its_schema_and_holds_no_secret(document: dict[str, Any]) -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(json.dumps(document)), schema)
    assert document["schema"] == SCHEMA == schema["properties"]["schema"]["const"]
    assert "very-secret" not in json.dumps(document)
    assert not document["slo"]["is_held"]
    total = document["total"]
    assert total["offered"] == sum(total[name] for name in ("accepted", "shed", "failed", "not_sent"))


@pytest.mark.parametrize("searched", [False, True])
def test_the_page_is_well_formed_and_needs_nothing_else(document: dict[str, Any], searched: bool) -> None:
    if not searched:
        document["search"] = None
    page = write_page(document)
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    assert not re.search(r"(src|href)=|url\(|@import|<script|https?://(?!www\.w3\.org)", page)
    assert "prefers-color-scheme: dark" in page
    titles = [each.text for each in root.iter("title")]
    for wanted in ("Latency over time", "Latency by percentile", "Requests a second over time", "Replicas"):
        assert wanted in titles
    assert ("The search" in titles) == searched
    assert "<during &amp; after>" in page or "&lt;during &amp; after&gt;" in page
    assert not re.search(r"\bnan\b|\binf\b", page)


def test_a_load_that_nobody_answered_has_a_page_too() -> None:
    tally = Tally()
    tally.offer("one_face", 0.5)
    tally.note(Outcome("one_face", 0.5, "failed", "ConnectionRefusedError"))
    for each in (tally, Tally()):
        bare = {"users": [], "workers": 0, "phases": [], "model": {}, "service": None, "search": None}
        document = {**make_document(each, 1.0, read_options()), **bare}
        assert not document["slo"]["is_held"]
        ElementTree.fromstring(write_page(document).removeprefix("<!DOCTYPE html>\n"))


def test_overload_is_judged_by_what_was_answered_and_when() -> None:
    """A service of 20 a second that sheds 40 of 60 at once, and needs 4 s afterwards to be as before."""
    tally = Tally()
    for second in range(100):
        for place in range(60 if 30 <= second < 60 else 14):
            at_s = second + place / 60
            tally.offer("one_face", at_s)
            is_shed = 30 <= second < 60 and place % 3
            latency_s = 0.02 if is_shed else 0.9 if 30 <= second < 64 else 0.1
            fate = "shed" if is_shed else "accepted"
            lag_s = 0.3 if is_shed else 0.0
            outcome = Outcome(
                "one_face", at_s, fate, "503 overloaded", latency_s + lag_s, lag_s, says_when=True
            )  # type: ignore[arg-type]
            tally.note(outcome)
    memory = [make_snapshot(float(at), 20.0 * at) for at in range(100)]
    overload = {
        **make_document(tally, 100.0, read_options()),
        "phases": [
            {"from_s": begin, "to_s": end} for begin, end in ((0.0, 30.0), (30.0, 60.0), (60.0, 100.0))
        ],
        "service": describe_stages(memory, 0.0, 100.0),
    }
    usual = {"total": {"latency": {"p50_ms": 100.0, "p99_ms": 260.0}}}
    lines, facts = judge_overload(20.0, usual, overload)
    measured = {line.name: line.measured for line in lines}
    assert measured["p99 / p50 at 70 % of the peak"] == pytest.approx(2.6)
    assert measured["accepted / peak"] == pytest.approx(1.0, abs=0.05)
    assert measured["p99 of refusals, once sent"] == pytest.approx(20.0, rel=0.01)
    assert measured["p99 of refusals"] == pytest.approx(320.0, rel=0.01)
    assert measured["p99 back to normal after"] == pytest.approx(4.0, abs=1.0)
    assert measured["other failures"] == 0
    assert measured["memory, end / begin"] == pytest.approx(1.04, abs=0.02)
    assert [line.name for line in lines if not line.is_held] == [
        "p99 / p50 at 70 % of the peak",
        "p99 of refusals",
    ]
    assert facts["refusals"]["count"] == 30 * 40
