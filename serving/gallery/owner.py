"""The one process that owns an embedded gallery.

It is a Ray actor, which `owner_client` makes of it, because the engine stalls its process in every call and
admits one process per directory.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from serving.errors import RollcallError, StageUnavailable, StorageFull
from serving.gallery.embedded import EmbeddedGallery
from serving.gallery.protocol import GalleryHealth
from serving.gallery.records import FaceRecord, Probe
from serving.gallery.shard import EnginePanic

T = TypeVar("T")
Rows = npt.NDArray[np.float32]

_HEALTH_WAIT_S = 0.5
_LOCK_WAIT_S = 15.0
_PANIC_EXIT = 70
_FIRST_RETRY_S = 60.0
_LAST_RETRY_S = 3600.0

_log = logging.getLogger(__name__)


class GalleryOwner:
    """Holds the EmbeddedGallery inside the actor: calls in columns, a periodic flush, due compactions.

    Opens on first use, so that a configuration error reaches the caller as itself and not as a dead actor.

    Args:
        directory, pack_id, dimension, min_free_bytes, hnsw: see EmbeddedGallery.
        flush_interval_s: what a power failure can take at most (a killed process loses nothing).
        compact_after_s: how long after an erasure the bytes of the face may stay in the files.
        on_start: called first, each time the actor's process begins.
    """

    def __init__(
        self,
        directory: str,
        pack_id: str,
        dimension: int,
        flush_interval_s: float = 1.0,
        compact_after_s: float = 3600.0,
        min_free_bytes: int = 0,
        hnsw: bool = False,
        on_start: Callable[[], None] | None = None,
    ) -> None:
        self._on_start = on_start
        with contextlib.suppress(RollcallError):
            self._start()  # else each call tries it again, and tells its caller
        self._core = EmbeddedGallery(
            directory,
            pack_id,
            dimension,
            lock_wait_s=_LOCK_WAIT_S,
            min_free_bytes=min_free_bytes,
            hnsw=hnsw,
        )
        self._flush_interval_s = flush_interval_s
        self._compact_after_s = compact_after_s
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._upkeep: threading.Thread | None = None
        self._failed_compactions = 0
        self._compact_not_before = float("-inf")
        self._asked_at = time.monotonic()

    def _start(self) -> None:
        if self._on_start is not None:
            self._on_start()
            self._on_start = None

    def open(self) -> None:
        """Open the files; see EmbeddedGallery.open."""
        self._answer(lambda: None)

    def upsert(
        self, keys: Sequence[tuple[str, str, str]], vectors: Rows, created_at: npt.NDArray[np.float64]
    ) -> None:
        """Store n faces: keys (event, person, face), vectors float32 [n, D], created_at float64 [n]."""
        faces = [
            FaceRecord(*key, vector, float(at))
            for key, vector, at in zip(keys, vectors, created_at, strict=True)
        ]
        self._answer(lambda: self._core.upsert(faces))

    def search(
        self, events: Sequence[str], vectors: Rows, top_ks: Sequence[int], persons: Sequence[str | None]
    ) -> list[list[tuple[str, str, float]]]:
        """Answer n probes: vectors float32 [n, D]. Returns (person, face, cosine) per hit and probe."""
        probes = [Probe(*probe) for probe in zip(events, vectors, top_ks, persons, strict=True)]
        found = self._answer(lambda: self._core.search(probes))
        return [[(hit.person, hit.face, hit.cosine) for hit in hits] for hits in found]

    def erase_faces(self, event: str, faces: Sequence[tuple[str, str]]) -> None:
        self._answer(lambda: self._core.erase_faces(event, faces))

    def erase_person(self, event: str, person: str) -> None:
        self._answer(lambda: self._core.erase_person(event, person))

    def erase_event(self, event: str) -> None:
        self._answer(lambda: self._core.erase_event(event))

    def count(self, event: str, person: str | None) -> int:
        return self._answer(lambda: self._core.count(event, person))

    def faces_of(self, event: str, person: str) -> list[str]:
        return self._answer(lambda: self._core.faces_of(event, person))

    def read_faces(
        self, event: str, after: str | None, limit: int, person: str | None
    ) -> tuple[list[tuple[str, str]], Rows, list[float], str | None]:
        """Return n faces: keys (person, face), vectors float32 [n, D], times; and the page's `next`."""
        page = self._answer(lambda: self._core.read_faces(event, after, limit, person))
        vectors = np.array([face.vector for face in page.faces], np.float32)
        keys = [(face.person, face.face) for face in page.faces]
        return keys, vectors, [face.created_at for face in page.faces], page.next

    def flush(self) -> None:
        self._answer(self._core.flush)

    def compact(self) -> None:
        self._asked_at = time.monotonic()
        self._compact()

    def find_silence_s(self) -> float:
        """For how long nobody has asked anything; 0 while it is at work. Upkeep is no question."""
        return 0.0 if self._turn.locked() else time.monotonic() - self._asked_at

    def check(self) -> GalleryHealth:
        """Ask the engine; "busy" when another call has held it for too long to wait."""
        self._asked_at = time.monotonic()
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

    def _answer(self, work: Callable[[], T]) -> T:
        try:
            return self._do(work)
        finally:
            self._asked_at = time.monotonic()

    def _do(self, work: Callable[[], T]) -> T:
        with self._turn:
            return self._run(work)

    def _run(self, work: Callable[[], T]) -> T:
        if self._stopping.is_set():
            raise StageUnavailable("the gallery's owner is stopping")
        self._start()
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
            self._compact()
        except StageUnavailable as error:
            if not isinstance(error, StorageFull):
                raise
            self._back_off()
        except Exception:
            self._back_off()

    def _compact(self) -> None:
        self._do(self._core.compact)
        self._failed_compactions, self._compact_not_before = 0, float("-inf")

    def _back_off(self) -> None:
        pause_s = min(_FIRST_RETRY_S * 2**self._failed_compactions, _LAST_RETRY_S)
        self._failed_compactions += 1
        self._compact_not_before = time.monotonic() + pause_s
        _log.exception("gallery compaction failed; it will be tried again in %.0f s", pause_s)
