"""The one process that owns an embedded gallery, and the client through which everybody else uses it.

The owner is a Ray actor, because the engine stalls its process in every call and admits one process per
directory. This is the only module of the gallery that imports Ray.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
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
from serving.gallery.embedded import EmbeddedGallery
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
from serving.gallery.shard import EnginePanic

T = TypeVar("T")
Rows = npt.NDArray[np.float32]

NAMESPACE = "rollcall"
OPEN_TIMEOUT_S = 60.0
HEALTH_TIMEOUT_S = 2.0
BUSY_MOST_S = 300.0
"""How long an owner may be silent and still count as busy rather than gone."""

_HEALTH_GROUP = "health"
_HEALTH_WAIT_S = 0.5
_LOCK_WAIT_S = 15.0
_MOST_PENDING_CALLS = 1000
_MOST_ATTEMPTS = 1000
_HEAD_NODE = "node:__internal_head__"
_PANIC_EXIT = 70
_FIRST_RETRY_S = 60.0
_LAST_RETRY_S = 3600.0
_OTHER_VERSION = "the gallery's owner runs another version; stop it with `stop_owner`"

_log = logging.getLogger(__name__)


class GalleryOwner:
    """Holds the EmbeddedGallery inside the actor: calls in columns, a periodic flush, due compactions.

    Opens on first use, so that a configuration error reaches the caller as itself and not as a dead actor.

    Args:
        directory, pack_id, dimension, hnsw: see EmbeddedGallery.
        flush_interval_s: what a power failure can take at most (a killed process loses nothing).
        compact_after_s: how long after an erasure the bytes of the face may stay in the files.
    """

    def __init__(
        self,
        directory: str,
        pack_id: str,
        dimension: int,
        flush_interval_s: float = 1.0,
        compact_after_s: float = 3600.0,
        hnsw: bool = False,
    ) -> None:
        self._core = EmbeddedGallery(directory, pack_id, dimension, lock_wait_s=_LOCK_WAIT_S, hnsw=hnsw)
        self._flush_interval_s = flush_interval_s
        self._compact_after_s = compact_after_s
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._upkeep: threading.Thread | None = None
        self._failed_compactions = 0
        self._compact_not_before = float("-inf")

    def open(self) -> None:
        """Open the files; see EmbeddedGallery.open."""
        self._do(lambda: None)

    def upsert(
        self, keys: Sequence[tuple[str, str, str]], vectors: Rows, created_at: npt.NDArray[np.float64]
    ) -> None:
        """Store n faces: keys (event, person, face), vectors float32 [n, D], created_at float64 [n]."""
        faces = [
            FaceRecord(*key, vector, float(at))
            for key, vector, at in zip(keys, vectors, created_at, strict=True)
        ]
        self._do(lambda: self._core.upsert(faces))

    def search(
        self, events: Sequence[str], vectors: Rows, top_ks: Sequence[int], persons: Sequence[str | None]
    ) -> list[list[tuple[str, str, float]]]:
        """Answer n probes: vectors float32 [n, D]. Returns (person, face, cosine) per hit and probe."""
        probes = [Probe(*probe) for probe in zip(events, vectors, top_ks, persons, strict=True)]
        found = self._do(lambda: self._core.search(probes))
        return [[(hit.person, hit.face, hit.cosine) for hit in hits] for hits in found]

    def erase_faces(self, event: str, faces: Sequence[tuple[str, str]]) -> None:
        self._do(lambda: self._core.erase_faces(event, faces))

    def erase_person(self, event: str, person: str) -> None:
        self._do(lambda: self._core.erase_person(event, person))

    def erase_event(self, event: str) -> None:
        self._do(lambda: self._core.erase_event(event))

    def count(self, event: str, person: str | None) -> int:
        return self._do(lambda: self._core.count(event, person))

    def faces_of(self, event: str, person: str) -> list[str]:
        return self._do(lambda: self._core.faces_of(event, person))

    def read_faces(
        self, event: str, after: str | None, limit: int, person: str | None
    ) -> tuple[list[tuple[str, str]], Rows, list[float], str | None]:
        """Return n faces: keys (person, face), vectors float32 [n, D], times; and the page's `next`."""
        page = self._do(lambda: self._core.read_faces(event, after, limit, person))
        vectors = np.array([face.vector for face in page.faces], np.float32)
        keys = [(face.person, face.face) for face in page.faces]
        return keys, vectors, [face.created_at for face in page.faces], page.next

    def flush(self) -> None:
        self._do(self._core.flush)

    def compact(self) -> None:
        self._do(self._core.compact)
        self._failed_compactions, self._compact_not_before = 0, float("-inf")

    def check(self) -> GalleryHealth:
        """Ask the engine; "busy" when another call has held it for too long to wait."""
        if not self._turn.acquire(timeout=_HEALTH_WAIT_S):
            return GalleryHealth("busy", detail="another call is at work")
        try:
            return self._run(self._core.check)
        finally:
            self._turn.release()

    def close(self) -> None:
        """Flush, end the upkeep and let the directory go."""
        self._stopping.set()
        with self._turn:
            self._core.close()

    def _do(self, work: Callable[[], T]) -> T:
        with self._turn:
            return self._run(work)

    def _run(self, work: Callable[[], T]) -> T:
        if self._stopping.is_set():
            raise StageUnavailable("the gallery's owner is stopping")
        try:
            self._core.open()
            if self._upkeep is None:
                self._upkeep = threading.Thread(target=self._keep_up, name="gallery-upkeep", daemon=True)
                self._upkeep.start()
            return work()
        except EnginePanic:
            # Memory of the engine can no longer be trusted; the next process replays its log.
            _log.exception("gallery engine panicked; leaving for a restart")
            os._exit(_PANIC_EXIT)

    def _keep_up(self) -> None:
        while not self._stopping.wait(self._flush_interval_s):
            # Nothing may end the thread: a full disk today must not stop flushes tomorrow.
            try:
                self._do(self._core.flush)
                if self._compaction_is_due():
                    self._compact_or_back_off()
            except StageUnavailable:
                continue
            except Exception:
                _log.exception("gallery upkeep failed; it will be tried again")

    def _compaction_is_due(self) -> bool:
        erased_since = self._core.erased_since
        if erased_since is None or time.time() - erased_since < self._compact_after_s:
            return False
        return time.monotonic() >= self._compact_not_before

    def _compact_or_back_off(self) -> None:
        """Compact; after a failure wait 1, 2, 4, ... 60 minutes, for each attempt holds up all calls."""
        try:
            self.compact()
        except StageUnavailable:
            raise
        except Exception:
            pause_s = min(_FIRST_RETRY_S * 2**self._failed_compactions, _LAST_RETRY_S)
            self._failed_compactions += 1
            self._compact_not_before = time.monotonic() + pause_s
            _log.exception("gallery compaction failed; it will be tried again in %.0f s", pause_s)


class EmbeddedGalleryClient:
    """`Gallery` that asks the owner actor of a directory, creating it where there is none.

    The actor is detached: it outlives this client and its driver, restarts by itself when it dies, and lives
    on the head node, whose disk holds `directory`. Ray must be initialised.

    Args:
        directory: absolute or relative to the current directory, on the head node.
        timeout_s: deadline of every call, retries included.
        owner_num_cpus: what the actor reserves; 0 leaves all of a small machine to the models.
        flush_interval_s, compact_after_s, hnsw: see GalleryOwner; they count when the actor is created.
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
        hnsw: bool = False,
        owner_num_cpus: float = 0.0,
    ) -> None:
        self._directory = str(Path(directory).absolute())
        self._dimension = dimension
        self._timeout_s = timeout_s
        self._owner_num_cpus = owner_num_cpus
        self._arguments = (self._directory, pack_id, dimension, flush_interval_s, compact_after_s, hnsw)
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
        handle = await self._owner()
        with suppress(RollcallError):
            await self._ask("close", timeout_s=timeout_s)
        await asyncio.to_thread(ray.kill, handle, no_restart=True)
        self._handle = None

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
        )
        try:
            return actor.remote(*self._arguments)
        except (RayError, ValueError, ConnectionError) as error:
            # Two clients can create at once, or find an actor that dies under their hands.
            raise Transient(StageUnavailable(f"the gallery's owner cannot be started: {error}")) from error


def owner_name(directory: str | Path, pack_id: str, dimension: int) -> str:
    """Return the name of the actor that owns a collection of a directory, the same for all who ask."""
    path = str(Path(directory).absolute())
    digest = hashlib.sha256(path.encode()).hexdigest()[:12]
    return f"gallery-{collection_name(pack_id, dimension)}-{digest}"
