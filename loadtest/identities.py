"""Face vectors as a recogniser gives them: people with several faces each, in any number.

Real vectors are neither evenly spread over the sphere nor apart from each other. These are drawn so that
three measures agree with those of a MobileFaceNet (512-D) on 2,320 pictures of 1,241 people of LFW:

| | LFW | drawn |
|---|---|---|
| effective dimension of 1,241 people (participation ratio of the covariance's eigenvalues) | 189 | 192 |
| cosine of two faces of one person: 5 %, median, 95 % | 0.41, 0.61, 0.77 | 0.45, 0.61, 0.78 |
| cosine of two people, standard deviation | 0.067 | 0.066 |

A person's centre is a Gaussian whose eigenvalues fall as 1 / (i + OFFSET). A face is that centre and a
Gaussian of the same shape, its length drawn anew for each face, so that some pictures are worse than others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

FACES_PER_PERSON = 4
OFFSET = 20.0
WITHIN = (0.4, 1.2)
"""Length of what a face adds to its unit centre, drawn evenly."""

_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Crowd:
    """Enrolled faces and probes, the same for the same numbers.

    Attributes:
        faces: enrolled faces; face i is of person `i % people`.
        dimension: D of the vectors.
    """

    faces: int
    dimension: int
    seed: int = 1

    @property
    def people(self) -> int:
        """How many different people are enrolled."""
        return max(1, -(-self.faces // FACES_PER_PERSON))

    def read_enrolled(self) -> Iterator[tuple[int, Vectors]]:
        """Unit vectors float32 [n, D] in pieces, each with the number of its first face."""
        for number, start in enumerate(range(0, self.faces, _ROWS)):
            owners = np.arange(start, min(start + _ROWS, self.faces)) % self.people
            yield start, self._draw_faces(owners, np.random.default_rng((self.seed, 1, number)))

    def draw_known(self, count: int) -> tuple[NDArray[np.int64], Vectors]:
        """New pictures of enrolled people: who they are, and unit vectors float32 [count, D]."""
        owners = np.random.default_rng((self.seed, 2)).integers(0, self.people, count)
        return owners, self._draw_faces(owners, np.random.default_rng((self.seed, 3)))

    def draw_unknown(self, count: int) -> Vectors:
        """Pictures of people who are not enrolled: unit vectors float32 [count, D]."""
        owners = self.people + np.arange(count)
        return self._draw_faces(owners, np.random.default_rng((self.seed, 4)))

    def _draw_faces(self, owners: NDArray[np.int64], random: np.random.Generator) -> Vectors:
        unique, places = np.unique(owners, return_inverse=True)
        centres = np.concatenate([self._draw_centres(block) for block in np.unique(unique // _ROWS)])
        starts = {block: place * _ROWS for place, block in enumerate(np.unique(unique // _ROWS))}
        rows = np.array([starts[owner // _ROWS] + owner % _ROWS for owner in unique])[places]
        added = self._draw_shape(len(owners), random) * random.uniform(*WITHIN, (len(owners), 1))
        return _normalise(centres[rows] + added.astype(np.float32))

    def _draw_centres(self, block: int) -> Vectors:
        """The centres of `_ROWS` people; `block` says which."""
        return self._draw_shape(_ROWS, np.random.default_rng((self.seed, 0, int(block))))

    def _draw_shape(self, count: int, random: np.random.Generator) -> Vectors:
        scale = (np.arange(1, self.dimension + 1) + OFFSET) ** -0.5
        return _normalise(
            random.standard_normal((count, self.dimension), np.float32) * scale.astype(np.float32)
        )


def _normalise(rows: Vectors) -> Vectors:
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
