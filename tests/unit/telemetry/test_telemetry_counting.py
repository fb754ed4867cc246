"""What is counted in one process, and that nobody outside can make it grow or put names into it."""

from __future__ import annotations

import random
import string
from collections import Counter

import pytest

from serving.telemetry import catalogue, recording
from serving.telemetry.catalogue import ALL_METRICS, Metric
from serving.telemetry.counting import MAX_SERIES, counter, gauge, histogram
from serving.telemetry.exposition import Exposition
from serving.telemetry.stage_meters import BatchMeter, CallMeter
from tests.unit.telemetry.conftest import Samples, find, parse

pytestmark = pytest.mark.usefixtures("fresh_counts")


def scrape() -> Samples:
    return parse(Exposition(None).render())


def test_values_fall_into_the_first_bucket_that_holds_them() -> None:
    bounds = catalogue.FACES_PER_PICTURE.buckets
    BatchMeter("detector", "p").note_pictures([0, 1, 4, 100, 5000])
    samples = scrape()
    found = [find(samples, "rollcall_faces_per_picture_bucket", pack="p", le=f"{b:.1f}") for b in bounds]
    expected = [sum(faces <= bound for faces in (0, 1, 4, 100, 5000)) for bound in bounds]
    assert found == expected
    assert find(samples, "rollcall_faces_per_picture_count", pack="p") == 5
    assert find(samples, "rollcall_faces_per_picture_sum", pack="p") == 5105


def test_requests_of_any_path_and_method_make_no_series_of_their_own() -> None:
    chance = random.Random(5)
    for _ in range(500):
        method = "".join(chance.choices(string.ascii_uppercase, k=5))
        recording.note_request(method, None, 404, 0.001, "not_found")
    named = Counter(name for name, _ in scrape())
    assert named["rollcall_http_requests_total"] == 1
    assert named["rollcall_http_request_seconds_count"] == 1


def test_a_metric_has_a_bounded_number_of_series() -> None:
    for number in range(MAX_SERIES + 50):
        recording.note_verification(f"pack-{number}", "match")
    samples = scrape()
    assert Counter(name for name, _ in samples)["rollcall_verifications_total"] == MAX_SERIES + 1
    assert find(samples, "rollcall_verifications_total", pack="other", outcome="other") == 50
    labels = frozenset({("metric", "rollcall_verifications_total")})
    assert samples["rollcall_series_refused_total", labels] == 50


def test_events_are_named_only_when_that_is_on_and_then_so_many() -> None:
    faces = [("match", 0.95, 1e-4)]
    recording.note_faces("p", "gala", faces)
    assert find(scrape(), "rollcall_face_outcomes_total", pack="p", outcome="match", event="") == 1
    recording.label_events(2)
    try:
        for event in ("gala", "party", "secret", "gala"):
            recording.note_faces("p", event, faces)
        samples = scrape()
        by_event = {
            event: find(samples, "rollcall_face_outcomes_total", pack="p", outcome="match", event=event)
            for event in ("gala", "party", "secret", "other")
        }
        assert by_event == {"gala": 2, "party": 1, "secret": None, "other": 1}
    finally:
        recording.label_events(0)


def test_what_became_of_faces_is_told_with_their_scores() -> None:
    recording.note_faces("p", "e", [("match", 0.951, 1e-5), ("unknown", 0.3, 0.4), ("refused", None, None)])
    recording.note_faces("p", "e", [])
    recording.note_faces("p", "e", [("unknown", None, None)])
    samples = scrape()
    outcomes = {
        outcome: find(samples, "rollcall_face_outcomes_total", pack="p", outcome=outcome, event="")
        for outcome in ("match", "unknown", "refused", "no_face")
    }
    assert outcomes == {"match": 1, "unknown": 2, "refused": 1, "no_face": 1}
    cosine = {"pack": "p", "outcome": "match"}
    assert find(samples, "rollcall_best_cosine_bucket", **cosine, le="0.95") == 0
    assert find(samples, "rollcall_best_cosine_bucket", **cosine, le="0.96") == 1
    assert find(samples, "rollcall_best_false_match_rate_bucket", **cosine, le="1e-05") == 1
    assert find(samples, "rollcall_best_cosine_count", pack="p", outcome="unknown") == 1


def test_a_stage_tells_where_its_time_went() -> None:
    calls, batches = CallMeter("detector", "p"), BatchMeter("detector", "p")
    calls.note_waiting(3)
    calls.note_departure([0.001, 0.03], calls=2)
    calls.note_answer(0.2)
    calls.note_return(calls=1)
    calls.note_loss()
    batches.note_limit(8)
    batches.note_batch([0.01, 0.02, 0.03], 0.1, expired=2)
    batches.note_batch([], 0.0, expired=1)
    batches.note_parcel(0.15)
    batches.note_provider("cpu")
    samples = scrape()
    labels = {"stage": "detector", "pack": "p"}
    expected = {
        "rollcall_stage_waiting": 3,
        "rollcall_stage_calls": 1,
        "rollcall_stage_queue_seconds_count": 2,
        "rollcall_parcel_tasks_sum": 2,
        "rollcall_stage_call_seconds_sum": 0.2,
        "rollcall_stage_lost_calls_total": 1,
        "rollcall_batch_limit": 8,
        "rollcall_batch_tasks_count": 1,
        "rollcall_batch_tasks_sum": 3,
        "rollcall_batch_wait_seconds_count": 3,
        "rollcall_batch_seconds_sum": 0.1,
        "rollcall_batch_expired_total": 3,
        "rollcall_replica_seconds_sum": 0.15,
    }
    assert {name: find(samples, name, **labels) for name in expected} == pytest.approx(expected)
    assert find(samples, "rollcall_provider_info", **labels, provider="cpu") == 1


def test_a_gauge_of_the_whole_cluster_is_not_added_up() -> None:
    gauge(catalogue.EVENTS).of().set(7)
    assert find(scrape(), "rollcall_events") == 7


def test_the_wrong_labels_or_kind_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="has the labels"):
        counter(catalogue.ERRORS).of("a", "b")
    with pytest.raises(ValueError, match="is a counter"):
        histogram(catalogue.ERRORS)


@pytest.mark.parametrize("metric", ALL_METRICS.values(), ids=lambda metric: metric.name)
def test_every_metric_follows_the_conventions_of_prometheus(metric: Metric) -> None:
    assert metric.name.startswith("rollcall_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert not {"person", "person_id", "face", "face_id", "name", "key"} & set(metric.labels)
    assert metric.about.endswith(".")
