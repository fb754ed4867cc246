"""Vectors that callers bring along."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidRequest, PackMismatch
from serving.packs.manifest import Pack


def check_vector_pack(pack_id: str, pack: Pack) -> None:
    """Raise PackMismatch unless vectors of `pack_id` can be compared with those of `pack`."""
    if pack_id != pack.id:
        raise PackMismatch(
            "the vectors belong to another pack than the event's", pack_id=pack_id, serving=[pack.id]
        )


def normalise_vectors(vectors: Sequence[Sequence[float]], dimension: int) -> NDArray[np.float32]:
    """Vectors of any length as unit vectors, float32 [n, dimension].

    Raises:
        InvalidRequest: one has another dimension, is zero, or holds what is not a number; `context["vector"]`
            is its place.
    """
    for place, vector in enumerate(vectors):
        if len(vector) != dimension:
            raise InvalidRequest(
                f"vector {place} has {len(vector)} numbers", vector=place, dimension=dimension
            )
    rows = np.asarray(vectors, np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    unusable = ~np.isfinite(largest[:, 0]) | (largest[:, 0] == 0)
    if unusable.any():
        place = int(np.argmax(unusable))
        raise InvalidRequest(f"vector {place} is zero or not finite", vector=place)
    rows /= largest  # first, so that the squares neither overflow nor vanish
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)
