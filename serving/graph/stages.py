"""The graph as the ingress sees it: one method for each thing a stage can do."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from serving.errors import DeadlineExceeded, InternalError, Overloaded, RollcallError, StageUnavailable
from serving.gallery.records import FacePage, FaceRecord
from serving.graph.coalescer import CallLost, Coalescer, CoalescerLimits
from serving.graph.messages import Decision, DetectTask, EmbedTask, SearchTask
from serving.graph.tuning import IngressTuning, StageTuning
from serving.telemetry import recording
from serving.telemetry.stage_meters import CallMeter
from serving.vision.pipeline import PictureFaces

logger = logging.getLogger("ray.serve")

AnswerT = TypeVar("AnswerT")

LOST = (RayActorError, ReplicaUnavailableError, ConnectionError)
"""What a handle raises when the replica died or left; the work itself may be fine."""


class Stages:
    """Calls Detector, Embedder and Matcher; picture work is coalesced into parcels.

    `event_key` is the name of the event's partition in the gallery (`Event.partition`).

    Every method takes the seconds left to the request and raises `DeadlineExceeded` when they are over,
    `Overloaded` when a queue is full and `StageUnavailable` when a stage cannot be reached.

    Args:
        max_waiting: tasks that may wait for each stage.
        pack_id: whose models the stages run, for the metrics.
    """

    def __init__(
        self,
        detector: DeploymentHandle[Any],
        embedder: DeploymentHandle[Any],
        matcher: DeploymentHandle[Any],
        *,
        max_waiting: int,
        pack_id: str = "default",
    ) -> None:
        self._matcher = matcher
        self._calls = tuple(map(make_parcel_call, (detector.detect, embedder.embed, matcher.search)))
        limits = CoalescerLimits(max_waiting=max_waiting)
        self._detect: Coalescer[DetectTask, PictureFaces] = Coalescer(
            self._calls[0], limits, CallMeter("detector", pack_id)
        )
        self._embed: Coalescer[EmbedTask, NDArray[np.float32]] = Coalescer(
            self._calls[1], limits, CallMeter("embedder", pack_id)
        )
        self._search: Coalescer[SearchTask, list[Decision]] = Coalescer(
            self._calls[2], limits, CallMeter("matcher", pack_id)
        )

    def tune(self, tuning: IngressTuning) -> None:
        """Take over new limits at once, without losing what waits."""
        for coalescer, stage in (
            (self._detect, tuning.detector),
            (self._embed, tuning.embedder),
            (self._search, tuning.matcher),
        ):
            coalescer.limits = _with_tuning(coalescer.limits, stage)

    async def detect(self, picture: bytes, remaining_s: float, wants_liveness: bool = False) -> PictureFaces:
        """The faces of one picture file, on demand with crops for the liveness stage.

        Raises:
            RollcallError: also the picture's own error.
        """
        return await self._detect.submit(DetectTask(remaining_s, picture, wants_liveness), len(picture))

    async def embed(self, crops: NDArray[np.uint8], remaining_s: float) -> NDArray[np.float32]:
        """Vectors float32 [n,D] of crops uint8 [n,S,S,3]."""
        return await self._embed.submit(EmbedTask(remaining_s, crops), crops.nbytes)

    async def search(
        self,
        event_key: str,
        vectors: NDArray[np.float32],
        top_k: int,
        threshold: float,
        remaining_s: float,
        person_id: str | None = None,
    ) -> list[Decision]:
        """Who each of vectors float32 [n,D] is, among the people of that event alone.

        With `person_id` each is compared with that person only; one without faces gives no candidates.
        """
        task = SearchTask(remaining_s, event_key, vectors, top_k, threshold, person_id)
        return await self._search.submit(task, vectors.nbytes)

    async def enrol(self, faces: Sequence[FaceRecord], remaining_s: float) -> None:
        """Store faces; durable and searchable when it returns."""
        await self._call_matcher("enrol", remaining_s, list(faces))

    # Those that erase also reach the gallery of another pack, which need not serve, by its id.

    async def faces_of(
        self, event_key: str, person_id: str, remaining_s: float, *, pack_id: str | None = None
    ) -> list[str]:
        """The ids of a person's faces in the gallery."""
        faces: list[str] = await self._call_matcher("faces_of", remaining_s, event_key, person_id, pack_id)
        return faces

    async def read_faces(
        self,
        event_key: str,
        after: str | None,
        limit: int,
        remaining_s: float,
        person_id: str | None = None,
    ) -> FacePage:
        """A page of the stored faces of an event, or of one person of it, with their vectors.

        Args:
            after: None for the first page, then `next` of the page before.
            limit: faces wanted, 1..1000; the page may hold fewer while `next` is not None.
        """
        page: FacePage = await self._call_matcher(
            "read_faces", remaining_s, event_key, after, limit, person_id
        )
        return page

    async def erase_faces(
        self,
        event_key: str,
        faces: Sequence[tuple[str, str]],
        remaining_s: float,
        *,
        pack_id: str | None = None,
    ) -> None:
        """Erase (person, face) pairs of an event."""
        await self._call_matcher("erase_faces", remaining_s, event_key, list(faces), pack_id)

    async def erase_person(
        self, event_key: str, person_id: str, remaining_s: float, *, pack_id: str | None = None
    ) -> None:
        """Erase every face of a person of an event."""
        await self._call_matcher("erase_person", remaining_s, event_key, person_id, pack_id)

    async def erase_event(self, event_key: str, remaining_s: float, *, pack_id: str | None = None) -> None:
        """Erase every face of an event."""
        await self._call_matcher("erase_event", remaining_s, event_key, pack_id)

    async def check(self, remaining_s: float) -> None:
        """Raise StageUnavailable unless each stage has a replica that answers, and the gallery does too."""
        probes = (*(call([]) for call in self._calls[:2]), self._call_matcher("check_health", remaining_s))
        try:
            await asyncio.wait_for(asyncio.gather(*probes), remaining_s)
        except (CallLost, RollcallError, asyncio.TimeoutError):
            raise StageUnavailable from None

    async def _call_matcher(self, method: str, remaining_s: float, *args: Any) -> Any:
        # Every one of these is idempotent, so one more try after a lost replica cannot do it twice.
        async def call_twice() -> Any:
            for last in (False, True):
                try:
                    return await _call(lambda: getattr(self._matcher, method).remote(*args))
                except CallLost as lost:
                    if last:
                        raise StageUnavailable(str(lost) or None) from None
            raise AssertionError

        try:
            return await asyncio.wait_for(call_twice(), remaining_s)
        except asyncio.TimeoutError:
            raise DeadlineExceeded from None


def _with_tuning(limits: CoalescerLimits, stage: StageTuning) -> CoalescerLimits:
    return dataclasses.replace(limits, **stage.model_dump())


def make_parcel_call(method: Any) -> Callable[[list[Any]], Awaitable[Any]]:
    """What a coalescer calls: a deployment's method that takes a parcel, its failures turned into ours."""
    # Nothing in a parcel needs Serve's default, cloudpickle, which takes twice as long.
    method = method.options(request_serialization="pickle", response_serialization="pickle")

    async def call(parcel: list[Any]) -> Any:
        return await _call(lambda: method.remote(parcel))

    return call


async def _call(send: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
    """Await a Serve call, its failures turned into ours.

    Raises:
        CallLost: the replica is gone.
        RollcallError: the stage's own error, or what fits Serve's.
    """
    try:
        return await send()
    except RollcallError as error:
        raise _without_wrapping(error) from None
    except BackPressureError:
        recording.note_refusal("backpressure")
        raise Overloaded from None
    except RayTaskError as error:  # raised by the stage's code: before LOST, whose classes it may also be
        if isinstance(error.cause, RollcallError):
            raise error.cause from None
        logger.error("a stage raised %s", type(error.cause).__name__, exc_info=error)
        raise InternalError from None
    except LOST as error:
        raise CallLost(type(error).__name__) from None
    except DeploymentUnavailableError:
        raise StageUnavailable from None
    except grpc.aio.AioRpcError as error:
        raise CallLost(error.code().name) from None
    except Exception as error:
        logger.error("a call to a stage failed: %s", type(error).__name__, exc_info=error)
        raise InternalError from None


def _without_wrapping(error: RollcallError) -> RollcallError:
    cause = getattr(error, "cause", None)  # Ray's RayTaskError that also is the error's own class
    return cause if isinstance(cause, RollcallError) else error
