"""Detector, Embedder and Matcher with fakes where their models and the gallery would be."""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from ray import serve

from serving.deployments import lane as lane_module
from serving.deployments.detector import Detector
from serving.deployments.embedder import Embedder
from serving.deployments.lane import ModelLane, Turnstile
from serving.deployments.liveness import Liveness
from serving.deployments.matcher import Matcher
from serving.errors import ConfigurationError, DeadlineExceeded, InternalError, NoFace
from serving.gallery.records import FacePage, FaceRecord, Hit, Probe, check_probes
from serving.graph.messages import DetectTask, EmbedTask, LivenessTask, SearchTask
from serving.packs.calibration import load_calibration
from serving.packs.catalogue import find_pack
from serving.telemetry.stage_meters import BatchMeter
from tests.unit.deployments.frozen_clock import FrozenClock

pytestmark = pytest.mark.timeout(120)
PATIENCE_S = 60.0
"""How long a thread waits for what will come, at most; only a test that fails waits so long."""


@pytest.fixture(autouse=True)
def _in_a_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve.batch` asks for the replica's limits, and keeps one queue, of one event loop, for a class."""
    config = types.SimpleNamespace(max_ongoing_requests=100)
    context = types.SimpleNamespace(_deployment_config=config)
    monkeypatch.setattr(serve, "get_replica_context", lambda: context)
    for method in (Detector._find, Embedder._embed, Liveness._score, Matcher._search):
        lazy_queue = method.set_max_batch_size.__self__
        for name, value in (("_queue", None), ("max_batch_size", 16), ("batch_wait_timeout_s", 0.0)):
            monkeypatch.setattr(lazy_queue, name, value)


class FakeFinder:
    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.deadlines: list[list[float]] = []
        self.wanted: list[list[bool]] = []

    def find(
        self, pictures: Sequence[bytes], deadlines: Sequence[float], wants_liveness: Sequence[bool]
    ) -> list[Any]:
        self.batches.append(list(pictures))
        self.wanted.append(list(wants_liveness))
        self.deadlines.append(list(deadlines))
        if b"bug" in pictures:
            raise ZeroDivisionError("secret")
        return [NoFace() if picture == b"bad" else picture.decode() for picture in pictures]

    def check(self) -> None:
        raise InternalError("the model answers otherwise than at the start")


class FakeEmbedder:
    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, crops: np.ndarray) -> np.ndarray:
        assert crops.dtype == np.uint8
        self.batches.append(len(crops))
        return np.repeat(crops[:, 0, 0, :1].astype(np.float32), 4, axis=1)


def make_detector() -> tuple[Detector, FakeFinder]:
    detector = Detector.__new__(Detector)
    detector._finder, detector._lane = FakeFinder(), ModelLane("detector")  # type: ignore[assignment]
    return detector, detector._finder  # type: ignore[return-value]


def make_embedder() -> tuple[Embedder, FakeEmbedder]:
    embedder = Embedder.__new__(Embedder)
    embedder._embedder, embedder._lane = FakeEmbedder(), ModelLane("embedder")  # type: ignore[assignment]
    return embedder, embedder._embedder  # type: ignore[return-value]


def detect_tasks(*pictures: bytes, remaining_s: float = 60.0) -> list[DetectTask]:
    return [DetectTask(remaining_s, picture) for picture in pictures]


def embed_task(*values: int) -> EmbedTask:
    return EmbedTask(60.0, np.array(values, np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3))


async def test_detector_answers_each_picture_in_its_place() -> None:
    detector, _ = make_detector()
    outcomes = await detector.detect(detect_tasks(b"a", b"bad", b"bug", b"b"))
    assert [outcomes[0], outcomes[3]] == ["a", "b"]
    assert isinstance(outcomes[1], NoFace)
    assert type(outcomes[2]) is InternalError
    assert "secret" not in outcomes[2].detail


async def test_parcels_that_arrive_together_share_a_batch() -> None:
    detector, finder = make_detector()
    parcels = await asyncio.gather(
        detector.detect(detect_tasks(b"a", b"b")), detector.detect(detect_tasks(b"c"))
    )
    assert parcels == [["a", "b"], ["c"]]
    assert finder.batches == [[b"a", b"b", b"c"]]


async def test_parcels_that_come_while_a_batch_runs_share_the_next() -> None:
    detector, finder = make_detector()
    release = threading.Event()
    started = threading.Event()
    find = finder.find

    def slow(
        pictures: Sequence[bytes], deadlines: Sequence[float], wants_liveness: Sequence[bool]
    ) -> list[Any]:
        started.set()
        assert release.wait(PATIENCE_S)
        return find(pictures, deadlines, wants_liveness)

    finder.find = slow  # type: ignore[method-assign]
    parcels = [asyncio.create_task(detector.detect(detect_tasks(b"a")))]
    assert await asyncio.to_thread(started.wait, PATIENCE_S)
    for picture in (b"b", b"c", b"d"):
        parcels.append(asyncio.create_task(detector.detect(detect_tasks(picture))))
        for _ in range(10):  # each has come as far as it gets before the next
            await asyncio.sleep(0)
    release.set()
    assert await asyncio.gather(*parcels) == [["a"], ["b"], ["c"], ["d"]]
    assert finder.batches == [[b"a"], [b"b", b"c", b"d"]]


async def test_batches_are_bounded_by_user_config() -> None:
    detector, finder = make_detector()
    detector.reconfigure({"max_batch_size": 2, "batch_wait_timeout_s": 0.0})
    pictures = [str(number).encode() for number in range(5)]
    assert await detector.detect(detect_tasks(*pictures)) == ["0", "1", "2", "3", "4"]
    assert [len(batch) for batch in finder.batches] == [2, 2, 1]
    detector.reconfigure({"max_batch_size": 5})
    await detector.detect(detect_tasks(*pictures))
    assert len(finder.batches[-1]) == 5
    with pytest.raises(ConfigurationError, match=r"user_config\.max_batchsize"):
        detector.reconfigure({"max_batchsize": 2})


async def test_each_picture_brings_its_own_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FrozenClock()
    monkeypatch.setattr(lane_module, "time", clock)
    detector, finder = make_detector()
    tasks = [DetectTask(remaining_s, picture) for remaining_s, picture in ((5, b"a"), (9, b"bug"), (7, b"b"))]
    await detector.detect(tasks)
    assert finder.batches == [[b"a", b"bug", b"b"], [b"a"], [b"bug"], [b"b"]]
    given = [[deadline - clock.seconds for deadline in batch] for batch in finder.deadlines]
    assert given == [[5, 9, 7], [5], [9], [7]]


async def test_detector_lets_expired_pictures_be() -> None:
    detector, finder = make_detector()
    outcomes = await detector.detect([*detect_tasks(b"a", remaining_s=-1), *detect_tasks(b"b")])
    assert isinstance(outcomes[0], DeadlineExceeded)
    assert outcomes[1] == "b"
    assert finder.batches == [[b"b"]]


async def test_an_empty_parcel_runs_no_model() -> None:
    detector, finder = make_detector()
    embedder, model = make_embedder()
    matcher, gallery = make_matcher()
    assert await detector.detect([]) == await embedder.embed([]) == await matcher.search([]) == []
    assert not finder.batches
    assert not model.batches
    assert not gallery.probes


async def test_health_is_what_the_model_says() -> None:
    detector, _ = make_detector()
    with pytest.raises(InternalError):
        await detector.check_health()


async def test_embedder_splits_the_vectors_by_picture() -> None:
    embedder, model = make_embedder()
    counts = [2, 0, 1, 0, 3, 0]
    values = iter(range(1, 7))
    tasks = [embed_task(*(next(values) for _ in range(count))) for count in counts]
    outcomes = await embedder.embed(tasks)
    assert [vectors[:, 0].tolist() for vectors in outcomes] == [[1, 2], [], [3], [], [4, 5, 6], []]
    assert all(vectors.shape == (count, 4) for vectors, count in zip(outcomes, counts, strict=True))
    assert model.batches == [6]


async def test_embedder_with_no_crops_at_all() -> None:
    embedder, _ = make_embedder()
    assert [len(vectors) for vectors in await embedder.embed([embed_task(), embed_task()])] == [0, 0]


async def test_crops_of_another_shape_fail_alone() -> None:
    embedder, _ = make_embedder()
    odd = EmbedTask(60.0, np.zeros((1, 5, 5, 3), np.uint8))
    outcomes = await embedder.embed([embed_task(1), odd, embed_task(2)])
    assert outcomes[0].tolist() == [[1.0] * 4]
    assert outcomes[2].tolist() == [[2.0] * 4]


class FakeGallery:
    """Answers each probe with the person its event and first number name, at a cosine given by the second."""

    def __init__(self) -> None:
        self.probes: list[Probe] = []
        self.stored: list[Any] = []

    async def search(self, probes: Sequence[Probe]) -> list[list[Hit]]:
        check_probes(probes, 4)
        self.probes += probes
        return [self._hits(probe) for probe in probes]

    def _hits(self, probe: Probe) -> list[Hit]:
        cosine = round(float(probe.vector[0]), 6)
        people = [f"{probe.event}-{n}" for n in range(probe.top_k)][:3]
        hits = [Hit(person, "face", cosine - n / 100) for n, person in enumerate(people)]
        return [hit for hit in hits if probe.person in (None, hit.person)]

    async def read_faces(
        self, event: str, after: str | None, limit: int, person: str | None = None
    ) -> FacePage:
        self.stored.append(("read", event, after, limit, person))
        return FacePage((), after)

    async def upsert(self, faces: Sequence[FaceRecord]) -> None:
        self.stored.append(list(faces))

    async def erase_faces(self, event: str, faces: Any) -> None:
        self.stored.append(("faces", event, faces))

    async def erase_person(self, event: str, person: str) -> None:
        self.stored.append(("person", event, person))

    async def erase_event(self, event: str) -> None:
        self.stored.append(("event", event))


def make_matcher() -> tuple[Matcher, FakeGallery]:
    matcher = Matcher.__new__(Matcher)
    matcher._gallery = FakeGallery()  # type: ignore[assignment]
    matcher._turnstile = Turnstile()
    matcher._meter = BatchMeter("matcher", "starter")
    matcher._calibration = load_calibration(find_pack("starter"))
    return matcher, matcher._gallery  # type: ignore[return-value]


def search_task(
    event: str,
    *cosines: float,
    top_k: int = 1,
    threshold: float = 0.9,
    remaining_s: float = 60.0,
    person_id: str | None = None,
) -> SearchTask:
    vectors = np.array([[c, np.sqrt(1 - c * c), 0, 0] for c in cosines], np.float32).reshape(-1, 4)
    return SearchTask(remaining_s, event, vectors, top_k, threshold, person_id)


async def test_matcher_verifies_against_one_person_beside_searches_for_all() -> None:
    matcher, gallery = make_matcher()
    outcomes = await matcher.search(
        [
            search_task("a", 0.95, 0.85, top_k=3, person_id="a-1"),
            search_task("a", 0.95, top_k=3),
            search_task("a", 1.0, top_k=3, person_id="nobody"),
        ]
    )
    people = [[[each.person_id for each in d.candidates] for d in decisions] for decisions in outcomes]
    assert people == [[["a-1"], ["a-1"]], [["a-0", "a-1", "a-2"]], [[]]]
    assert [[d.matched for d in decisions] for decisions in outcomes] == [[True, False], [True], [False]]
    assert [probe.person for probe in gallery.probes] == ["a-1", "a-1", None, "nobody"]


async def test_matcher_keeps_each_tasks_event_threshold_and_top_k() -> None:
    matcher, gallery = make_matcher()
    outcomes = await matcher.search(
        [
            search_task("a", 0.95, 0.85),
            search_task("b"),
            search_task("c", 0.95, top_k=3, threshold=0.96),
            search_task("a", 0.85, threshold=0.8),
        ]
    )
    assert [len(decisions) for decisions in outcomes] == [2, 0, 1, 1]
    best = [[(d.matched, d.candidates[0].person_id) for d in decisions] for decisions in outcomes]
    assert best == [[(True, "a-0"), (False, "a-0")], [], [(False, "c-0")], [(True, "a-0")]]
    assert [candidate.person_id for candidate in outcomes[2][0].candidates] == ["c-0", "c-1", "c-2"]
    assert [(probe.event, probe.top_k) for probe in gallery.probes] == [
        ("a", 1),
        ("a", 1),
        ("c", 3),
        ("a", 1),
    ]


@pytest.mark.parametrize(("cosine", "matched"), [(0.899999, False), (0.9, True), (0.900001, True)])
async def test_matcher_decides_at_the_threshold(cosine: float, matched: bool) -> None:
    matcher, _ = make_matcher()
    [[decision]] = await matcher.search([search_task("a", cosine)])
    assert decision.matched == matched
    candidate = decision.candidates[0]
    assert candidate.false_match_rate == matcher._calibration.false_match_rate(candidate.cosine)


async def test_nobody_there_is_no_match_at_any_threshold() -> None:
    matcher, gallery = make_matcher()
    gallery._hits = lambda probe: []  # type: ignore[method-assign]
    [[decision]] = await matcher.search([search_task("a", 1.0, threshold=-1.0)])
    assert (decision.matched, decision.candidates) == (False, [])


async def test_one_bad_probe_does_not_fail_its_batch_mates() -> None:
    matcher, _ = make_matcher()
    bad = search_task("a", 0.9)
    bad.vectors[0, 0] = np.nan
    outcomes = await matcher.search([search_task("a", 0.95), bad, search_task("b", 0.95)])
    assert isinstance(outcomes[1], InternalError)
    assert outcomes[0][0].matched
    assert outcomes[2][0].matched


async def test_matcher_lets_expired_searches_be() -> None:
    matcher, gallery = make_matcher()
    outcomes = await matcher.search([search_task("a", 0.95, remaining_s=-1), search_task("b", 0.95)])
    assert isinstance(outcomes[0], DeadlineExceeded)
    assert [probe.event for probe in gallery.probes] == ["b"]


async def test_matcher_stores_and_erases_within_one_event() -> None:
    matcher, gallery = make_matcher()
    face = FaceRecord("a", "ada", "f", np.zeros(4, np.float32), 0.0)
    await matcher.enrol([face])
    assert await matcher.read_faces("a", None, 9, None) == FacePage((), None)
    assert await matcher.read_faces("a", "place", 9, "ada") == FacePage((), "place")
    await matcher.erase_faces("a", [("ada", "f")])
    await matcher.erase_person("a", "ada")
    await matcher.erase_event("a")
    assert gallery.stored == [
        [face],
        ("read", "a", None, 9, None),
        ("read", "a", "place", 9, "ada"),
        ("faces", "a", [("ada", "f")]),
        ("person", "a", "ada"),
        ("event", "a"),
    ]


async def test_only_pictures_that_want_it_are_cut_for_liveness() -> None:
    detector, finder = make_detector()
    await detector.detect([DetectTask(60.0, b"a"), DetectTask(60.0, b"b", True)])
    assert finder.wanted == [[False, True]]


class FakeScorer:
    """Scores a face by the first pixel of the first model's crop; notes how many were scored together."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def score(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        assert [each.shape[1:] for each in crops] == [(8, 8, 3), (4, 4, 3)]
        self.batches.append(len(crops[0]))
        if (crops[0][:, 0, 0, 0] == 13).any():
            raise ZeroDivisionError("secret")
        scores: np.ndarray = crops[0][:, 0, 0, 0].astype(np.float32) / 100
        return scores


def liveness_task(*values: int) -> LivenessTask:
    firsts = np.array(values, np.uint8)[:, None, None, None]
    return LivenessTask(60.0, tuple(np.tile(firsts, (1, side, side, 3)) for side in (8, 4)))


async def test_liveness_scores_the_faces_of_many_pictures_in_one_run() -> None:
    liveness = Liveness.__new__(Liveness)
    scorer = FakeScorer()
    liveness._scorer, liveness._meter = scorer, None  # type: ignore[assignment]
    liveness._lane = ModelLane("liveness")
    first, second = await asyncio.gather(
        liveness.score([liveness_task(10, 20), liveness_task(30)]), liveness.score([liveness_task(40)])
    )
    found = [np.round(each, 6).tolist() for each in (*first, *second)]  # type: ignore[arg-type]
    np.testing.assert_allclose(np.concatenate(found), [0.1, 0.2, 0.3, 0.4], atol=1e-6)
    assert [len(each) for each in found] == [2, 1, 1]
    assert scorer.batches == [4]
    good, bad = await liveness.score([liveness_task(50), liveness_task(13)])
    np.testing.assert_allclose(good, [0.5])  # type: ignore[arg-type]
    assert type(bad) is InternalError
    assert "secret" not in bad.detail
