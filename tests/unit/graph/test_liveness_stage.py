"""The liveness stage as the ingress calls it: what travels, and what its failures become."""

from __future__ import annotations

import numpy as np
import pytest
from ray.exceptions import ActorUnavailableError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from serving.errors import DeadlineExceeded, InternalError, Overloaded, RollcallError, StageUnavailable
from serving.graph.liveness import LivenessStage
from serving.graph.messages import LivenessTask
from serving.graph.tuning import IngressTuning, StageTuning
from serving.packs.liveness import find_liveness_pack
from tests.unit.graph.test_stages import FakeHandle

CROPS = (np.full((2, 8, 8, 3), 7, np.uint8), np.full((2, 4, 4, 3), 9, np.uint8))


def score(parcel: list[LivenessTask]) -> list[np.ndarray]:
    return [np.full(len(task.crops[0]), 0.25, np.float32) for task in parcel]


@pytest.fixture
def handle() -> FakeHandle:
    return FakeHandle(score=score)


@pytest.fixture
def stage(handle: FakeHandle) -> LivenessStage:
    made = LivenessStage(handle, find_liveness_pack("minifasnet"), threshold=0.5, max_waiting=4)  # type: ignore[arg-type]
    made.tune(IngressTuning(liveness=StageTuning(max_calls=1, linger_s=0.0)))
    return made


async def test_crops_of_every_model_travel_and_scores_come_back(
    stage: LivenessStage, handle: FakeHandle
) -> None:
    np.testing.assert_array_equal(await stage.score(CROPS, 60), [0.25, 0.25])
    ((parcel,),) = handle.score.calls  # type: ignore[attr-defined]
    assert [each.shape for each in parcel[0].crops] == [(2, 8, 8, 3), (2, 4, 4, 3)]
    assert parcel[0].nbytes == 2 * 3 * (64 + 16)
    await stage.check(1)


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([BackPressureError(1, 1)], Overloaded),
        ([DeploymentUnavailableError(None)], StageUnavailable),
        ([ActorUnavailableError("away", None)] * 2, StageUnavailable),
        ([ValueError("secret")], InternalError),
        ([DeadlineExceeded()], DeadlineExceeded),
    ],
)
async def test_failures_become_our_own(
    stage: LivenessStage, handle: FakeHandle, failures: list[BaseException], expected: type[RollcallError]
) -> None:
    handle.score.failures = list(failures)  # type: ignore[attr-defined]
    with pytest.raises(expected) as caught:
        await stage.score(CROPS, 60)
    assert "secret" not in caught.value.detail


async def test_a_lost_replica_is_asked_for_once_more(stage: LivenessStage, handle: FakeHandle) -> None:
    handle.score.failures = [ActorUnavailableError("away", None)]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(await stage.score(CROPS, 60), [0.25, 0.25])


async def test_a_stage_that_does_not_answer_is_unavailable(stage: LivenessStage, handle: FakeHandle) -> None:
    handle.score.failures = [DeploymentUnavailableError(None)]  # type: ignore[attr-defined]
    with pytest.raises(StageUnavailable):
        await stage.check(1)
