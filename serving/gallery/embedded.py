"""The embedded engine: Qdrant's own engine in this process, on files in one directory.

Every call holds the interpreter lock until it returns, so it belongs into a process of its own: see `owner`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from serving.directories import sync_directory
from serving.errors import ConfigurationError, InternalError, StageUnavailable
from serving.gallery.grouping import plan_search
from serving.gallery.layout import POINTS_PER_PAGE, POINTS_PER_WRITE
from serving.gallery.protocol import GalleryHealth
from serving.gallery.records import (
    FacePage,
    FaceRecord,
    Hit,
    Probe,
    check_faces,
    check_page,
    check_probes,
    collection_name,
    created_at_text,
    point_id,
)
from serving.gallery.shard import (
    call_engine,
    query_points,
    read_points,
    shard_config,
    turn_log_over,
    within,
)
from serving.gallery.shard_files import (
    DirectoryLock,
    count_bytes,
    create_whole,
    require_space,
)

_COMPACTION_BYTES = 192 * 2**20
"""What compacting takes beside a second copy of the files: the log is turned over in files of 32 MiB."""


class EmbeddedGallery:
    """The synchronous core: the faces of one pack in one directory, owned by one process.

    Not safe for use from several threads at once. Nothing that `upsert` accepted is lost when the process is
    killed; a power failure can take what was written since the last `flush` unless `sync_writes` is set.

    Args:
        directory: where collections live; each is a subdirectory `faces__{pack}__{dim}`.
        pack_id: model pack whose vectors these are.
        dimension: D of its vectors.
        lock_wait_s: how long `open` waits for an earlier owner to end.
        sync_writes: flush inside every write (about 10-20 ms each) instead of on the owner's timer.
        min_free_bytes: below so much free space on its disk faces are refused; below a quarter of it erasures
            too, and it does not open.
        hnsw: let `compact` build a per-event HNSW graph above FULL_SCAN_KIB. Building it stalls the
            process (see docs/gallery.md), so by default every search of this engine is exact.
    """

    def __init__(
        self,
        directory: str | Path,
        pack_id: str,
        dimension: int,
        *,
        lock_wait_s: float = 0.0,
        sync_writes: bool = False,
        min_free_bytes: int = 0,
        hnsw: bool = False,
    ) -> None:
        self.collection = collection_name(pack_id, dimension)
        self.dimension = dimension
        self.directory = Path(directory).absolute()
        self._path = self.directory / self.collection
        self._erasure_mark = self.directory / f"{self.collection}.erased"
        self._lock = DirectoryLock(self.directory / f"{self.collection}.lock")
        self._lock_wait_s = lock_wait_s
        self._sync_writes = sync_writes
        self._min_free_bytes = min_free_bytes
        self._config = shard_config(dimension, hnsw)
        self._shard: Any = None
        self._dirty = False

    # Life cycle.

    def open(self) -> None:
        """Take the directory and load or create the collection; does nothing when open already.

        Raises:
            ConfigurationError: another process owns it, it cannot be written, or its vectors are of
                another kind.
            StorageFull: there is no space to open it in.
            InternalError: the stored files cannot be read.
        """
        if self._shard is not None:
            return
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire(self._lock_wait_s)
        except OSError as error:
            raise ConfigurationError(
                f"the gallery directory {self.directory} cannot be used: {error.strerror}",
                directory=str(self.directory),
            ) from error
        try:
            require_space(self.directory, self._min_free_bytes // 4)
            # The name appears only when the shard is complete: a crash in between leaves a draft, never
            # a half-made collection to load.
            if not self._path.exists():
                create_whole(self._path, self._fill)
            self._shard = self._load()
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Write everything out and let the directory go; does nothing when closed already."""
        if self._shard is not None:
            shard, self._shard = self._shard, None
            try:
                call_engine(shard.flush)
                call_engine(shard.close)
            finally:
                self._lock.release()

    def flush(self) -> None:
        """Force acknowledged writes to the disk; free when there were none since the last time."""
        if self._dirty:
            call_engine(self._open_shard().flush)
            self._dirty = False

    # Faces.

    def upsert(self, faces: Sequence[FaceRecord]) -> None:
        """Store faces, all or (on a bad one) none; each call is visible to the next search.

        Raises:
            StorageFull: the disk has too little space left.
        """
        require_space(self.directory, self._min_free_bytes)
        points = [
            edge.Point(
                point_id(face.event, face.person, face.face),
                face.vector.tolist(),
                {
                    "event": face.event,
                    "person": face.person,
                    "face": face.face,
                    "created_at": created_at_text(face.created_at),
                },
            )
            for face in check_faces(faces, self.dimension)
        ]
        for start in range(0, len(points), POINTS_PER_WRITE):
            self._write(edge.UpdateOperation.upsert_points(points[start : start + POINTS_PER_WRITE]))

    def search(self, probes: Sequence[Probe]) -> list[list[Hit]]:
        """Answer a batch of probes; see `Gallery.search`."""
        search = plan_search(check_probes(probes, self.dimension))
        shard = self._open_shard()
        try:
            queries = next(search)
            while True:
                queries = search.send(query_points(shard, queries))
        except StopIteration as done:
            hits: list[list[Hit]] = done.value
            return hits

    def count(self, event: str, person: str | None = None) -> int:
        """Return how many faces an event, or one person of it, has."""
        request = edge.CountRequest(exact=True, filter=within(event, person))
        return int(call_engine(self._open_shard().count, request))

    def faces_of(self, event: str, person: str) -> list[str]:
        """Return the face ids of one person, sorted."""
        shard, faces, offset = self._open_shard(), [], None
        only = edge.PayloadSelector.Include(["face"])
        while True:
            request = edge.ScrollRequest(
                offset=offset, limit=POINTS_PER_PAGE, filter=within(event, person), with_payload=only
            )
            page, offset = call_engine(shard.scroll, request)
            faces += [record.payload["face"] for record in page]
            if offset is None:
                return sorted(faces)

    def read_faces(self, event: str, after: str | None, limit: int, person: str | None = None) -> FacePage:
        """Return a page of stored faces; see `Gallery.read_faces`."""
        most = check_page(after, limit, self.dimension)
        return read_points(self._open_shard(), event, person, after, most)

    # Erasure.

    def erase_faces(self, event: str, faces: Sequence[tuple[str, str]]) -> None:
        """Erase single pictures, given as (person, face)."""
        if faces:
            ids = {point_id(event, person, face) for person, face in faces}
            self._erase(within(event, ids=ids))

    def erase_person(self, event: str, person: str) -> None:
        """Erase all pictures of one person at one event."""
        self._erase(within(event, person))

    def erase_event(self, event: str) -> None:
        """Erase everything that was stored for an event."""
        self._erase(within(event))

    @property
    def compaction_due(self) -> bool:
        """Whether something was erased whose bytes may still be in the files; survives restarts."""
        return self.erased_since is not None

    @property
    def erased_since(self) -> float | None:
        """Unix seconds of the first erasure since the last compaction, or None; survives restarts."""
        try:
            return self._erasure_mark.stat().st_mtime
        except FileNotFoundError:
            return None

    def compact(self) -> None:
        """Rewrite the files so that no byte of an erased or replaced face is left in them.

        Blocks for about 15 us per stored face of 128-D, plus about a second for the log.

        Raises:
            StorageFull: there is no space for a second copy of the files.
            InternalError: old log files are still there afterwards; then `compaction_due` stays set.
        """
        shard = self._open_shard()
        if self._min_free_bytes:
            require_space(self.directory, _COMPACTION_BYTES + count_bytes(self._path))
        call_engine(shard.optimize)
        # The optimiser only marks the segments it replaced; a flush deletes them.
        call_engine(shard.flush)
        turn_log_over(shard, self._path / "wal")
        self._dirty = False
        self._erasure_mark.unlink(missing_ok=True)

    def check(self) -> GalleryHealth:
        """Make the engine answer a query and a count.

        Raises:
            StageUnavailable: it is not open. InternalError: it fails.
        """
        shard = self._open_shard()
        axis = edge.Query.Nearest([1.0] + [0.0] * (self.dimension - 1))
        call_engine(shard.query, edge.QueryRequest(limit=1, query=axis, filter=within("check")))
        return GalleryHealth("ready", int(call_engine(shard.info).points_count), self.collection)

    # Inside.

    def _fill(self, draft: Path) -> None:
        shard = call_engine(edge.EdgeShard.create, str(draft), self._config)
        for field, is_tenant in (("event", True), ("person", False)):
            parameters = edge.KeywordIndexParams(is_tenant=is_tenant)
            call_engine(shard.update, edge.UpdateOperation.create_field_index(field, parameters))
        call_engine(shard.flush)
        call_engine(shard.close)

    def _load(self) -> Any:
        try:
            return call_engine(edge.EdgeShard.load, str(self._path), self._config)
        except InternalError as error:
            if "incompatible" in error.detail.lower():
                raise ConfigurationError(
                    f"the collection {self.collection} in {self.directory} does not hold {self.dimension}-D "
                    f"dot-product vectors: {error.detail}",
                    collection=self.collection,
                ) from error
            raise

    def _open_shard(self) -> Any:
        if self._shard is None:
            raise StageUnavailable("the embedded gallery is not open")
        return self._shard

    def _write(self, operation: Any) -> None:
        call_engine(self._open_shard().update, operation)
        self._dirty = True
        if self._sync_writes:
            self.flush()

    def _erase(self, where: Any) -> None:
        self._open_shard()
        require_space(self.directory, self._min_free_bytes // 4)
        if not self._erasure_mark.exists():
            # Before the erasure, so that no crash can forget the debt.
            self._erasure_mark.touch(mode=0o600)
            sync_directory(self.directory)
        self._write(edge.UpdateOperation.delete_points_by_filter(where))


class InProcessGallery:
    """`Gallery` over an EmbeddedGallery in this very process, for tests, tools and measurements.

    Each call blocks the event loop for as long as the engine takes; a service uses `EmbeddedGalleryClient`.
    """

    def __init__(self, core: EmbeddedGallery) -> None:
        self.core = core

    async def open(self) -> None:
        self.core.open()

    async def upsert(self, faces: Sequence[FaceRecord]) -> None:
        self.core.upsert(faces)

    async def search(self, probes: Sequence[Probe]) -> list[list[Hit]]:
        return self.core.search(probes)

    async def erase_faces(self, event: str, faces: Sequence[tuple[str, str]]) -> None:
        self.core.erase_faces(event, faces)

    async def erase_person(self, event: str, person: str) -> None:
        self.core.erase_person(event, person)

    async def erase_event(self, event: str) -> None:
        self.core.erase_event(event)

    async def count(self, event: str, person: str | None = None) -> int:
        return self.core.count(event, person)

    async def faces_of(self, event: str, person: str) -> list[str]:
        return self.core.faces_of(event, person)

    async def read_faces(
        self, event: str, after: str | None, limit: int, person: str | None = None
    ) -> FacePage:
        return self.core.read_faces(event, after, limit, person)

    async def check(self) -> GalleryHealth:
        return self.core.check()

    async def flush(self) -> None:
        self.core.flush()

    async def close(self) -> None:
        self.core.close()
