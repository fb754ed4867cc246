"""Which requests are traced, what their spans look like to a collector, and what a dead one costs."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from serving.settings import TracingSettings
from serving.telemetry import catalogue, tracing
from serving.telemetry.counting import make_key, read_counts
from serving.telemetry.request_notes import RequestNote
from serving.telemetry.stage_notes import CallSpans, note_batch
from tests.otlp_collector import Collector

CALLER = "00-" + "a" * 32 + "-" + "b" * 16 + "-"


@dataclass
class Task:
    origin: Any = None


@dataclass
class Entry:
    note: RequestNote | None
    task: Task = field(default_factory=Task)
    submitted: float = field(default_factory=time.monotonic)
    arrived: float = field(default_factory=time.monotonic)


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def join(collector: Collector) -> Iterator[Callable[..., None]]:
    def join(**settings: Any) -> None:
        chosen = {"endpoint": collector.endpoint, "timeout_s": 1, **settings}
        tracing.join_tracing(TracingSettings(**chosen), {"rollcall.deployment": "Ingress"})

    yield join
    tracing.leave_tracing()


def count_dropped(reason: str) -> float:
    key = make_key(catalogue.SPANS_DROPPED.name, (reason,))
    return next((value for name, value, _ in read_counts() if name == key), 0.0)


@pytest.mark.parametrize(
    ("settings", "header", "is_traced", "trace_id"),
    [
        ({"sample_ratio": 0}, f"{CALLER}01", True, "a" * 32),
        ({"sample_ratio": 1}, f"{CALLER}00", False, "a" * 32),
        ({"sample_ratio": 0}, f"{CALLER}03", True, "a" * 32),
        ({"sample_ratio": 0, "follow_caller": False}, f"{CALLER}01", False, "a" * 32),
        ({"sample_ratio": 1, "follow_caller": False}, f"{CALLER}00", True, "a" * 32),
        ({"sample_ratio": 0}, None, False, None),
        ({"sample_ratio": 1}, None, True, "another"),
        ({"sample_ratio": 1}, "00-" + "0" * 32 + "-" + "b" * 16 + "-01", True, "another"),
        ({"sample_ratio": 0}, "ff-" + "a" * 32 + "-" + "b" * 16 + "-01", False, None),
        ({"sample_ratio": 0}, f"{CALLER}01".upper(), False, None),
        ({"sample_ratio": 0}, f"{CALLER}01\n", False, None),
        ({"sample_ratio": 0}, "x" * 10_000, False, None),
        ({"sample_ratio": 0}, "01" + f"{CALLER}01"[2:] + "-later", True, "a" * 32),
    ],
)
def test_whether_a_request_is_traced(join, settings, header, is_traced, trace_id) -> None:
    join(**settings)
    trace, found = tracing.begin_request(header)
    assert (trace is not None) == is_traced
    if trace_id == "another":
        assert found is not None
        assert re.fullmatch("[0-9a-f]{32}", found)
        assert found not in ("a" * 32, "0" * 32)
    else:
        assert found == trace_id


def test_a_share_of_the_requests(join) -> None:
    join(sample_ratio=0.1)
    traced = sum(tracing.begin_request(None)[0] is not None for _ in range(5000))
    assert 380 < traced < 620


def test_nothing_of_opentelemetry_is_imported_without_a_collector() -> None:
    check = (
        "import sys; from serving.telemetry import process, recording, stage_notes, tracing;"
        "tracing.join_tracing(tracing.TracingSettings(), {}); tracing.begin_request('x');"
        "print([name for name in sys.modules if 'opentelemetry' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_a_batch_is_one_span_with_links_to_all_whose_tasks_it_held(join, collector: Collector) -> None:
    join(sample_ratio=0, headers="authorization=Bearer sesame")
    notes = []
    for digit in "123":
        trace, _ = tracing.begin_request(f"00-{digit * 32}-{'b' * 16}-01")
        notes.append(RequestNote(f"id-{digit}", trace))
    parcel = [*map(Entry, notes), Entry(RequestNote("untraced")), Entry(None)]
    calls = CallSpans("detector", parcel)
    assert [entry.task.origin and entry.task.origin[0] for entry in parcel] == [
        "id-1",
        "id-2",
        "id-3",
        "untraced",
        None,
    ]
    began = time.monotonic()
    note_batch("detector", "pack", parcel, began, [("decode", began, began + 0.01)])
    calls.end("deadline_exceeded")
    for note in notes:
        assert note.trace is not None
        note.trace.close("POST /x", {"http.response.status_code": 504}, failed=True)
    collector.wait_for(lambda: len(collector.spans) >= 3 * 4 + 2)
    assert collector.headers["authorization"] == "Bearer sesame"
    spans = {(span.trace[0], span.name): span for span in collector.spans}
    assert len(collector.spans) == 3 * 4 + 2
    batch = spans["1", "detector batch"]
    of_calls = [spans[digit, "detector call"] for digit in "123"]
    assert batch.parent == of_calls[0].id
    assert batch.links == tuple((call.trace, call.id) for call in of_calls)
    assert batch.attributes == {"rollcall.batch.tasks": 5, "rollcall.pack": "pack"}
    assert spans["1", "decode"].parent == batch.id
    for digit, call in zip("123", of_calls, strict=True):
        root = spans[digit, "POST /x"]
        wait = spans[digit, "detector wait"]
        assert (root.parent, root.kind, root.status) == ("b" * 16, 2, 2)
        assert call.parent == spans[digit, "detector queue"].parent == root.id
        assert call.attributes["error.type"] == "deadline_exceeded"
        assert wait.parent == call.id
        assert wait.links == ((batch.trace, batch.id),)
        assert wait.began_ns <= wait.ended_ns <= batch.ended_ns
        assert root.resource["service.name"] == "rollcall"


def test_a_trace_is_bounded(join, collector: Collector) -> None:
    join()
    trace, _ = tracing.begin_request(f"{CALLER}01")
    assert trace is not None
    for _ in range(2 * tracing.MAX_SPANS):
        trace.add("part", 0, 1, {"long": "x" * 10_000})
    assert trace.open("late") is None
    note = RequestNote("id", trace)
    entry = Entry(note)
    CallSpans("detector", [entry]).end()
    assert entry.task.origin == ("id", None)
    trace.close("GET /x", {})
    collector.wait_for(lambda: any(span.name == "GET /x" for span in collector.spans))
    parts = [span for span in collector.spans if span.name == "part"]
    assert len(parts) == tracing.MAX_SPANS
    assert {len(span.attributes["long"]) for span in parts} == {200}


def test_a_collector_that_hangs_or_refuses_costs_spans_and_no_time(join, collector: Collector) -> None:
    join(max_queued_spans=200)
    before = count_dropped("queue"), count_dropped("export")
    collector.is_open.clear()
    began = time.monotonic()
    for _ in range(30):
        trace, _ = tracing.begin_request(f"{CALLER}01")
        assert trace is not None
        for _ in range(50):
            trace.add("part", began, began)
        trace.close("GET /x", {})
    assert count_dropped("queue") - before[0] > 1000
    collector.answer = 403
    collector.is_open.set()
    deadline = time.monotonic() + 30
    while count_dropped("export") == before[1]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not collector.spans


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "collector:4317"},
        {"endpoint": "http://user:secret@collector/v1/traces"},
        {"endpoint": "file:///etc/passwd"},
        {"headers": "no pairs"},
        {"headers": "a=b\r\nc=d"},
        {"sample_ratio": 1.5},
        {"protocol": "grpc"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TracingSettings(**wrong)
