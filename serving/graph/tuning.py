"""What an operator may change while the service runs, through `user_config` in the serve config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import ConfigurationError


class BatchTuning(BaseModel):
    """`user_config` of Detector, Liveness, Embedder and Matcher.

    Attributes:
        max_batch_size: tasks that `serve.batch` hands to the model at once.
        batch_wait_timeout_s: how long a task may wait for company while the model is free. 0 adds no wait,
            and still gives full batches under load (see `lane.Turnstile`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_batch_size: int = Field(16, ge=1, le=1024)
    batch_wait_timeout_s: float = Field(0.0, ge=0, le=1)

    def apply(self, batched_method: Any) -> None:
        """Set both on a method decorated with `serve.batch`."""
        batched_method.set_max_batch_size(self.max_batch_size)
        batched_method.set_batch_wait_timeout_s(self.batch_wait_timeout_s)


class StageTuning(BaseModel):
    """How the ingress calls one stage; see `coalescer.CoalescerLimits`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_calls: int = Field(2, ge=1, le=4096)
    linger_s: float = Field(0.004, ge=0, le=0.1)
    max_parcel_tasks: int = Field(16, ge=1, le=1024)


class IngressTuning(BaseModel):
    """`user_config` of Ingress: one `StageTuning` for each stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: StageTuning = StageTuning()
    embedder: StageTuning = StageTuning()
    liveness: StageTuning = StageTuning()
    matcher: StageTuning = StageTuning()


TuningT = TypeVar("TuningT", bound=BaseModel)


def read_tuning(kind: type[TuningT], user_config: Mapping[str, Any] | None) -> TuningT:
    """`user_config` as `kind`.

    Raises:
        ConfigurationError: naming the wrong key.
    """
    try:
        return kind.model_validate(user_config or {})
    except ValidationError as error:
        problems = [f"user_config.{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]
        raise ConfigurationError("; ".join(problems)) from None
