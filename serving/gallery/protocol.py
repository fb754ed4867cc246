"""What every engine that stores faces can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from serving.gallery.records import FacePage, FaceRecord, Hit, Probe


@dataclass(frozen=True, slots=True)
class GalleryHealth:
    """The answer of an engine that was asked how it is.

    Attributes:
        state: "ready": it answered a query just now. "busy": it is alive but at work on something long
            (rewriting files after an erasure), so do not restart it.
        faces: points in the whole collection, or None when busy.
        detail: one line for a log.
    """

    state: Literal["ready", "busy"]
    faces: int | None = None
    detail: str = ""


@runtime_checkable
class Gallery(Protocol):
    """Faces of one model pack, partitioned by event.

    Every operation is idempotent. Each may raise StageUnavailable (the engine cannot be reached),
    DeadlineExceeded (it did not answer in time), Overloaded (it refused for load) and InternalError (a bad
    vector or key, or a fault of the engine).
    """

    async def open(self) -> None:
        """Create the collection if there is none, else check that it fits.

        Raises:
            ConfigurationError: the stored collection differs in dimension or distance, or another process
                owns the files.
        """
        ...

    async def upsert(self, faces: Sequence[FaceRecord]) -> None:
        """Store faces; on return they are durable and every later search sees them. All are checked first."""
        ...

    async def search(self, probes: Sequence[Probe]) -> list[list[Hit]]:
        """Find, for each probe, the most similar people of its own event, or compare it with one of them.

        Returns:
            One list per probe, in the order of the probes; each holds at most `top_k` people by falling
            cosine, equal cosines by person id. An event without faces gives an empty list. A probe that
            names a person gets that person or, if the event has no face of them, an empty list.
        """
        ...

    async def erase_faces(self, event: str, faces: Sequence[tuple[str, str]]) -> None:
        """Erase single pictures, given as (person, face). Unknown ones are ignored."""
        ...

    async def erase_person(self, event: str, person: str) -> None:
        """Erase all pictures of one person at one event."""
        ...

    async def erase_event(self, event: str) -> None:
        """Erase everything that was stored for an event."""
        ...

    async def count(self, event: str, person: str | None = None) -> int:
        """Return how many faces an event, or one person of it, has."""
        ...

    async def faces_of(self, event: str, person: str) -> list[str]:
        """Return the face ids of one person, sorted."""
        ...

    async def read_faces(
        self, event: str, after: str | None, limit: int, person: str | None = None
    ) -> FacePage:
        """Return a page of the stored faces of an event, or of one person of it, with their vectors.

        Faces come in the order of their point ids. Whoever follows `next` until it is None sees every face
        that was there all along exactly once, whatever is stored or erased meanwhile.

        Args:
            after: None for the first page, then `next` of the page before.
            limit: faces wanted, 1..MAX_PAGE_FACES; wide vectors may give fewer (MAX_PAGE_BYTES).

        Raises:
            InvalidRequest: `after` never was a `next`.
        """
        ...

    async def check(self) -> GalleryHealth:
        """Ask the engine a real question.

        Raises:
            StageUnavailable: it cannot answer.
        """
        ...

    async def flush(self) -> None:
        """Force what was acknowledged to the disk, where the engine is ours to flush."""
        ...

    async def close(self) -> None:
        """Release connections and files; nothing acknowledged is lost."""
        ...
