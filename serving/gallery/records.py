"""What goes into a gallery and what comes out of it, checked in one place for every engine."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.errors import ConfigurationError, InternalError, InvalidRequest

Vector = npt.NDArray[np.float32]
"""One face: float32 [D], L2 norm 1 within NORM_TOLERANCE."""

NORM_TOLERANCE = 1e-3
MAX_TOP_K = 1000
MAX_ID_CHARS = 512
MAX_PAGE_FACES = 1000
MAX_PAGE_BYTES = 2 * 2**20
"""Vector bytes in one page of faces, at most; a Serve call carries 4 MB."""

_FACE_NAMESPACE = uuid.UUID("6f1c0b0e-6a3c-5d0c-9d5e-0f2f4be2a7d1")
_POINT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PACK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """One enrolled picture of one person at one event.

    Attributes:
        event: opaque partition key; nothing is ever compared across two events.
        person: id of the person, unique within the event.
        face: id of the picture, unique within the person.
        vector: float32 [D], L2-normalised.
        created_at: seconds since the Unix epoch.
    """

    event: str
    person: str
    face: str
    vector: Vector
    created_at: float


@dataclass(frozen=True, slots=True)
class Probe:
    """A face to look for among the people of one event.

    Attributes:
        event: the only partition that is searched.
        vector: float32 [D], L2-normalised.
        top_k: how many people to return at most, 1..MAX_TOP_K.
        person: the only person whose faces are compared (1:1 verification), or None for everybody.
    """

    event: str
    vector: Vector
    top_k: int
    person: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One person that resembles a probe.

    Attributes:
        person: who.
        face: which of the person's pictures is the most similar.
        cosine: raw cosine of that picture, -1..1, rounded to 6 decimals: below that, engines and batch
            sizes differ in the last bit of a float32 sum.
    """

    person: str
    face: str
    cosine: float


@dataclass(frozen=True, slots=True)
class FacePage:
    """Some of the stored faces of an event.

    Attributes:
        faces: in the gallery's own order, which never changes; empty on the last page only.
        next: what to pass as `after` for the following page, opaque; None on the last page.
    """

    faces: tuple[FaceRecord, ...]
    next: str | None


def point_id(event: str, person: str, face: str) -> str:
    """Return the id under which a face is stored: a UUID that depends on the three names alone.

    Each part carries its length, so ("a", "bc", ...) and ("ab", "c", ...) never meet.
    """
    name = "".join(f"{len(part)}:{part};" for part in (event, person, face))
    return str(uuid.uuid5(_FACE_NAMESPACE, name))


def collection_name(pack_id: str, dimension: int) -> str:
    """Return `faces__{pack}__{dim}`.

    Raises:
        ConfigurationError: the pack id could not be part of a file or URL name, or the dimension is not in
            1..65536.
    """
    if not _PACK_ID.fullmatch(pack_id):
        raise ConfigurationError(
            f"pack id {pack_id!r}: letters, digits, '.', '_' and '-' only, at most 63", key="pack_id"
        )
    if not 1 <= dimension <= 65536:
        raise ConfigurationError(f"vector dimension {dimension} is outside 1..65536", key="dimension")
    return f"faces__{pack_id}__{dimension}"


def check_key(kind: str, value: str) -> str:
    """Return `value` if it can name an event, person or face.

    Raises:
        InternalError: it is empty, longer than MAX_ID_CHARS or not text.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARS:
        raise InternalError(f"a gallery key ({kind}) must be text of 1..{MAX_ID_CHARS} characters", kind=kind)
    return value


def stack_vectors(vectors: Sequence[npt.ArrayLike], dimension: int) -> npt.NDArray[np.float32]:
    """Return single vectors as one float32 [n, dimension], checked; raises as `check_vectors` does."""
    if not vectors:
        return np.empty((0, dimension), np.float32)
    try:
        rows = np.stack([np.asarray(vector, np.float32) for vector in vectors])
    except ValueError as error:
        raise InternalError(f"face vectors cannot be stacked: {error}", dimension=dimension) from error
    return check_vectors(rows, dimension)


def check_vectors(vectors: npt.ArrayLike, dimension: int) -> npt.NDArray[np.float32]:
    """Return the vectors as contiguous float32 [n, dimension].

    Raises:
        InternalError: wrong shape, not finite, or L2 norm not 1 within NORM_TOLERANCE. The engines would
            accept NaN and zero vectors and then answer nonsense.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise InternalError(
            f"face vectors have shape {rows.shape}, not (n, {dimension})",
            dimension=dimension,
            shape=list(rows.shape),
        )
    # A NaN or infinity anywhere in a row makes its norm NaN or infinite, so one test serves all faults.
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    wrong = np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE))
    if wrong.size:
        row = int(wrong[0])
        raise InternalError(f"face vector {row} has norm {norms[row]:.6g}, not 1", index=row)
    return rows


def check_faces(faces: Sequence[FaceRecord], dimension: int) -> list[FaceRecord]:
    """Return the faces to store: each checked, and of several with the same three names only the last.

    Raises:
        InternalError: a key or a vector is not acceptable; then none of the faces may be stored.
    """
    rows = stack_vectors([face.vector for face in faces], dimension)
    latest: dict[tuple[str, str, str], FaceRecord] = {}
    for face, row in zip(faces, rows, strict=True):
        key = (
            check_key("event", face.event),
            check_key("person", face.person),
            check_key("face", face.face),
        )
        if not np.isfinite(face.created_at):
            raise InternalError("created_at of a face is not a finite number of seconds")
        latest[key] = FaceRecord(*key, row, float(face.created_at))
    return list(latest.values())


def check_probes(probes: Sequence[Probe], dimension: int) -> list[Probe]:
    """Return the probes, each checked.

    Raises:
        InternalError: a key, a vector or a top_k is not acceptable.
    """
    rows = stack_vectors([probe.vector for probe in probes], dimension)
    checked = []
    for probe, row in zip(probes, rows, strict=True):
        if not 1 <= probe.top_k <= MAX_TOP_K:
            raise InternalError(f"top_k {probe.top_k} is outside 1..{MAX_TOP_K}", top_k=probe.top_k)
        person = None if probe.person is None else check_key("person", probe.person)
        checked.append(Probe(check_key("event", probe.event), row, int(probe.top_k), person))
    return checked


def check_page(after: str | None, limit: int, dimension: int) -> int:
    """Return how many faces a page may hold: `limit`, or as many as fit in MAX_PAGE_BYTES.

    Raises:
        InvalidRequest: `after` is not what a page gave as its `next`.
        InternalError: `limit` is outside 1..MAX_PAGE_FACES.
    """
    if not 1 <= limit <= MAX_PAGE_FACES:
        raise InternalError(f"limit {limit} is outside 1..{MAX_PAGE_FACES}", limit=limit)
    if after is not None and not (isinstance(after, str) and _POINT_ID.fullmatch(after)):
        raise InvalidRequest("this is no place in the list of faces; begin again at the first page")
    return max(1, min(int(limit), MAX_PAGE_BYTES // (4 * dimension)))


def created_at_text(created_at: float) -> str:
    """Return a time as it is stored; `float` reads it back.

    As text, because Qdrant keeps payloads as JSON and reads numbers of 17 digits back an ulp off.
    """
    return repr(float(created_at))
