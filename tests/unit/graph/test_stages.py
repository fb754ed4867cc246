"""How Serve's failures become ours, and the calls that are not coalesced."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

from serving.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InternalError,
    NoFace,
    Overloaded,
    RollcallError,
    StageUnavailable,
)
from serving.gallery import FacePage
from serving.graph.messages import DetectTask, EmbedTask, SearchTask
from serving.graph.stages import Stages
from serving.graph.tuning import BatchTuning, IngressTuning, read_tuning
from tests.unit.graph.virtual_time import in_virtual_time, now


class FakeMethod:
    """What `handle.method` is: `remote` gives an awaitable; fails by `failures`, then answers."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        self.answer = answer
        self.calls: list[tuple[Any, ...]] = []
        self.failures: list[BaseException] = []

    def options(self, **options: str) -> FakeMethod:
        return self

    def remote(self, *args: Any) -> Any:
        self.calls.append(args)

        async def respond() -> Any:
            if self.failures:
                raise self.failures.pop(0)
            answer = self.answer(*args)
            return await answer if asyncio.iscoroutine(answer) else answer

        return respond()


class FakeHandle:
    def __init__(self, **methods: Callable[..., Any]) -> None:
        for name, answer in methods.items():
            setattr(self, name, FakeMethod(answer))


@pytest.fixture
def handles() -> dict[str, Any]:
    return {
        "detector": FakeHandle(detect=lambda parcel: [task.picture for task in parcel]),
        "embedder": FakeHandle(embed=lambda parcel: [task.crops for task in parcel]),
        "matcher": FakeHandle(
            search=lambda parcel: [task.event_key for task in parcel],
            check_health=lambda: None,
            enrol=lambda faces: None,
            read_faces=lambda event, after, limit, person: FacePage((), after),
            erase_faces=lambda event, faces, pack: None,
            erase_person=lambda event, person, pack: None,
            erase_event=lambda event, pack: None,
        ),
    }


@pytest.fixture
def stages(handles: dict[str, Any]) -> Stages:
    return Stages(**handles, max_waiting=4)


def wrapped(cause: Exception) -> Exception:
    """As a handle raises an exception of user code: of the class of its cause, if Ray can make one."""
    error = RayTaskError("detect", "Traceback: secret", cause)
    return error.as_instanceof_cause()


MAPPINGS: list[tuple[Exception, type[RollcallError]]] = [
    (BackPressureError(num_queued_requests=9, max_queued_requests=8), Overloaded),
    (DeploymentUnavailableError("deployment"), StageUnavailable),
    (wrapped(NoFace("mine", picture=1)), NoFace),
    (RayTaskError("detect", "Traceback: secret", NoFace("mine", picture=1)), NoFace),
    (wrapped(ValueError("secret")), InternalError),
    (RayTaskError("detect", "Traceback: secret", ValueError("secret")), InternalError),
    (RuntimeError("Unexpected error (RESOURCE_EXHAUSTED): secret"), InternalError),
]
LOST = [
    RayActorError(),
    ActorDiedError(),
    ActorUnavailableError("secret", b"x" * 16),
    ReplicaUnavailableError("secret"),
    ConnectionResetError("secret"),
]


@pytest.mark.parametrize(("raised", "kind"), MAPPINGS, ids=lambda each: str(type(each).__name__))
async def test_failures_of_a_parcel(
    stages: Stages, handles: dict[str, Any], raised: Exception, kind: type[RollcallError]
) -> None:
    handles["detector"].detect.failures = [raised]
    with pytest.raises(kind) as caught:
        await stages.detect(b"x", 5)
    assert type(caught.value) is kind
    assert "secret" not in caught.value.detail
    assert not isinstance(caught.value, RayTaskError)
    if kind is NoFace:
        assert (caught.value.detail, caught.value.context) == ("mine", {"picture": 1})
    assert pickle.loads(pickle.dumps(caught.value)).code == kind.code
    assert await stages.detect(b"x", 5) == b"x"


@pytest.mark.parametrize("raised", LOST, ids=lambda each: type(each).__name__)
async def test_a_lost_replica_costs_one_more_try(
    stages: Stages, handles: dict[str, Any], raised: Exception
) -> None:
    for send, method in (
        (lambda: stages.detect(b"x", 5), handles["detector"].detect),
        (lambda: stages.erase_event("e", 5), handles["matcher"].erase_event),
        (lambda: stages.read_faces("e", None, 1, 5), handles["matcher"].read_faces),
    ):
        method.failures = [raised]
        await send()
        assert len(method.calls) == 2
        method.failures = [raised, raised]
        with pytest.raises(StageUnavailable) as caught:
            await send()
        assert "secret" not in caught.value.detail
        assert len(method.calls) == 4


@pytest.mark.parametrize(("raised", "kind"), MAPPINGS[:-1], ids=lambda each: str(type(each).__name__))
async def test_failures_of_a_matcher_call(
    stages: Stages, handles: dict[str, Any], raised: Exception, kind: type[RollcallError]
) -> None:
    handles["matcher"].erase_person.failures = [raised]
    with pytest.raises(kind) as caught:
        await stages.erase_person("e", "p", 5)
    assert type(caught.value) is kind
    assert len(handles["matcher"].erase_person.calls) == 1


async def test_other_failures_of_a_matcher_call_are_ours_too(stages: Stages, handles: dict[str, Any]) -> None:
    handles["matcher"].erase_event.failures = [MAPPINGS[-1][0]]
    with pytest.raises(RollcallError):
        await stages.erase_event("e", 5)


@in_virtual_time
async def test_a_matcher_call_ends_at_its_deadline(stages: Stages, handles: dict[str, Any]) -> None:
    cancelled = False

    async def hang(*args: Any) -> None:
        nonlocal cancelled
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled = True
            raise

    handles["matcher"].enrol.answer = hang
    began = now()
    with pytest.raises(DeadlineExceeded):
        await stages.enrol([], 0.05)
    assert now() - began == pytest.approx(0.05)
    assert cancelled


async def test_a_stage_that_times_out_by_itself_is_not_our_deadline(
    stages: Stages, handles: dict[str, Any]
) -> None:
    handles["matcher"].enrol.failures = [wrapped(asyncio.TimeoutError("secret"))]
    with pytest.raises(InternalError):
        await stages.enrol([], 5)


@in_virtual_time
async def test_what_travels(stages: Stages, handles: dict[str, Any]) -> None:
    crops, vectors = np.zeros((2, 4, 4, 3), np.uint8), np.ones((2, 4), np.float32)
    assert await stages.detect(b"x", 3) == b"x"
    assert await stages.embed(crops, 3) is crops
    assert await stages.search("key", vectors, 5, 0.7, 3) == "key"
    assert await stages.search("key", vectors, 1, 0.7, 3, person_id="ada") == "key"
    assert await stages.read_faces("key", None, 7, 3) == FacePage((), None)
    assert await stages.read_faces("key", "place", 7, 3, person_id="ada") == FacePage((), "place")
    await stages.erase_faces("key", [("p", "f")], 3)
    [[detect]], [[embed]] = handles["detector"].detect.calls[0], handles["embedder"].embed.calls[0]
    [[search]], [[verification]] = handles["matcher"].search.calls
    assert isinstance(detect, DetectTask)
    assert isinstance(embed, EmbedTask)
    assert isinstance(search, SearchTask)
    assert detect.remaining_s == pytest.approx(3)
    assert (search.event_key, search.top_k, search.threshold, search.person_id) == ("key", 5, 0.7, None)
    assert (verification.event_key, verification.top_k, verification.person_id) == ("key", 1, "ada")
    assert search.vectors is vectors
    assert handles["matcher"].read_faces.calls == [("key", None, 7, None), ("key", "place", 7, "ada")]
    assert handles["matcher"].erase_faces.calls == [("key", [("p", "f")], None)]
    for task in (detect, embed, search):
        assert pickle.loads(pickle.dumps(task)).remaining_s == task.remaining_s


@in_virtual_time
async def test_tuning_takes_effect_at_once(stages: Stages, handles: dict[str, Any]) -> None:
    gate = asyncio.Event()

    async def answer(parcel: list[DetectTask]) -> list[bytes]:
        await gate.wait()
        return [task.picture for task in parcel]

    handles["detector"].detect.answer = answer
    stages.tune(read_tuning(IngressTuning, {"detector": {"max_calls": 1, "max_parcel_tasks": 2}}))
    tasks = []
    for n in range(5):
        tasks.append(asyncio.create_task(stages.detect(b"%d" % n, 5)))
        await asyncio.sleep(0.005)
    with pytest.raises(Overloaded):  # max_waiting is what it was
        await stages.detect(b"x", 5)
    gate.set()
    assert await asyncio.gather(*tasks) == [b"0", b"1", b"2", b"3", b"4"]
    assert [len(parcel) for (parcel,) in handles["detector"].detect.calls] == [1, 2, 2]


async def test_check_asks_every_stage(stages: Stages, handles: dict[str, Any]) -> None:
    await stages.check(1)
    for handle, method in (("detector", "detect"), ("embedder", "embed")):
        assert getattr(handles[handle], method).calls == [([],)]
    assert handles["matcher"].check_health.calls == [()]  # which asks the gallery


@pytest.mark.parametrize("raised", [RayActorError(), DeploymentUnavailableError("x")])
async def test_check_fails_with_any_stage(stages: Stages, handles: dict[str, Any], raised: Exception) -> None:
    handles["embedder"].embed.failures = [raised]
    with pytest.raises(StageUnavailable):
        await stages.check(1)


@in_virtual_time
async def test_check_does_not_wait_for_ever(stages: Stages, handles: dict[str, Any]) -> None:
    handles["matcher"].check_health.answer = lambda: asyncio.sleep(30)
    began = now()
    with pytest.raises(StageUnavailable):
        await stages.check(0.05)
    assert now() - began == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("kind", "wrong", "key"),
    [
        (BatchTuning, {"max_batch_size": 0}, "user_config.max_batch_size"),
        (BatchTuning, {"max_batch_size": "many"}, "user_config.max_batch_size"),
        (BatchTuning, {"batch_wait_timeout": 1}, "user_config.batch_wait_timeout"),
        (BatchTuning, {"batch_wait_timeout_s": -1}, "user_config.batch_wait_timeout_s"),
        (BatchTuning, {"batch_wait_timeout_s": float("nan")}, "user_config.batch_wait_timeout_s"),
        (IngressTuning, {"detector": {"max_call": 1}}, "user_config.detector.max_call"),
        (IngressTuning, {"matcher": {"max_calls": 0}}, "user_config.matcher.max_calls"),
        (IngressTuning, {"embedder": 3}, "user_config.embedder"),
        (IngressTuning, {"ingress": {}}, "user_config.ingress"),
    ],
)
def test_a_wrong_key_is_named(kind: Any, wrong: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_tuning(kind, wrong)
    assert f"{key}:" in caught.value.detail


def test_no_user_config_is_the_defaults() -> None:
    assert read_tuning(IngressTuning, None) == read_tuning(IngressTuning, {}) == IngressTuning()
    assert read_tuning(BatchTuning, {"max_batch_size": 3}).batch_wait_timeout_s == 0
