"""Comparison scores: every pair of pictures, or those of a list, and the rates at a threshold.

Rates follow ISO/IEC 19795-1: the false match rate (FMR) is the share of pairs of different people whose
cosine is at least the threshold, the false non-match rate (FNMR) the share of pairs of one person below it.
The true match rate, TMR = 1 - FNMR, is what verification papers call TAR; they call FMR FAR.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.vision.embedding import Vectors

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_ERRORS = 30
"""Errors that must be expected before a rate is stated.

With 30 independent errors the 90 % interval of a rate is +-30 % of it (the "rule of 30": Doddington et al.,
Speech Communication 31, 2000).
"""

BINS = 1 << 17
"""Steps of the histogram over cosines -1..1: 1.5e-5 each, far below any difference that matters."""

MAX_TAIL = 4_000_000
"""Impostor scores kept one by one, the highest: 64 MB. 2,800 pictures have fewer; of more, this many."""

_BLOCK_ROWS = 512
_BLOCK_PAIRS = 1 << 21
"""Pairs formed at a time: some 60 bytes each."""


@dataclass(frozen=True)
class Scores:
    """Cosines of one pack on one set of pictures.

    genuine: float32 [g], falling, of pairs of one person; genuine_people: int64 [g], who.
    tail: float32 [k], falling: the k highest of pairs of different people; tail_people: int64 [k, 2], who.
    counts: int64 [BINS], histogram of all pairs of different people over cosines -1..1.
    people: number of people; their numbers are 0..people-1.
    pictures_of: int64 [people] where all pairs were formed; None where a list named them.
    """

    genuine: NDArray[np.float32]
    genuine_people: Integers
    tail: NDArray[np.float32]
    tail_people: Integers
    counts: Integers
    people: int
    pictures_of: Integers | None

    @property
    def impostor_pairs(self) -> int:
        """Pairs of different people."""
        return int(self.counts.sum())

    @property
    def genuine_pairs(self) -> int:
        """Pairs of one person."""
        return len(self.genuine)

    def supports(self, false_match_rate: float) -> bool:
        """Whether `MIN_ERRORS` false matches are expected at this rate."""
        return false_match_rate * self.impostor_pairs >= MIN_ERRORS

    @property
    def floor(self) -> float:
        """The smallest false match rate that is supported; above 1 where none is."""
        return MIN_ERRORS / max(1, self.impostor_pairs)

    def threshold_at(self, false_match_rate: float) -> float:
        """The lowest cosine whose false match rate is at most this, to the step of a score.

        Needs at least one pair of different people to be let through: false_match_rate * pairs >= 1.
        """
        rank = int(np.floor(false_match_rate * self.impostor_pairs * (1 + 1e-12)))
        return self.cosine_at(min(max(rank, 1), self.impostor_pairs))

    def cosine_at(self, rank: int) -> float:
        """The rank-th highest cosine of different people, 1 being the highest."""
        if rank <= len(self.tail):
            return float(self.tail[rank - 1])
        reached = np.cumsum(self.counts[::-1])
        place = int(np.searchsorted(reached, rank))
        return 1.0 - (place + 1) * 2.0 / BINS

    def false_match_rate(self, threshold: float) -> float:
        """Share of pairs of different people at or above the threshold."""
        if self.impostor_pairs == 0:
            return float("nan")
        return self.false_matches(threshold) / self.impostor_pairs

    def false_matches(self, threshold: float) -> int:
        """Pairs of different people at or above the threshold."""
        at_least = len(self.tail) - int(np.searchsorted(self.tail[::-1], np.float32(threshold), "left"))
        if at_least < len(self.tail) or len(self.tail) == self.impostor_pairs:
            return at_least
        return int(self.counts[bin_of(np.array([threshold]))[0] :].sum())

    def true_match_rate(self, threshold: float) -> float:
        """Share of pairs of one person at or above the threshold."""
        if not len(self.genuine):
            return float("nan")
        below = int(np.searchsorted(self.genuine[::-1], np.float32(threshold), "left"))
        return 1.0 - below / len(self.genuine)

    def impostor_weight(self, weights: Floats) -> float:
        """Sum over all pairs of different people of the product of their weights, float64 [people]."""
        if self.pictures_of is not None:
            products = weights * self.pictures_of
            return float((products.sum() ** 2 - (products**2).sum()) / 2)
        return float((weights[self.tail_people[:, 0]] * weights[self.tail_people[:, 1]]).sum())


def bin_of(cosines: NDArray[np.floating]) -> Integers:
    """Place of cosines in the histogram."""
    return np.clip(((cosines.astype(np.float64) + 1) * (BINS / 2)).astype(np.int64), 0, BINS - 1)


def score_all_pairs(people: Integers, vectors: Vectors, max_tail: int = MAX_TAIL) -> Scores:
    """Compare every picture with every other.

    The cosines are formed in blocks, so memory is bounded by max_tail and not by the square of the pictures.

    Args:
        people: int64 [n], equal for pictures of one person.
        vectors: unit vectors float32 [n, dimension].
    """
    names, numbers = np.unique(people, return_inverse=True)
    counts = np.zeros(BINS, np.int64)
    genuine: list[NDArray[np.float32]] = []
    genuine_people: list[Integers] = []
    kept = _Tail(max_tail)
    rows = min(_BLOCK_ROWS, max(1, _BLOCK_PAIRS // max(1, len(vectors))))
    for start in range(0, len(vectors), rows):
        stop = min(start + rows, len(vectors))
        cosines = vectors[start:stop] @ vectors[start:].T
        first, second = np.triu_indices(stop - start, 1, len(vectors) - start)
        values = cosines[first, second]
        a, b = numbers[first + start], numbers[second + start]
        same = a == b
        genuine.append(values[same])
        genuine_people.append(a[same])
        strangers = values[~same]
        counts += np.bincount(bin_of(strangers), minlength=BINS)
        kept.add(strangers, np.column_stack([a[~same], b[~same]]))
    return _assemble(genuine, genuine_people, kept, counts, len(names), np.bincount(numbers))


def score_pairs(
    people: Integers,
    vectors: Vectors,
    first: Integers,
    second: Integers,
    same: NDArray[np.bool_],
) -> Scores:
    """Compare the listed pairs only: positions first and second, int64 [m], and whether they are one person.

    Args:
        people: int64 [n] numbers from 0; of a pair of one person, that of its first picture counts.
    """
    cosines = np.einsum("ij,ij->i", vectors[first], vectors[second]).astype(np.float32)
    kept = _Tail(len(cosines))
    kept.add(cosines[~same], np.column_stack([people[first], people[second]])[~same])
    counts = np.bincount(bin_of(cosines[~same]), minlength=BINS)
    count = int(people.max()) + 1 if len(people) else 0
    return _assemble([cosines[same]], [people[first][same]], kept, counts, count, None)


class _Tail:
    """The highest scores of a stream, and whose they are."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._scores: list[NDArray[np.float32]] = []
        self._people: list[Integers] = []
        self._held = 0
        self._cut = -np.inf

    def add(self, scores: NDArray[np.float32], people: Integers) -> None:
        above = scores >= self._cut
        self._scores.append(scores[above])
        self._people.append(people[above])
        self._held += int(above.sum())
        if self._held > 2 * self._size:
            self.take()

    def take(self) -> tuple[NDArray[np.float32], Integers]:
        """What is kept, falling."""
        scores, people = np.concatenate(self._scores), np.concatenate(self._people)
        order = np.argsort(-scores, kind="stable")[: self._size]
        scores, people = scores[order], people[order]
        if len(scores) == self._size and self._size:
            self._cut = float(scores[-1])
        self._scores, self._people, self._held = [scores], [people], len(scores)
        return scores, people


def _assemble(
    genuine: list[NDArray[np.float32]],
    genuine_people: list[Integers],
    kept: _Tail,
    counts: Integers,
    people: int,
    pictures_of: Integers | None,
) -> Scores:
    ours, whose = np.concatenate(genuine), np.concatenate(genuine_people)
    order = np.argsort(-ours, kind="stable")
    tail, tail_people = kept.take()
    return Scores(ours[order], whose[order], tail, tail_people, counts, people, pictures_of)
