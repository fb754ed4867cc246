"""The stages as Serve runs them: real models, real batching, replicas that die."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from loadtest.baseline import load_pipeline
from loadtest.pictures import make_one_face_pictures
from serving.errors import NotAnImage
from serving.graph.liveness import LivenessStage
from serving.graph.messages import DetectTask
from serving.graph.stages import Stages
from serving.graph.tuning import IngressTuning
from serving.packs.configured_liveness import find_configured_liveness, load_configured_scorer
from tests.graph.conftest import APPLICATION, Graph

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def pictures(graph: Graph) -> list[bytes]:
    return make_one_face_pictures(load_pipeline(graph.settings).finder)


def make_stages(graph: Graph) -> Stages:
    handles = (graph.handle(name) for name in ("Detector", "Embedder", "Matcher"))
    stages = Stages(*handles, max_waiting=1000)
    stages.tune(IngressTuning())
    return stages


async def test_stages_agree_with_the_pack_in_process(graph: Graph, pictures: list[bytes]) -> None:
    stages = make_stages(graph)
    await stages.check(30)
    pipeline = load_pipeline(graph.settings)
    expected = pipeline.recognise(pictures)
    found = await asyncio.gather(*(stages.detect(picture, 60) for picture in pictures))
    vectors = await asyncio.gather(*(stages.embed(np.stack([one.faces[0].crop]), 60) for one in found))
    for faces, got, vector in zip(expected, found, vectors, strict=True):
        assert not isinstance(faces, Exception)
        assert len(got.faces) == 1
        np.testing.assert_allclose(got.faces[0].box, faces[0][0].box, atol=0.01)
        np.testing.assert_allclose(vector[0], faces[0][1], atol=1e-3)


async def test_the_liveness_stage_agrees_with_the_models_in_process(graph: Graph, shared_dir: Path) -> None:
    pack = find_configured_liveness(graph.settings)
    if pack is None:
        pytest.skip("needs the liveness models")
    files = sorted((shared_dir / "models" / "antispoof_samples").glob("*.jpg"))
    stages = make_stages(graph)
    stage = LivenessStage(graph.handle("Liveness"), pack, threshold=pack.threshold, max_waiting=100)
    await stage.check(30)
    found = await asyncio.gather(*(stages.detect(file.read_bytes(), 60, True) for file in files))
    cuts = [one.faces[0].liveness_crops for one in found]
    assert all(cut is not None and [crop.shape for crop in cut] == [(80, 80, 3)] * 2 for cut in cuts)
    crops = [tuple(crop[None] for crop in cut or ()) for cut in cuts]
    scores = await asyncio.gather(*(stage.score(each, 60) for each in crops))
    scorer = load_configured_scorer(graph.settings)
    for each, score in zip(crops, scores, strict=True):
        np.testing.assert_allclose(score, scorer.score(each), atol=1e-4)
    assert [score[0] >= pack.threshold for score in scores] == [False, False, True]  # F1, F2, T1

    unasked = await stages.detect(files[0].read_bytes(), 60)
    assert unasked.faces[0].liveness_crops is None


async def test_a_bad_picture_in_a_parcel_fails_alone(graph: Graph, pictures: list[bytes]) -> None:
    parcel = [DetectTask(60, pictures[0]), DetectTask(60, b"nonsense"), DetectTask(60, pictures[1])]
    outcomes = await graph.handle("Detector").detect.remote(parcel)
    assert isinstance(outcomes[1], NotAnImage)
    assert [len(outcomes[place].faces) for place in (0, 2)] == [1, 1]


async def test_batches_form_across_callers_and_their_size_changes_live(
    graph: Graph, pictures: list[bytes]
) -> None:
    found = await graph.handle("Detector").detect.remote([DetectTask(60, pictures[0])])
    crop = np.stack([found[0].faces[0].crop])

    async def embed_from(callers: int) -> list[float]:
        """Batch sizes (upper bounds of the histogram's buckets) while that many ingresses embed at once."""
        before = await read_batch_sizes(graph.metrics_url, "_embed", 0)
        stages = [make_stages(graph) for _ in range(callers)]  # each its own coalescer, as replicas have
        await asyncio.gather(*(one.embed(crop, 60) for one in stages for _ in range(8)))
        after = await read_batch_sizes(graph.metrics_url, "_embed", sum(before.values()) + 1)
        return [size for size, count in after.items() if count > before.get(size, 0)]

    assert max(await embed_from(4)) > 1
    before = find_pids("Embedder")
    single = {"max_batch_size": 1, "batch_wait_timeout_s": 0.0}
    await asyncio.to_thread(graph.deploy, Embedder=single)
    assert find_pids("Embedder") == before, "user_config must not restart replicas"
    assert await embed_from(4) == [1.0]


async def read_batch_sizes(metrics_url: str, function: str, at_least: int) -> dict[float, int]:
    """How many batches of each size (bucket) Serve has counted, once it has counted `at_least` in all."""
    line = re.compile(
        rf'ray_serve_actual_batch_size_bucket{{.*function_name="{function}".*le="([^"]+)".*}} (\S+)'
    )
    end = time.monotonic() + 30
    while True:
        await asyncio.sleep(6)  # Ray's metrics travel every few seconds
        async with httpx.AsyncClient() as client:
            text = (await client.get(metrics_url)).text
        cumulative: dict[float, int] = {}
        for bound, count in line.findall(text):
            cumulative[float(bound)] = cumulative.get(float(bound), 0) + int(float(count))
        sizes, below = {}, 0
        for bound in sorted(cumulative):
            sizes[bound], below = cumulative[bound] - below, cumulative[bound]
        if sum(sizes.values()) >= at_least:
            return {size: count for size, count in sizes.items() if count}
        assert time.monotonic() < end, "Serve's batch metrics did not come"


def find_pids(title: str) -> list[int]:
    """Of this process's descendants with that title, but those of services that other tests run."""
    children = psutil.Process().children(recursive=True)
    services = [child for child in children if "serving.cli" in child.cmdline()]
    theirs = {child.pid for service in services for child in service.children(recursive=True)}
    return sorted(
        child.pid for child in children if child.pid not in theirs and title in " ".join(child.cmdline())
    )


async def test_work_survives_a_detector_that_is_killed(graph: Graph, pictures: list[bytes]) -> None:
    stages = make_stages(graph)
    detectors = find_pids("Detector")
    assert len(detectors) == 2
    jobs = [asyncio.create_task(stages.detect(pictures[place % len(pictures)], 120)) for place in range(40)]
    await asyncio.sleep(0.5)
    os.kill(detectors[0], signal.SIGKILL)
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
    await wait_for_replicas("Detector", 2)


async def wait_for_replicas(name: str, count: int) -> None:
    from ray import serve

    end = time.monotonic() + 60
    while time.monotonic() < end:
        states = serve.status().applications[APPLICATION].deployments[name].replica_states
        if states.get("RUNNING", 0) == count:
            return
        await asyncio.sleep(0.5)
    raise AssertionError(f"{name} did not come back: {states}")
