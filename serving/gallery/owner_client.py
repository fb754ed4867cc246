"""The client through which everybody uses the one process that owns an embedded gallery.

This is the only module of the gallery that imports Ray.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import PendingCallsLimitExceeded, RayActorError, RayError, RayTaskError

from serving.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InternalError,
    Overloaded,
    RollcallError,
    StageUnavailable,
)
from serving.gallery.owner import GalleryOwner
from serving.gallery.protocol import GalleryHealth
from serving.gallery.records import (
    FacePage,
    FaceRecord,
    Hit,
    Probe,
    check_faces,
    check_probes,
    collection_name,
)
from serving.gallery.retries import Transient, retry_within

NAMESPACE = "rollcall"
OPEN_TIMEOUT_S = 60.0
HEALTH_TIMEOUT_S = 2.0
BUSY_MOST_S = 300.0
"""How long an owner may be silent and still count as busy rather than gone."""

_HEALTH_GROUP = "health"
_MOST_PENDING_CALLS = 1000
_MOST_ATTEMPTS = 1000
_HEAD_NODE = "node:__internal_head__"
_OTHER_VERSION = "the gallery's owner runs another version; stop it with `stop_owner`"


class EmbeddedGalleryClient:
    """`Gallery` that asks the owner actor of a directory, creating it where there is none.

    The actor is detached: it outlives this client and its driver, restarts by itself when it dies, and lives
    on the head node, whose disk holds `directory`. Ray must be initialised.

    Args:
        directory: absolute or relative to the current directory, on the head node.
        timeout_s: deadline of every call, retries included.
        owner_num_cpus: what the actor reserves; 0 leaves all of a small machine to the models.
        flush_interval_s, compact_after_s, min_free_bytes, hnsw: see GalleryOwner; they count when the actor
            is created.
        on_owner_start: its `on_start`; likewise.
    """

    def __init__(
        self,
        directory: str | Path,
        pack_id: str,
        dimension: int,
        *,
        timeout_s: float = 5.0,
        flush_interval_s: float = 1.0,
        compact_after_s: float = 3600.0,
        min_free_bytes: int = 0,
        hnsw: bool = False,
        owner_num_cpus: float = 0.0,
        on_owner_start: Callable[[], None] | None = None,
    ) -> None:
        self._directory = str(Path(directory).absolute())
        self._dimension = dimension
        self._timeout_s = timeout_s
        self._owner_num_cpus = owner_num_cpus
        self._arguments = (
            self._directory,
            pack_id,
            dimension,
            flush_interval_s,
            compact_after_s,
            min_free_bytes,
            hnsw,
            on_owner_start,
        )
        self.actor_name = owner_name(self._directory, pack_id, dimension)
        self._handle: Any = None
        self._answered_at = time.monotonic()

    async def open(self) -> None:
        # The first call may have to wait for a new process and its imports.
        await self._ask("open", timeout_s=max(OPEN_TIMEOUT_S, self._timeout_s))

    async def upsert(self, faces: Sequence[FaceRecord]) -> None:
        checked = check_faces(faces, self._dimension)
        if checked:
            keys = [(face.event, face.person, face.face) for face in checked]
            vectors = np.stack([face.vector for face in checked])
            await self._ask("upsert", keys, vectors, np.array([face.created_at for face in checked]))

    async def search(self, probes: Sequence[Probe]) -> list[list[Hit]]:
        checked = check_probes(probes, self._dimension)
        if not checked:
            return []
        vectors = np.stack([probe.vector for probe in checked])
        events, top_ks = [probe.event for probe in checked], [probe.top_k for probe in checked]
        persons = [probe.person for probe in checked]
        answer = await self._ask("search", events, vectors, top_ks, persons)
        return [[Hit(*hit) for hit in hits] for hits in answer]

    async def erase_faces(self, event: str, faces: Sequence[tuple[str, str]]) -> None:
        await self._ask("erase_faces", event, list(faces))

    async def erase_person(self, event: str, person: str) -> None:
        await self._ask("erase_person", event, person)

    async def erase_event(self, event: str) -> None:
        await self._ask("erase_event", event)

    async def count(self, event: str, person: str | None = None) -> int:
        return int(await self._ask("count", event, person))

    async def faces_of(self, event: str, person: str) -> list[str]:
        return list(await self._ask("faces_of", event, person))

    async def read_faces(
        self, event: str, after: str | None, limit: int, person: str | None = None
    ) -> FacePage:
        keys, vectors, times, following = await self._ask("read_faces", event, after, limit, person)
        # A copy, because what Ray hands out is read-only.
        rows = zip(keys, vectors.copy(), times, strict=True)
        faces = (FaceRecord(event, who, name, vector, at) for (who, name), vector, at in rows)
        return FacePage(tuple(faces), following)

    async def check(self) -> GalleryHealth:
        """Ask the owner how it is, past the queue of other calls.

        The engine can hold the owner's interpreter for seconds; silence of less than BUSY_MOST_S since it
        last answered anything is "busy", more is StageUnavailable.
        """
        try:
            wait_s = min(HEALTH_TIMEOUT_S, self._timeout_s)
            health = await self._ask("check", timeout_s=wait_s, group=_HEALTH_GROUP)
        except DeadlineExceeded:
            silent_s = time.monotonic() - self._answered_at
            if silent_s < BUSY_MOST_S:
                return GalleryHealth("busy", detail=f"no answer for {silent_s:.1f} s")
            raise StageUnavailable(f"the gallery's owner has been silent for {silent_s:.0f} s") from None
        if not isinstance(health, GalleryHealth):
            raise InternalError(_OTHER_VERSION)
        return health

    async def flush(self) -> None:
        await self._ask("flush")

    async def compact(self, timeout_s: float = 600.0) -> None:
        """Remove the bytes of erased faces from the files now; see EmbeddedGallery.compact."""
        await self._ask("compact", timeout_s=timeout_s)

    async def close(self) -> None:
        """Let the actor's handle go; the actor stays, others may be using it."""
        self._handle = None

    async def stop_owner(self, timeout_s: float = 30.0) -> None:
        """Flush and end the owner actor for everybody; a later call of any client starts a new one."""
        await self._owner()
        self._handle = None
        await _stop(self.actor_name, timeout_s)

    async def _ask(
        self, method: str, *arguments: Any, timeout_s: float | None = None, group: str | None = None
    ) -> Any:
        attempt = partial(self._attempt, method, group, arguments)
        budget_s = self._timeout_s if timeout_s is None else timeout_s
        return await retry_within(budget_s, attempt, _MOST_ATTEMPTS)

    async def _attempt(self, method: str, group: str | None, arguments: tuple[Any, ...]) -> Any:
        handle = await self._owner()
        try:
            call = getattr(handle, method)
            answer = (call.options(concurrency_group=group) if group else call).remote(*arguments)
        except PendingCallsLimitExceeded:
            raise Overloaded("too many calls wait for the gallery") from None
        except (AttributeError, TypeError) as error:
            raise InternalError(_OTHER_VERSION) from error
        try:
            result = await answer
        except asyncio.CancelledError:
            # Out of time: what nobody waits for need not run.
            with suppress(Exception):
                ray.cancel(answer)
            raise
        except RayTaskError as error:
            if isinstance(error.cause, RollcallError):
                raise error.cause from None
            raise InternalError(f"the gallery's owner failed: {error.cause!r}") from error
        except RayActorError as error:
            # A restarting actor keeps its name, a dead one gives it up: look it up (or create it) again.
            self._handle = None
            raise Transient(StageUnavailable("the gallery's owner is restarting")) from error
        except RayError as error:
            raise Transient(StageUnavailable(f"the gallery's owner cannot be reached: {error}")) from error
        self._answered_at = time.monotonic()
        return result

    async def _owner(self) -> Any:
        if self._handle is None:
            self._handle = await asyncio.to_thread(self._find_or_create)
        return self._handle

    def _find_or_create(self) -> Any:
        if not ray.is_initialized():
            raise ConfigurationError("the embedded gallery needs Ray to be running", key="gallery.engine")
        actor = ray.remote(concurrency_groups={_HEALTH_GROUP: 1})(GalleryOwner).options(
            name=self.actor_name,
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            max_restarts=-1,
            max_task_retries=0,
            max_pending_calls=_MOST_PENDING_CALLS,
            max_concurrency=1,
            num_cpus=self._owner_num_cpus,
            resources={_HEAD_NODE: 0.001},
            enable_task_events=False,  # of every search; a cluster's control service would keep them
        )
        try:
            return actor.remote(*self._arguments)
        except (RayError, ValueError, ConnectionError) as error:
            # Two clients can create at once, or find an actor that dies under their hands.
            raise Transient(StageUnavailable(f"the gallery's owner cannot be started: {error}")) from error


async def find_silence_s(directory: str | Path, collection: str) -> float:
    """For how long nobody has asked the owner of a collection; never creates one.

    Raises:
        StageUnavailable: this Ray has none, or it does not answer.
        InternalError: it runs another version.
    """
    handle = await asyncio.to_thread(_find, _name(directory, collection))
    try:
        answer = handle.find_silence_s.options(concurrency_group=_HEALTH_GROUP).remote()
        return float(await asyncio.wait_for(answer, HEALTH_TIMEOUT_S))
    except AttributeError as error:
        raise InternalError(_OTHER_VERSION) from error
    except (RayError, asyncio.TimeoutError) as error:
        raise StageUnavailable(f"the gallery's owner does not answer: {type(error).__name__}") from error


async def stop_owner(directory: str | Path, collection: str, timeout_s: float = 30.0) -> None:
    """Flush and end the owner of a collection, where this Ray has one; see `find_silence_s` first."""
    await _stop(_name(directory, collection), timeout_s)


async def _stop(name: str, timeout_s: float) -> None:
    with suppress(StageUnavailable):
        handle = await asyncio.to_thread(_find, name)
        with suppress(RayError, asyncio.TimeoutError):  # what it acknowledged is in its log in any case
            await asyncio.wait_for(handle.close.remote(), timeout_s)
        await asyncio.to_thread(ray.kill, handle, no_restart=True)


def _find(name: str) -> Any:
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        raise StageUnavailable("this Ray has no owner of the gallery") from None


def owner_name(directory: str | Path, pack_id: str, dimension: int) -> str:
    """Return the name of the actor that owns a collection of a directory, the same for all who ask."""
    return _name(directory, collection_name(pack_id, dimension))


def _name(directory: str | Path, collection: str) -> str:
    path = str(Path(directory).absolute())
    digest = hashlib.sha256(path.encode()).hexdigest()[:12]
    return f"gallery-{collection}-{digest}"
