"""The graph with empty models: stages that do nothing but pass data of a realistic size.

`build` is the graph as Rollcall makes it: its calls, parcels, turnstiles and batches, for any of its serve
configs. `build_by_defaults` is the same four boxes as Ray's documentation shows them: one handle call for
each request and stage, nothing set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from ray import serve
from ray.serve.handle import DeploymentHandle

from serving.deployments.lane import Arrival, ModelLane, answer_parcel, tune_batches
from serving.graph.messages import Candidate, Decision, DetectTask, EmbedTask, SearchTask, Task
from serving.graph.stages import Stages
from serving.graph.tuning import IngressTuning, read_tuning
from serving.vision.pipeline import Face, PictureFaces
from serving.vision.quality import FaceQuality

BODY_BYTES = 80_000
"""A picture of 640x480 from a camera."""
CHIP_PX = 150
DIMENSION = 128
REMAINING_S = 30.0
ROUTE = "/recognise"

_CHIP = np.random.default_rng(0).integers(0, 256, (CHIP_PX, CHIP_PX, 3), np.uint8)
_FACES = PictureFaces(
    640,
    480,
    [
        Face(
            (200.0, 120.0, 180.0, 240.0),
            np.zeros((5, 2), np.float32),
            0.9,
            _CHIP,
            FaceQuality(180.0, 0.9, 0.5, 120.0, 150.0, 0.0, 0.0, 0.0, 0.0),
        )
    ],
)
_VECTOR = np.full((1, DIMENSION), DIMENSION**-0.5, np.float32)
_DECISIONS = [Decision(True, [Candidate("person", "face", 0.9, 1e-5)])]


def _answer_empty(task: Task) -> Any:
    """What the stage that a task is for would answer."""
    if isinstance(task, DetectTask):
        return _FACES
    return _VECTOR if isinstance(task, EmbedTask) else _DECISIONS


def _describe(faces: PictureFaces, decisions: Sequence[Decision]) -> dict[str, Any]:
    """The body of an answer."""
    return {
        "width": faces.width,
        "height": faces.height,
        "faces": [
            {
                "box": list(face.box),
                "matched": decision.matched,
                "candidates": [
                    {"person": candidate.person_id, "cosine": candidate.cosine}
                    for candidate in decision.candidates
                ],
            }
            for face, decision in zip(faces.faces, decisions, strict=True)
        ],
    }


class EmptyStage:
    """Any stage of Rollcall without its model."""

    def __init__(self) -> None:
        self._lane = ModelLane("empty")

    def reconfigure(self, user_config: Mapping[str, Any] | None) -> None:
        tune_batches(user_config, self._work, None)

    async def detect(self, parcel: list[DetectTask]) -> list[Any]:
        return await answer_parcel(parcel, self._work, self._lane.turnstile)

    async def embed(self, parcel: list[EmbedTask]) -> list[Any]:
        return await answer_parcel(parcel, self._work, self._lane.turnstile)

    async def search(self, parcel: list[SearchTask]) -> list[Any]:
        return await answer_parcel(parcel, self._work, self._lane.turnstile)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _work(self, batch: list[Arrival[Any]]) -> list[Any]:
        return await self._lane.run_batch(batch, lambda tasks: list(map(_answer_empty, tasks)))


@serve.ingress()
class EmptyIngress:
    """HTTP in and out, and Rollcall's calls to the stages; no callers, events, names or audit."""

    def __init__(self, *stages: DeploymentHandle[Any]) -> None:
        self._stages = Stages(*stages, max_waiting=1000)

    def reconfigure(self, user_config: Mapping[str, Any] | None) -> None:
        self._stages.tune(read_tuning(IngressTuning, user_config))

    def __serve_build_asgi_app__(self) -> FastAPI:
        app, stages = _make_app(), self._stages

        @app.post(ROUTE)
        async def recognise(request: Request) -> Response:
            faces = await stages.detect(await request.body(), REMAINING_S)
            vectors = await stages.embed(np.stack([face.crop for face in faces.faces]), REMAINING_S)
            decisions = await stages.search("event", vectors, 1, 0.5, REMAINING_S)
            return Response(json.dumps(_describe(faces, decisions)), media_type="application/json")

        return app


class PlainStage:
    """A stage that is asked for one picture at a time."""

    async def work(self, task: Task) -> Any:
        return _answer_empty(task)


@serve.ingress()
class PlainIngress:
    """HTTP in and out, and one call to each stage."""

    def __init__(self, *stages: DeploymentHandle[Any]) -> None:
        self._detector, self._embedder, self._matcher = stages

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = _make_app()

        @app.post(ROUTE)
        async def recognise(request: Request) -> Response:
            faces = await self._detector.work.remote(DetectTask(REMAINING_S, await request.body()))
            crops = np.stack([face.crop for face in faces.faces])
            vectors = await self._embedder.work.remote(EmbedTask(REMAINING_S, crops))
            decisions = await self._matcher.work.remote(SearchTask(REMAINING_S, "event", vectors, 1, 0.5))
            return Response(json.dumps(_describe(faces, decisions)), media_type="application/json")

        return app


def _make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/readyz")
    async def get_readiness() -> dict[str, str]:
        return {"status": "ok"}

    return app


def build(args: Mapping[str, Any]) -> serve.Application:
    """Rollcall's graph, for a serve config of Rollcall's with this function as its `import_path`."""
    del args
    stages = [
        serve.deployment(EmptyStage).options(name=name).bind() for name in ("Detector", "Embedder", "Matcher")
    ]
    return serve.deployment(EmptyIngress).options(name="Ingress").bind(*stages)


def build_by_defaults(detectors: int) -> serve.Application:
    """The same boxes with nothing set but, so that both have as many processes, the number of detectors."""
    detector, embedder, matcher = (
        serve.deployment(PlainStage).options(name=name, num_replicas=replicas).bind()
        for name, replicas in (("Detector", detectors), ("Embedder", 1), ("Matcher", 1))
    )
    return serve.deployment(PlainIngress).options(name="Ingress").bind(detector, embedder, matcher)
