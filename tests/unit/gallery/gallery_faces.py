"""Faces made up for the tests, and a plain-Python gallery to compare the engines with."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import numpy as np

from serving.gallery.records import FaceRecord, Hit, Probe

CREATED_AT = 1_767_225_600.5

GRID_DIMENSION = 4
GRID = np.array(
    [
        [100, 0, 0, 0],
        [0, 100, 0, 0],
        [-100, 0, 0, 0],
        [60, 80, 0, 0],
        [80, 60, 0, 0],
        [0, 60, 80, 0],
        [28, 96, 0, 0],
        [0, 0, 28, 96],
        [50, 50, 50, 50],
        [-50, 50, -50, 50],
    ]
)
"""Unit vectors in hundredths: their cosines have four decimals and tie often, so order can be compared."""


def new_event() -> str:
    return uuid.uuid4().hex


def grid_vector(index: int) -> np.ndarray:
    return (GRID[index] / 100).astype(np.float32)


def random_vectors(n: int, dimension: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def face(event: str, person: str, name: str, vector: np.ndarray) -> FaceRecord:
    return FaceRecord(event, person, name, vector, CREATED_AT)


@dataclass
class GridGallery:
    """What a gallery must hold after the same operations: (event, person, face) and its GRID row."""

    faces: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def erase(self, event: str, person: str | None = None, name: str | None = None) -> None:
        doomed = (event, person, name)
        self.faces = {
            key: row
            for key, row in self.faces.items()
            if not all(wanted in (None, part) for wanted, part in zip(doomed, key, strict=True))
        }

    def count(self, event: str, person: str | None = None) -> int:
        return sum(key[0] == event and person in (None, key[1]) for key in self.faces)

    def faces_of(self, event: str, person: str) -> list[str]:
        return sorted(key[2] for key in self.faces if key[:2] == (event, person))

    def search(self, event: str, row: int, top_k: int, of: str | None = None) -> list[Hit]:
        best: dict[str, Hit] = {}
        for (at, person, name), stored in sorted(self.faces.items()):
            hit = Hit(person, name, int(GRID[row] @ GRID[stored]) / 10_000)
            if at != event or of not in (None, person):
                continue
            if person not in best or hit.cosine > best[person].cosine:
                best[person] = hit
        return sorted(best.values(), key=lambda hit: (-hit.cosine, hit.person))[:top_k]

    def probe(self, event: str, row: int, top_k: int, of: str | None = None) -> Probe:
        return Probe(event, grid_vector(row), top_k, of)

    def stored(self, event: str, of: str | None = None) -> list[tuple[str, str, list[float]]]:
        return sorted(
            (person, name, grid_vector(row).tolist())
            for (at, person, name), row in self.faces.items()
            if at == event and of in (None, person)
        )
